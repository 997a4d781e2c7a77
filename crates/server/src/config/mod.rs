//! The configuration: settings that have been checked, so that what exists is good.
//!
//! A setting goes from `settings` (its key, default and meaning) and `sources` (file, environment,
//! flags) through `values` (what a text has to be) to the [`Config`] here. `cli` reads the command line,
//! and `startup_warnings` says what is allowed and cannot work well.

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
    LogFormat, Switch, admin_address, admin_host, boolean, bytes, bytes_or_none, count,
    count_or_none, drain_code, forwarded_header, header_bytes, headers, log_format, mode,
    permission, proxy_protocol, seconds, seconds_or_none, streams, switch, targets,
};
use crate::net::address::ListenAddress;
use crate::net::client_addr::{ClientAddrPolicy, ProxyProtocol};
use crate::net::listener::ListenOptions;
use crate::tls::{FileError, Tls, TlsPaths};

/// Files that are open besides the sockets of clients: listeners, the log, those being refused.
pub const RESERVED_FILES: u64 = 256;

/// Everything the server wants to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, the admin listener included.
    pub listen: ListenOptions,
    /// The certificate and what belongs to it, if there is one.
    pub tls: Option<Tls>,
    /// Whether it is known that what clients send can be read on the way to us.
    pub plaintext_ok: bool,
    /// Sessions that an HTTP/2 connection may have. At least one.
    pub http2_max_streams: u32,
    /// Whose word about the client is believed.
    pub trust: ClientAddrPolicy,
    /// What holds for every session.
    pub policy: Policy,
    /// From accepting a connection to its upgrade.
    pub handshake_timeout: Duration,
    /// How a shutdown goes.
    pub shutdown: ShutdownOptions,
    /// Sessions, and connections without one. At least one.
    pub max_connections: usize,
    /// The same for each client address; 0 is no limit.
    pub max_connections_per_address: usize,
    /// Bytes of a request's head. At least [`MIN_HEADER_BYTES`].
    pub max_header_bytes: usize,
    /// Header lines of a request. At least one.
    pub max_headers: usize,
    /// A name by which the admin listener may be called, besides `localhost` and any IP address.
    pub admin_host: Option<String>,
    /// Whether the connections are kept in a table.
    pub connection_table: Switch,
    /// What to log.
    pub log: Targets,
    /// How to write it.
    pub log_format: LogFormat,
}

/// How a shutdown goes. All of its parts have to fit into the grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownOptions {
    /// How long it may take in all. What is left then is cut.
    pub grace: Duration,
    /// From its beginning to the first refusal.
    pub delay: Duration,
    /// What sessions are told, and over how long a time.
    pub farewell: DrainOptions,
}

/// The configuration in force, and its changes.
pub type ConfigReceiver = watch::Receiver<Arc<Config>>;

impl Config {
    /// Checks the settings. `max_connections`, where it is left to us, is worked out in place.
    ///
    /// `open_files` is how many files the process may have open.
    ///
    /// # Errors
    ///
    /// The first setting that is wrong.
    pub fn check(settings: &mut Settings, open_files: u64) -> Result<Self, ConfigError> {
        if settings.get("max_connections").texts == ["auto"] {
            let count = open_files.saturating_sub(RESERVED_FILES).max(1).to_string();
            let origin = format!("the limit of {open_files} open files, minus {RESERVED_FILES}");
            settings.work_out("max_connections", count, origin);
        }
        let settings = &*settings;
        let config = Self::read(settings)?;
        if let Some(admin) = &config.listen.admin
            && config.listen.addresses.contains(admin)
            && !matches!(admin, ListenAddress::Tcp(address) if address.port() == 0)
        {
            let written = settings.get("admin_listen");
            let expected = "it must be another address than those of listen, where clients connect";
            return Err(wrong("admin_listen", written, &admin.to_string(), expected));
        }
        let is_tls = |address: &&ListenAddress| matches!(address, ListenAddress::Tls(_));
        if config.tls.is_none()
            && let Some(address) = config.listen.addresses.iter().find(is_tls)
        {
            let written = settings.get("listen");
            let expected = "that needs tls_cert_file and tls_key_file";
            return Err(wrong("listen", written, &address.to_string(), expected));
        }
        if config.trust.proxy_protocol == ProxyProtocol::Required && config.trust.proxies.is_empty()
        {
            let written = settings.get("proxy_protocol");
            let expected = "that needs trusted_proxies, or nobody could connect";
            return Err(wrong("proxy_protocol", written, "required", expected));
        }
        Ok(config)
    }

    /// This configuration, for ever.
    #[must_use]
    pub fn fixed(self) -> ConfigReceiver {
        watch::Sender::new(Arc::new(self)).subscribe()
    }

    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            listen: ListenOptions {
                addresses: list(
                    settings,
                    "listen",
                    Some("at least one address with a port, such as 127.0.0.1:8080"),
                )?,
                unix_mode: one(settings, "listen_unix_mode", mode)?,
                admin: one(settings, "admin_listen", admin_address)?,
                socket_buffer_bytes: one(settings, "socket_buffer_bytes", bytes_or_none)?,
            },
            tls: tls(settings)?,
            plaintext_ok: one(settings, "plaintext_ok", boolean)?,
            http2_max_streams: one(settings, "http2_max_streams", streams)?,
            trust: ClientAddrPolicy {
                proxies: list(settings, "trusted_proxies", None)?,
                forwarded_header: one(settings, "forwarded_header", forwarded_header)?,
                proxy_protocol: one(settings, "proxy_protocol", proxy_protocol)?,
            },
            policy: Policy {
                origins: Origins {
                    allowed: list::<OriginPattern>(settings, "allowed_origins", None)?,
                    missing: one(settings, "missing_origin", permission)?,
                    null: one(settings, "null_origin", permission)?,
                },
                session: Arc::new(SessionConfig {
                    timing: Timing {
                        ping_interval: one(settings, "ping_interval_secs", seconds)?,
                        pong_timeout: one(settings, "pong_timeout_secs", seconds)?,
                        close_timeout: one(settings, "close_timeout_secs", seconds)?,
                        max_age: one(settings, "max_connection_age_secs", seconds_or_none)?,
                    },
                    limits: Limits {
                        messages: Rate::new(
                            one(settings, "messages_per_second", count_or_none)?,
                            one(settings, "message_burst", count_or_none)?,
                        ),
                        control_frames: Rate::new(
                            one(settings, "control_frames_per_second", count_or_none)?,
                            one(settings, "control_frame_burst", count_or_none)?,
                        ),
                        message_timeout: one(settings, "message_timeout_secs", seconds_or_none)?,
                        write_timeout: one(settings, "write_timeout_secs", seconds_or_none)?,
                    },
                }),
                sizes: SizeLimits {
                    max_message_bytes: one(settings, "max_message_bytes", bytes)?,
                    max_queued_bytes: one(settings, "max_queued_bytes", bytes)?,
                },
            },
            handshake_timeout: one(settings, "handshake_timeout_secs", seconds)?,
            shutdown: ShutdownOptions {
                grace: one(settings, "shutdown_grace_secs", seconds)?,
                delay: one(settings, "drain_delay_secs", seconds_or_none)?.unwrap_or_default(),
                farewell: DrainOptions {
                    code: one(settings, "drain_close_code", drain_code)?,
                    spread: one(settings, "drain_spread_secs", seconds_or_none)?
                        .unwrap_or_default(),
                },
            },
            max_connections: one(settings, "max_connections", count)?,
            max_connections_per_address: one(
                settings,
                "max_connections_per_address",
                count_or_none,
            )?,
            max_header_bytes: one(settings, "max_header_bytes", header_bytes)?,
            max_headers: one(settings, "max_headers", headers)?,
            admin_host: one(settings, "admin_host", admin_host)?,
            connection_table: one(settings, "connection_table", switch)?,
            log: one(settings, "log", targets)?,
            log_format: one(settings, "log_format", log_format)?,
        })
    }
}

/// Reads a setting that is a single value; `parse` says what would be right if it is not.
fn one<T>(
    settings: &Settings,
    key: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let written = settings.get(key);
    let text = written.texts.first().map_or("", String::as_str);
    parse(text).map_err(|expected| wrong(key, written, text, &expected))
}

/// Reads what belongs to the certificate: files, all of which have to be good.
fn tls(settings: &Settings) -> Result<Option<Tls>, ConfigError> {
    let [cert, key, client_ca] =
        ["tls_cert_file", "tls_key_file", "tls_client_ca_file"].map(|name| {
            let text = settings.get(name).texts.first().map_or("", String::as_str);
            Some(PathBuf::from(text)).filter(|_| !text.is_empty())
        });
    let alone = |name: &'static str, path: &PathBuf, other: &str| {
        wrong(name, settings.get(name), &path.display().to_string(), &format!("that needs {other}"))
    };
    let paths = match (cert, key, client_ca) {
        (None, None, None) => return Ok(None),
        (Some(cert), Some(key), client_ca) => TlsPaths { cert, key, client_ca },
        (Some(cert), None, _) => return Err(alone("tls_cert_file", &cert, "tls_key_file")),
        (None, Some(key), _) => return Err(alone("tls_key_file", &key, "tls_cert_file")),
        (None, None, Some(client_ca)) => {
            return Err(alone("tls_client_ca_file", &client_ca, "tls_cert_file"));
        }
    };
    Tls::load(paths, settings.when()).map(Some).map_err(|FileError { key, problem }| {
        let written = settings.get(key);
        let text = written.texts.first().map_or("", String::as_str);
        wrong(key, written, text, &problem)
    })
}

/// Reads a setting that is a list; `needed` says what is missing if it must not be empty.
fn list<T: FromStr<Err: Display>>(
    settings: &Settings,
    key: &str,
    needed: Option<&str>,
) -> Result<Vec<T>, ConfigError> {
    let written = settings.get(key);
    if let (true, Some(needed)) = (written.texts.is_empty(), needed) {
        return Err(wrong(key, written, "", needed));
    }
    let element = |text: &String| {
        text.parse().map_err(|error: T::Err| wrong(key, written, text, &error.to_string()))
    };
    written.texts.iter().map(element).collect()
}

fn wrong(key: &str, written: &RawValue, text: &str, expected: &str) -> ConfigError {
    ConfigError(format!("{key} is {text:?} in {}: {expected}", written.origin))
}
