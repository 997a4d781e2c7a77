//! The configuration: a [`Config`] exists only if all settings are valid.
//!
//! `settings` defines every setting (type, default, meaning), `values` the types, and `definitions` joins
//! them with those that a program adds; `sources` reads the file, the environment and the flags; the [`Config`] here is made of them. `cli` parses the command
//! line, and `startup_warnings` reports settings that are valid but unlikely to work well. Start with
//! `settings`.

pub(crate) mod cli;
pub(crate) mod definitions;
pub(crate) mod error;
pub(crate) mod settings;
pub(crate) mod sources;
pub(crate) mod startup_warnings;
pub(crate) mod values;

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderName;
use tokio::sync::watch;
use tracing_subscriber::filter::Targets;
use transport::ws_core::{Limits, Rate, SessionConfig, Timing};
use transport::{
    CompressionOptions, DrainOptions, MAX_VISIBLE_REFUSALS, Origins, Permission, Policy, SizeLimits,
};

use self::error::ConfigError;
use self::settings::Settings;
use self::sources::RawSettings;
use self::values::admission::AuthTarget;
use self::values::{AdminAddress, LogFormat, MaxConnections};
use crate::net::address::ListenAddress;
use crate::net::client_addr::{ClientAddrPolicy, ProxyProtocol};
use crate::net::listeners::ListenOptions;
use crate::tls::{FileError, Tls, TlsPaths};

/// Open files reserved for everything but accepted clients: listeners, the log, connections being refused.
/// The service that authenticates clients has further ones, one for each concurrent decision.
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
    /// What a valid handshake has to pass before the application decides on it.
    pub(crate) admission: AdmissionOptions,
    /// The policy for handshakes and sessions.
    pub policy: Policy,
    /// Time from accepting a connection to its upgrade.
    pub handshake_timeout: Duration,
    /// The timing of a shutdown, and its close code.
    pub shutdown: ShutdownOptions,
    /// Time that a handover waits for sessions that cannot be handed over at once.
    pub takeover_wait: Duration,
    /// Maximum number of sessions plus connections without a session. At least 1.
    pub max_connections: usize,
    /// Open files that are not available to accepted clients.
    pub(crate) reserved_files: u64,
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
    pub connection_table: bool,
    /// The log filter.
    pub log: Targets,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The settings that this was made of.
    pub settings: Arc<RawSettings>,
}

/// How clients are admitted.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionOptions {
    /// The header that names the user.
    pub(crate) identity_header: Option<HeaderName>,
    /// The header with the end of the user's permission.
    pub(crate) expires_header: Option<HeaderName>,
    /// The service that decides.
    pub(crate) auth_service: Option<AuthTarget>,
    /// Time for its response.
    pub(crate) auth_timeout: Duration,
    /// Maximum number of handshakes that are decided at the same time, at least 1.
    pub(crate) max_concurrent: usize,
}

impl AdmissionOptions {
    /// Returns the maximum number of open files that decisions need: each may have a connection to the service.
    fn max_open_files(&self) -> u64 {
        let connections = if self.auth_service.is_some() { self.max_concurrent } else { 0 };
        u64::try_from(connections).unwrap_or(u64::MAX)
    }
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
    /// Checks the settings. `open_files` is the process's limit of open files.
    ///
    /// # Errors
    ///
    /// Describes every invalid setting.
    pub fn check(raw: RawSettings, open_files: u64) -> Result<Self, ConfigError> {
        let (settings, problems) = raw.typed();
        let contradictions = contradictions(&settings, &raw, &problems.invalid);
        let mut problems = [problems.sentences, contradictions, raw.added_problems()].concat();
        let tls = match tls_paths(&settings, &raw).map(|paths| load(paths, &raw)) {
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
        Ok(Self::new(settings, raw, tls, open_files))
    }

    /// Returns a receiver whose configuration never changes.
    #[must_use]
    pub fn fixed(self) -> ConfigReceiver {
        watch::Sender::new(Arc::new(self)).subscribe()
    }

    fn new(settings: Settings, raw: RawSettings, tls: Option<Tls>, open_files: u64) -> Self {
        let admission = AdmissionOptions {
            identity_header: settings.identity_header.0,
            expires_header: settings.expires_header.0,
            auth_service: settings.auth_url.0,
            auth_timeout: settings.auth_timeout_secs.0,
            max_concurrent: settings.max_concurrent_admissions.get(),
        };
        // A visible refusal has no permit of a session, but a socket.
        let visible_refusals = if settings.visible_refusals.0 { MAX_VISIBLE_REFUSALS } else { 0 };
        let reserved_files = RESERVED_FILES
            .saturating_add(admission.max_open_files())
            .saturating_add(u64::try_from(visible_refusals).unwrap_or(u64::MAX));
        let reconnect_spread = settings.reconnect_spread_secs.0.unwrap_or_default();
        Self {
            listen: ListenOptions {
                addresses: settings.listen.0,
                unix_mode: settings.listen_unix_mode.0,
                admin: settings.admin_listen.0,
                takeover: settings.takeover_listen.0,
                socket_buffer_bytes: Some(settings.socket_buffer_bytes.get())
                    .filter(|bytes| *bytes > 0),
            },
            tls,
            plaintext_ok: settings.plaintext_ok.0,
            http2_max_streams: settings.http2_max_streams.get_u32(),
            client_addr: ClientAddrPolicy {
                proxies: settings.trusted_proxies.0,
                forwarded_header: settings.forwarded_header.0,
                proxy_protocol: settings.proxy_protocol.0,
            },
            admission,
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
                        reconnect_spread,
                    },
                    limits: Limits {
                        messages: Rate::new(
                            settings.messages_per_second.get_u32(),
                            settings.message_burst.get_u32(),
                        ),
                        control_frames: Rate::new(
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
                compression: CompressionOptions {
                    mode: settings.compression.0,
                    webkit: if settings.compress_webkit.0 {
                        Permission::Allow
                    } else {
                        Permission::Refuse
                    },
                },
                visible_refusals: settings.visible_refusals.0,
            },
            handshake_timeout: settings.handshake_timeout_secs.0,
            shutdown: ShutdownOptions {
                grace: settings.shutdown_grace_secs.0,
                delay: settings.drain_delay_secs.0.unwrap_or_default(),
                drain: DrainOptions {
                    code: settings.drain_close_code.0,
                    spread: settings.drain_spread_secs.0.unwrap_or_default(),
                    reconnect_spread,
                },
            },
            takeover_wait: settings.takeover_wait_secs.0,
            max_connections: match settings.max_connections {
                MaxConnections::Auto => {
                    let count = open_files.saturating_sub(reserved_files).max(1);
                    usize::try_from(count).unwrap_or(usize::MAX)
                }
                MaxConnections::Count(count) => count,
            },
            reserved_files,
            max_connections_per_address: settings.max_connections_per_address.get(),
            max_header_bytes: settings.max_header_bytes.get(),
            max_headers: settings.max_headers.get(),
            admin_host: settings.admin_host.0,
            connection_table: settings.connection_table.0,
            log: settings.log.0,
            log_format: settings.log_format,
            settings: Arc::new(raw),
        }
    }
}

/// Describes settings that contradict each other, except those that are invalid already.
fn contradictions(settings: &Settings, raw: &RawSettings, invalid: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut add = |key: &str, other: &str, problem: &str| {
        if !invalid.iter().any(|it| it == key || it == other) {
            problems.push(raw.get(key).problem(key, problem));
        }
    };
    let addresses = &settings.listen.0;
    if addresses.is_empty() {
        let problem = "it must be at least one address with a port, such as 127.0.0.1:8080";
        add("listen", "listen", problem);
    }
    if let AdminAddress(Some(admin)) = &settings.admin_listen
        && addresses.contains(admin)
        && !matches!(admin, ListenAddress::Tcp(address) if address.port() == 0)
    {
        let problem = "it must not be one of the addresses in listen, where clients connect";
        add("admin_listen", "listen", problem);
    }
    if let Some(path) = &settings.takeover_listen.0 {
        let takeover = ListenAddress::Unix(path.clone());
        if addresses.contains(&takeover) {
            let problem = "it must not be one of the addresses in listen, where clients connect";
            add("takeover_listen", "listen", problem);
        }
        if settings.admin_listen.0.as_ref() == Some(&takeover) {
            let problem = "it must not be the address in admin_listen, where operators connect";
            add("takeover_listen", "admin_listen", problem);
        }
    }
    let is_tls = |address: &ListenAddress| matches!(address, ListenAddress::Tls(_));
    if settings.tls_cert_file.0.is_none() && addresses.iter().any(is_tls) {
        let problem = "a tls: address requires tls_cert_file and tls_key_file";
        add("listen", "tls_cert_file", problem);
    }
    if settings.proxy_protocol.0 == ProxyProtocol::Required && settings.trusted_proxies.0.is_empty()
    {
        let problem = "it requires trusted_proxies; without them no client could connect";
        add("proxy_protocol", "trusted_proxies", problem);
    }
    for (key, header) in [
        ("identity_header", &settings.identity_header),
        ("expires_header", &settings.expires_header),
    ] {
        let is_believed = !settings.trusted_proxies.0.is_empty() || settings.auth_url.0.is_some();
        if header.0.is_some() && !is_believed {
            let problem =
                "it requires trusted_proxies or auth_url; without them no client could connect";
            add(key, "trusted_proxies", problem);
        }
    }
    problems
}

/// Returns the files of the certificate, which require each other.
fn tls_paths(settings: &Settings, raw: &RawSettings) -> Result<Option<TlsPaths>, String> {
    let alone =
        |key: &str, other: &str| Err(raw.get(key).problem(key, &format!("it requires {other}")));
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
    let loaded = paths.map(|paths| Tls::load(paths, raw.reason())).transpose();
    loaded.map_err(|FileError { key, problem }| raw.get(key).problem(key, &problem))
}
