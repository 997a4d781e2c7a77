//! The configuration: a [`Config`] exists only if all settings are valid.
//!
//! Settings are defined in `settings` (key, default and meaning), read by `sources` (file, environment,
//! flags), and parsed by `values` into the [`Config`] here. `cli` parses the command line, and
//! `startup_warnings` reports settings that are valid but unlikely to work well. Start with `settings`.

pub(crate) mod cli;
pub(crate) mod error;
pub(crate) mod settings;
mod sources;
pub(crate) mod startup_warnings;
pub(crate) mod values;

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing_subscriber::filter::Targets;
use transport::ws_core::{Limits, Rate, SessionConfig, Timing};
use transport::{DrainOptions, OriginPattern, Origins, Policy, SizeLimits};

use self::error::ConfigError;
use self::settings::{RawValue, Settings};
use self::values::{
    LogFormat, Switch, admin_address, admin_host, boolean, byte_count, count, count_or_unlimited,
    drain_close_code, forwarded_header, header_bytes, header_count, http2_stream_count, log_format,
    log_targets, octal_mode, permission, proxy_protocol, seconds, seconds_or_off,
    socket_buffer_bytes, switch,
};
use crate::net::address::ListenAddress;
use crate::net::client_addr::{ClientAddrPolicy, ProxyProtocol};
use crate::net::listener::ListenOptions;
use crate::tls::{FileError, Tls, TlsPaths};

/// Open files reserved for everything but accepted clients: listeners, the log, connections being refused.
pub const RESERVED_FILES: u64 = 256;

/// The checked configuration of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses of all listeners, including the admin listener.
    pub listen: ListenOptions,
    /// The TLS configuration, if a certificate is set.
    pub tls: Option<Tls>,
    /// Whether plaintext listeners on addresses other than loopback are intended; silences the warning.
    pub plaintext_ok: bool,
    /// Maximum number of concurrent sessions of an HTTP/2 connection, from 1 to 1,000.
    pub http2_max_streams: u32,
    /// How the address of the client is determined behind proxies.
    pub client_addr: ClientAddrPolicy,
    /// The policy for handshakes and sessions.
    pub policy: Policy,
    /// Time from accepting a connection to its upgrade.
    pub handshake_timeout: Duration,
    /// The timing of a shutdown, and its close code.
    pub shutdown: ShutdownOptions,
    /// Maximum number of sessions plus connections without a session. At least 1.
    pub max_connections: usize,
    /// The same limit for each client address; 0 disables it.
    pub max_connections_per_address: usize,
    /// Maximum size of a request head, from [`MIN_HEADER_BYTES`](crate::MIN_HEADER_BYTES) to
    /// [`MAX_BYTES`](crate::MAX_BYTES).
    pub max_header_bytes: usize,
    /// Maximum number of header fields in a request, from 1 to 1,000.
    pub max_headers: usize,
    /// A host name that admin requests may use, besides `localhost` and any IP address.
    pub admin_host: Option<String>,
    /// Whether the table of open sessions is kept.
    pub connection_table: Switch,
    /// The log filter.
    pub log: Targets,
    /// The format of log lines.
    pub log_format: LogFormat,
}

/// The timing of a shutdown, and its close code. Delay, spread and close timeout should fit into the grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownOptions {
    /// Time for the whole shutdown. Sessions that are open at its end are aborted.
    pub grace: Duration,
    /// Time from the start of the shutdown to the first refusal.
    pub delay: Duration,
    /// The close code, and the time over which sessions are closed.
    pub drain: DrainOptions,
}

/// The current configuration, and its changes.
pub type ConfigReceiver = watch::Receiver<Arc<Config>>;

impl Config {
    /// Checks the settings, and replaces `max_connections = "auto"` in `settings` with the computed value.
    ///
    /// `open_files` is the process's limit of open files.
    ///
    /// # Errors
    ///
    /// Describes the first invalid setting.
    pub fn check(settings: &mut Settings, open_files: u64) -> Result<Self, ConfigError> {
        if settings.get("max_connections").texts == ["auto"] {
            let count = open_files.saturating_sub(RESERVED_FILES).max(1).to_string();
            let origin = format!("the limit of {open_files} open files, minus {RESERVED_FILES}");
            settings.work_out("max_connections", count, origin);
        }
        let settings = &*settings;
        let config = Self::parse(settings)?;
        if let Some(admin) = &config.listen.admin
            && config.listen.addresses.contains(admin)
            && !matches!(admin, ListenAddress::Tcp(address) if address.port() == 0)
        {
            let raw = settings.get("admin_listen");
            let expected = "it must not be one of the addresses in listen, where clients connect";
            return Err(invalid("admin_listen", raw, &admin.to_string(), expected));
        }
        let is_tls = |address: &&ListenAddress| matches!(address, ListenAddress::Tls(_));
        if config.tls.is_none()
            && let Some(address) = config.listen.addresses.iter().find(is_tls)
        {
            let raw = settings.get("listen");
            let expected = "it requires tls_cert_file and tls_key_file";
            return Err(invalid("listen", raw, &address.to_string(), expected));
        }
        if config.client_addr.proxy_protocol == ProxyProtocol::Required
            && config.client_addr.proxies.is_empty()
        {
            let raw = settings.get("proxy_protocol");
            let expected = "it requires trusted_proxies; without them no client could connect";
            return Err(invalid("proxy_protocol", raw, "required", expected));
        }
        Ok(config)
    }

    /// Returns a receiver whose configuration never changes.
    #[must_use]
    pub fn fixed(self) -> ConfigReceiver {
        watch::Sender::new(Arc::new(self)).subscribe()
    }

    fn parse(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            listen: ListenOptions {
                addresses: list(
                    settings,
                    "listen",
                    Some("it must have at least one address with a port, such as 127.0.0.1:8080"),
                )?,
                unix_mode: value(settings, "listen_unix_mode", octal_mode)?,
                admin: value(settings, "admin_listen", admin_address)?,
                socket_buffer_bytes: value(settings, "socket_buffer_bytes", socket_buffer_bytes)?,
            },
            tls: load_tls(settings)?,
            plaintext_ok: value(settings, "plaintext_ok", boolean)?,
            http2_max_streams: value(settings, "http2_max_streams", http2_stream_count)?,
            client_addr: ClientAddrPolicy {
                proxies: list(settings, "trusted_proxies", None)?,
                forwarded_header: value(settings, "forwarded_header", forwarded_header)?,
                proxy_protocol: value(settings, "proxy_protocol", proxy_protocol)?,
            },
            policy: Policy {
                origins: Origins {
                    allowed: list::<OriginPattern>(settings, "allowed_origins", None)?,
                    missing: value(settings, "missing_origin", permission)?,
                    null: value(settings, "null_origin", permission)?,
                },
                session: Arc::new(SessionConfig {
                    timing: Timing {
                        ping_interval: value(settings, "ping_interval_secs", seconds)?,
                        pong_timeout: value(settings, "pong_timeout_secs", seconds)?,
                        close_timeout: value(settings, "close_timeout_secs", seconds)?,
                        max_age: value(settings, "max_connection_age_secs", seconds_or_off)?,
                    },
                    limits: Limits {
                        messages: Rate::new(
                            value(settings, "messages_per_second", count_or_unlimited)?,
                            value(settings, "message_burst", count_or_unlimited)?,
                        ),
                        control_frames: Rate::new(
                            value(settings, "control_frames_per_second", count_or_unlimited)?,
                            value(settings, "control_frame_burst", count_or_unlimited)?,
                        ),
                        message_timeout: value(settings, "message_timeout_secs", seconds_or_off)?,
                        write_timeout: value(settings, "write_timeout_secs", seconds_or_off)?,
                    },
                }),
                sizes: SizeLimits {
                    max_message_bytes: value(settings, "max_message_bytes", byte_count)?,
                    max_queued_bytes: value(settings, "max_queued_bytes", byte_count)?,
                },
            },
            handshake_timeout: value(settings, "handshake_timeout_secs", seconds)?,
            shutdown: ShutdownOptions {
                grace: value(settings, "shutdown_grace_secs", seconds)?,
                delay: value(settings, "drain_delay_secs", seconds_or_off)?.unwrap_or_default(),
                drain: DrainOptions {
                    code: value(settings, "drain_close_code", drain_close_code)?,
                    spread: value(settings, "drain_spread_secs", seconds_or_off)?
                        .unwrap_or_default(),
                },
            },
            max_connections: value(settings, "max_connections", count)?,
            max_connections_per_address: value(
                settings,
                "max_connections_per_address",
                count_or_unlimited,
            )?,
            max_header_bytes: value(settings, "max_header_bytes", header_bytes)?,
            max_headers: value(settings, "max_headers", header_count)?,
            admin_host: value(settings, "admin_host", admin_host)?,
            connection_table: value(settings, "connection_table", switch)?,
            log: value(settings, "log", log_targets)?,
            log_format: value(settings, "log_format", log_format)?,
        })
    }
}

/// Parses a single value; an error of `parse` describes the valid values.
fn value<T>(
    settings: &Settings,
    key: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let raw = settings.get(key);
    let text = raw.texts.first().map_or("", String::as_str);
    parse(text).map_err(|expected| invalid(key, raw, text, &expected))
}

/// Loads the files of certificate, key and client CA. All of them have to be valid.
fn load_tls(settings: &Settings) -> Result<Option<Tls>, ConfigError> {
    let [cert, key, client_ca] =
        ["tls_cert_file", "tls_key_file", "tls_client_ca_file"].map(|name| {
            let text = settings.get(name).texts.first().map_or("", String::as_str);
            Some(PathBuf::from(text)).filter(|_| !text.is_empty())
        });
    let requires = |name: &'static str, path: &PathBuf, other: &str| {
        let expected = format!("it requires {other}");
        invalid(name, settings.get(name), &path.display().to_string(), &expected)
    };
    let paths = match (cert, key, client_ca) {
        (None, None, None) => return Ok(None),
        (Some(cert), Some(key), client_ca) => TlsPaths { cert, key, client_ca },
        (Some(cert), None, _) => return Err(requires("tls_cert_file", &cert, "tls_key_file")),
        (None, Some(key), _) => return Err(requires("tls_key_file", &key, "tls_cert_file")),
        (None, None, Some(client_ca)) => {
            return Err(requires("tls_client_ca_file", &client_ca, "tls_cert_file"));
        }
    };
    Tls::load(paths, settings.reason()).map(Some).map_err(|FileError { key, problem }| {
        let raw = settings.get(key);
        let text = raw.texts.first().map_or("", String::as_str);
        invalid(key, raw, text, &problem)
    })
}

/// Parses a list; `required` describes the missing element if the list must not be empty.
fn list<T: FromStr<Err: Display>>(
    settings: &Settings,
    key: &str,
    required: Option<&str>,
) -> Result<Vec<T>, ConfigError> {
    let raw = settings.get(key);
    if let (true, Some(required)) = (raw.texts.is_empty(), required) {
        return Err(invalid(key, raw, "", required));
    }
    let element = |text: &String| {
        text.parse().map_err(|error: T::Err| invalid(key, raw, text, &error.to_string()))
    };
    raw.texts.iter().map(element).collect()
}

fn invalid(key: &str, raw: &RawValue, text: &str, expected: &str) -> ConfigError {
    ConfigError(format!("{key} is {text:?} in {}: {expected}", raw.origin))
}
