//! The configuration: settings that have been checked, so that what exists is good.
//!
//! A setting goes from `settings` (its key, default and meaning) and `sources` (file, environment,
//! flags) through `values` (what a text has to be) to the [`Config`] here. `cli` reads the command line,
//! and `startup_warnings` says what is allowed and cannot work well.

pub(crate) mod cli;
pub(crate) mod error;
pub(crate) mod settings;
pub(crate) mod sources;
pub(crate) mod startup_warnings;
pub(crate) mod values;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing_subscriber::filter::Targets;
use transport::ws_core::{Limits, Rate, SessionConfig, Timing};
use transport::{DrainOptions, Origins, Policy, SizeLimits};

use self::error::ConfigError;
use self::settings::Settings;
use self::sources::RawSettings;
use self::values::{AdminAddress, LogFormat, MaxConnections};
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
    pub connection_table: bool,
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
    /// Checks the settings. `open_files` is how many files the process may have open.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn check(raw: &RawSettings, open_files: u64) -> Result<Self, ConfigError> {
        let settings = raw.typed()?;
        let mut problems = contradictions(&settings, raw);
        let tls = match tls_paths(&settings, raw).map(|paths| load(paths, raw)) {
            Ok(loaded) => loaded.unwrap_or_else(|problem| {
                problems.push(problem);
                None
            }),
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        ConfigError::check(problems)?;
        Ok(Self::of(settings, tls, open_files))
    }

    /// This configuration, without changes.
    #[must_use]
    pub fn fixed(self) -> ConfigReceiver {
        watch::Sender::new(Arc::new(self)).subscribe()
    }

    fn of(settings: Settings, tls: Option<Tls>, open_files: u64) -> Self {
        let rate = |per_second: u32, burst: u32| Rate::new(per_second, burst);
        Self {
            listen: ListenOptions {
                addresses: settings.listen.0,
                unix_mode: settings.listen_unix_mode.0,
                admin: settings.admin_listen.0,
                socket_buffer_bytes: Some(settings.socket_buffer_bytes.get())
                    .filter(|bytes| *bytes > 0),
            },
            tls,
            plaintext_ok: settings.plaintext_ok.0,
            http2_max_streams: settings.http2_max_streams.get_u32(),
            trust: ClientAddrPolicy {
                proxies: settings.trusted_proxies.0,
                forwarded_header: settings.forwarded_header,
                proxy_protocol: settings.proxy_protocol,
            },
            policy: Policy {
                origins: Origins {
                    allowed: settings.allowed_origins.0,
                    missing: settings.missing_origin.0,
                    null: settings.null_origin.0,
                },
                session: Arc::new(SessionConfig {
                    timing: Timing {
                        ping_interval: settings.ping_interval_secs.0,
                        pong_timeout: settings.pong_timeout_secs.0,
                        close_timeout: settings.close_timeout_secs.0,
                        max_age: settings.max_connection_age_secs.0,
                    },
                    limits: Limits {
                        messages: rate(
                            settings.messages_per_second.get_u32(),
                            settings.message_burst.get_u32(),
                        ),
                        control_frames: rate(
                            settings.control_frames_per_second.get_u32(),
                            settings.control_frame_burst.get_u32(),
                        ),
                        message_timeout: settings.message_timeout_secs.0,
                        write_timeout: settings.write_timeout_secs.0,
                    },
                }),
                sizes: SizeLimits {
                    max_message_bytes: settings.max_message_bytes.get(),
                    max_queued_bytes: settings.max_queued_bytes.get(),
                },
            },
            handshake_timeout: settings.handshake_timeout_secs.0,
            shutdown: ShutdownOptions {
                grace: settings.shutdown_grace_secs.0,
                delay: settings.drain_delay_secs.0.unwrap_or_default(),
                farewell: DrainOptions {
                    code: settings.drain_close_code.0,
                    spread: settings.drain_spread_secs.0.unwrap_or_default(),
                },
            },
            max_connections: match settings.max_connections {
                MaxConnections::Auto => {
                    let count = open_files.saturating_sub(RESERVED_FILES).max(1);
                    usize::try_from(count).unwrap_or(usize::MAX)
                }
                MaxConnections::Count(count) => count,
            },
            max_connections_per_address: settings.max_connections_per_address.get(),
            max_header_bytes: settings.max_header_bytes.get(),
            max_headers: settings.max_headers.get(),
            admin_host: settings.admin_host.0,
            connection_table: settings.connection_table.0,
            log: settings.log.0,
            log_format: settings.log_format,
        }
    }
}

/// Settings that are right each by itself and wrong together.
fn contradictions(settings: &Settings, raw: &RawSettings) -> Vec<String> {
    let mut problems = Vec::new();
    let mut add = |key: &str, problem: &str| problems.push(raw.get(key).problem(key, problem));
    let addresses = &settings.listen.0;
    if addresses.is_empty() {
        add("listen", "it must be at least one address with a port, such as 127.0.0.1:8080");
    }
    if let AdminAddress(Some(admin)) = &settings.admin_listen
        && addresses.contains(admin)
        && !matches!(admin, ListenAddress::Tcp(address) if address.port() == 0)
    {
        let problem = "it must be another address than those of listen, where clients connect";
        add("admin_listen", problem);
    }
    let is_tls = |address: &ListenAddress| matches!(address, ListenAddress::Tls(_));
    if settings.tls_cert_file.0.is_none() && addresses.iter().any(is_tls) {
        add("listen", "an address with tls: needs tls_cert_file and tls_key_file");
    }
    if settings.proxy_protocol == ProxyProtocol::Required && settings.trusted_proxies.0.is_empty() {
        add("proxy_protocol", "that needs trusted_proxies, or no client could connect");
    }
    problems
}

/// The files of the certificate, which need each other.
fn tls_paths(settings: &Settings, raw: &RawSettings) -> Result<Option<TlsPaths>, String> {
    let alone =
        |key: &str, other: &str| Err(raw.get(key).problem(key, &format!("that needs {other}")));
    let Settings { tls_cert_file, tls_key_file, tls_client_ca_file, .. } = settings.clone();
    match (tls_cert_file.0, tls_key_file.0, tls_client_ca_file.0) {
        (None, None, None) => Ok(None),
        (Some(cert), Some(key), client_ca) => Ok(Some(TlsPaths { cert, key, client_ca })),
        (Some(_), None, _) => alone("tls_cert_file", "tls_key_file"),
        (None, Some(_), _) => alone("tls_key_file", "tls_cert_file"),
        (None, None, Some(_)) => alone("tls_client_ca_file", "tls_cert_file"),
    }
}

fn load(paths: Option<TlsPaths>, raw: &RawSettings) -> Result<Option<Tls>, String> {
    let loaded = paths.map(|paths| Tls::load(paths, raw.phase())).transpose();
    loaded.map_err(|FileError { key, problem }| raw.get(key).problem(key, &problem))
}
