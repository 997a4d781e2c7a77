//! The configuration: settings that have been checked, so that what exists is good.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing_subscriber::filter::{LevelFilter, Targets};
use transport::ws_core::{CloseCode, Limits, Rate, Rules, Timing};
use transport::{Farewell, OriginPattern, Origins, Permission, Policy, Sizes};

use crate::listen::ListenAddress;
use crate::settings::{Settings, Written, Wrong};
use crate::tls::{BadFile, Paths, Tls};
use crate::trust::{ForwardedHeader, ProxyProtocol, Trust};

/// Files that are open besides the sockets of clients: listeners, the log, those being refused.
pub const RESERVED_FILES: u64 = 256;

/// What hyper's buffer holds at least.
pub const MIN_HEADER_BYTES: usize = 8192;

/// What a setting may let one peer have: 16 MiB.
pub const MAX_BYTES: usize = 16 << 20;

/// hyper reserves this for each request.
const MAX_HEADERS: usize = 1000;

/// Each of an HTTP/2 connection's streams has a window that may lie unread.
const MAX_STREAMS: u32 = 1000;

/// Everything the server wants to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. At least one address.
    pub listen: Vec<ListenAddress>,
    /// The permissions of the files of Unix sockets.
    pub listen_unix_mode: u32,
    /// The certificate and what belongs to it, if there is one.
    pub tls: Option<Tls>,
    /// Whether it is known that what clients send can be read on the way to us.
    pub plaintext_ok: bool,
    /// Sessions that an HTTP/2 connection may have. At least one.
    pub http2_max_streams: u32,
    /// Whose word about the client is believed.
    pub trust: Trust,
    /// What holds for every session.
    pub policy: Policy,
    /// From accepting a connection to its upgrade.
    pub handshake_timeout: Duration,
    /// How a shutdown goes.
    pub shutdown: Plan,
    /// Sockets that are accepted and not yet closed. At least one.
    pub max_connections: usize,
    /// The same for each client address; 0 is no limit.
    pub max_connections_per_address: usize,
    /// Bytes of a request's head. At least [`MIN_HEADER_BYTES`].
    pub max_header_bytes: usize,
    /// Header lines of a request. At least one.
    pub max_headers: usize,
    /// What the system may keep for a client in each direction; `None` leaves it to the system.
    pub socket_buffer_bytes: Option<usize>,
    /// Where the admin listener is, if there is one.
    pub admin_listen: Option<ListenAddress>,
    /// A name by which it may be called, besides `localhost` and any IP address.
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
pub struct Plan {
    /// How long it may take in all. What is left then is cut.
    pub grace: Duration,
    /// From its beginning to the first refusal.
    pub delay: Duration,
    /// What sessions are told, and over how long a time.
    pub farewell: Farewell,
}

/// Something that is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It is not.
    Off,
    /// It is.
    On,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// For people.
    Text,
}

/// The configuration in force, and its changes.
pub type Configs = watch::Receiver<Arc<Config>>;

impl Config {
    /// Checks the settings. `max_connections`, where it is left to us, is worked out in place.
    ///
    /// `open_files` is how many files the process may have open.
    ///
    /// # Errors
    ///
    /// The first setting that is wrong.
    pub fn check(settings: &mut Settings, open_files: u64) -> Result<Self, Wrong> {
        if settings.get("max_connections").texts == ["auto"] {
            let count = open_files.saturating_sub(RESERVED_FILES).max(1).to_string();
            let origin = format!("the limit of {open_files} open files, minus {RESERVED_FILES}");
            settings.work_out("max_connections", count, origin);
        }
        let settings = &*settings;
        let config = Self::read(settings)?;
        if let Some(admin) = &config.admin_listen
            && config.listen.contains(admin)
            && !matches!(admin, ListenAddress::Tcp(address) if address.port() == 0)
        {
            let written = settings.get("admin_listen");
            let expected = "it must be another address than those of listen, where clients connect";
            return Err(wrong("admin_listen", written, &admin.to_string(), expected));
        }
        let is_tls = |address: &&ListenAddress| matches!(address, ListenAddress::Tls(_));
        if config.tls.is_none()
            && let Some(address) = config.listen.iter().find(is_tls)
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

    /// After how long a client that is there has said something: the answer to a ping.
    pub(crate) fn longest_silence(&self) -> Duration {
        let timing = self.policy.rules.timing;
        timing.ping_interval + timing.pong_timeout
    }

    /// This configuration, for ever.
    #[must_use]
    pub fn fixed(self) -> Configs {
        watch::Sender::new(Arc::new(self)).subscribe()
    }

    fn read(settings: &Settings) -> Result<Self, Wrong> {
        Ok(Self {
            listen: list(
                settings,
                "listen",
                Some("at least one address with a port, such as 127.0.0.1:8080"),
            )?,
            listen_unix_mode: one(settings, "listen_unix_mode", mode)?,
            tls: tls(settings)?,
            plaintext_ok: one(settings, "plaintext_ok", boolean)?,
            http2_max_streams: one(settings, "http2_max_streams", streams)?,
            trust: Trust {
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
                rules: Arc::new(Rules {
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
                sizes: Sizes {
                    max_message_bytes: one(settings, "max_message_bytes", bytes)?,
                    max_queued_bytes: one(settings, "max_queued_bytes", bytes)?,
                },
            },
            handshake_timeout: one(settings, "handshake_timeout_secs", seconds)?,
            shutdown: Plan {
                grace: one(settings, "shutdown_grace_secs", seconds)?,
                delay: one(settings, "drain_delay_secs", seconds_or_none)?.unwrap_or_default(),
                farewell: Farewell {
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
            socket_buffer_bytes: one(settings, "socket_buffer_bytes", bytes_or_none)?,
            admin_listen: one(settings, "admin_listen", admin_address)?,
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
) -> Result<T, Wrong> {
    let written = settings.get(key);
    let text = written.texts.first().map_or("", String::as_str);
    parse(text).map_err(|expected| wrong(key, written, text, &expected))
}

/// Reads what belongs to the certificate: files, all of which have to be good.
fn tls(settings: &Settings) -> Result<Option<Tls>, Wrong> {
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
        (Some(cert), Some(key), client_ca) => Paths { cert, key, client_ca },
        (Some(cert), None, _) => return Err(alone("tls_cert_file", &cert, "tls_key_file")),
        (None, Some(key), _) => return Err(alone("tls_key_file", &key, "tls_cert_file")),
        (None, None, Some(client_ca)) => {
            return Err(alone("tls_client_ca_file", &client_ca, "tls_cert_file"));
        }
    };
    Tls::load(paths).map(Some).map_err(|BadFile { key, problem }| {
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
) -> Result<Vec<T>, Wrong> {
    let written = settings.get(key);
    if let (true, Some(needed)) = (written.texts.is_empty(), needed) {
        return Err(wrong(key, written, "", needed));
    }
    let element = |text: &String| {
        text.parse().map_err(|error: T::Err| wrong(key, written, text, &error.to_string()))
    };
    written.texts.iter().map(element).collect()
}

fn wrong(key: &str, written: &Written, text: &str, expected: &str) -> Wrong {
    Wrong(format!("{key} is {text:?} in {}: {expected}", written.origin))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && *seconds <= 86_400.0);
    // Less than a nanosecond would be no time at all.
    let duration = seconds.map(Duration::from_secs_f64).filter(|duration| !duration.is_zero());
    duration
        .ok_or_else(|| "it must be seconds above 0 and at most 86400, such as 25 or 0.5".to_owned())
}

/// `None` is a limit that is switched off.
fn seconds_or_none(text: &str) -> Result<Option<Duration>, String> {
    if text == "0" {
        return Ok(None);
    }
    seconds(text).map(Some).map_err(|expected| format!("{expected}, or 0 for no limit"))
}

/// Bytes that are reserved for one peer. One frame's head can ask for all of it.
fn bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (1..=MAX_BYTES).contains(bytes));
    bytes.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_BYTES}"))
}

fn bytes_or_none(text: &str) -> Result<Option<usize>, String> {
    let bytes = text.parse().ok().filter(|bytes| *bytes <= MAX_BYTES);
    let expected = || format!("it must be a whole number up to {MAX_BYTES}, or 0 for the system's");
    bytes.map(|bytes| Some(bytes).filter(|bytes| *bytes > 0)).ok_or_else(expected)
}

fn streams(text: &str) -> Result<u32, String> {
    let streams = text.parse().ok().filter(|streams| (1..=MAX_STREAMS).contains(streams));
    streams.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_STREAMS}"))
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "it must be true or false".to_owned())
}

fn headers(text: &str) -> Result<usize, String> {
    let headers = text.parse().ok().filter(|headers| (1..=MAX_HEADERS).contains(headers));
    headers.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_HEADERS}"))
}

fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count >= 1);
    count.ok_or_else(|| "it must be a whole number, at least 1, or auto".to_owned())
}

/// Zero is a limit that is switched off.
fn count_or_none<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "it must be a whole number, or 0 for no limit".to_owned())
}

fn header_bytes(text: &str) -> Result<usize, String> {
    let range = MIN_HEADER_BYTES..=MAX_BYTES;
    let bytes = text.parse().ok().filter(|bytes| range.contains(bytes));
    bytes.ok_or_else(|| format!("it must be a whole number from {MIN_HEADER_BYTES} to {MAX_BYTES}"))
}

fn permission(text: &str) -> Result<Permission, String> {
    match text {
        "allow" => Ok(Permission::Allow),
        "refuse" => Ok(Permission::Refuse),
        _ => Err("it must be allow or refuse".to_owned()),
    }
}

/// The two codes that tell a client to come back (RFC 6455, section 7.4.1, and its registry).
pub(crate) fn drain_code(text: &str) -> Result<CloseCode, String> {
    match text {
        "1001" => Ok(CloseCode::GOING_AWAY),
        "1012" => Ok(CloseCode::SERVICE_RESTART),
        _ => Err("it must be 1001 or 1012".to_owned()),
    }
}

fn admin_address(text: &str) -> Result<Option<ListenAddress>, String> {
    match text {
        "" | "none" => Ok(None),
        // Who is on this machine, or behind a proxy of the operator's, needs none.
        text if text.starts_with("tls:") => Err("the admin listener has no TLS".to_owned()),
        text => text.parse().map(Some).map_err(|error| format!("{error}, or none")),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "it must be permissions in octal, such as 0660".to_owned())
}

fn forwarded_header(text: &str) -> Result<ForwardedHeader, String> {
    match text {
        "forwarded" => Ok(ForwardedHeader::Forwarded),
        "off" => Ok(ForwardedHeader::Off),
        "x-forwarded-for" => Ok(ForwardedHeader::XForwardedFor),
        _ => Err("it must be forwarded, x-forwarded-for or off".to_owned()),
    }
}

fn proxy_protocol(text: &str) -> Result<ProxyProtocol, String> {
    match text {
        "off" => Ok(ProxyProtocol::Off),
        "optional" => Ok(ProxyProtocol::Optional),
        "required" => Ok(ProxyProtocol::Required),
        _ => Err("it must be off, optional or required".to_owned()),
    }
}

fn admin_host(text: &str) -> Result<Option<String>, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match text {
        "" => Ok(None),
        name if name.chars().all(is_name) => Ok(Some(name.to_ascii_lowercase())),
        _ => Err("it must be the name of a host without a port, or empty".to_owned()),
    }
}

fn switch(text: &str) -> Result<Switch, String> {
    match text {
        "off" => Ok(Switch::Off),
        "on" => Ok(Switch::On),
        _ => Err("it must be on or off".to_owned()),
    }
}

fn targets(text: &str) -> Result<Targets, String> {
    // The library takes a lone word for a module and none for a level, and a misspelt level would
    // silence everything.
    let is_level = |level: &str| !level.is_empty() && level.parse::<LevelFilter>().is_ok();
    let is_level = |word: &str| match word.split_once('=') {
        Some((module, level)) => !module.is_empty() && is_level(level),
        None => is_level(word),
    };
    let good = Some(text).filter(|text| text.split(',').all(is_level));
    let targets = good.and_then(|text| text.parse::<Targets>().ok()).ok_or_else(|| {
        "it must be a level (error, warn, info, debug, trace, off) or levels by module, \
         such as warn,server=info"
            .to_owned()
    })?;
    // h2 warns of what clients do, for each time that they do it.
    let is_wanted = text.split(',').any(|word| word.starts_with("h2"));
    Ok(if is_wanted { targets } else { targets.with_target("h2", LevelFilter::OFF) })
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("it must be text or json".to_owned()),
    }
}
