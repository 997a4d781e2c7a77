//! What the text of a setting has to be: each function reads one kind of value, or says in a few words
//! what would be right.

use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};
use transport::Permission;
use transport::ws_core::CloseCode;

use crate::net::address::ListenAddress;
use crate::net::client_addr::{ForwardedHeader, ProxyProtocol};

/// What hyper's buffer holds at least.
pub const MIN_HEADER_BYTES: usize = 8192;

/// What a setting may let one peer have: 16 MiB.
pub const MAX_BYTES: usize = 16 << 20;

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

/// hyper reserves this for each request.
const MAX_HEADERS: usize = 1000;

/// Each of an HTTP/2 connection's streams has a window that may lie unread.
const MAX_STREAMS: u32 = 1000;

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && *seconds <= 86_400.0);
    // Less than a nanosecond would be no time at all.
    let duration = seconds.map(Duration::from_secs_f64).filter(|duration| !duration.is_zero());
    duration
        .ok_or_else(|| "it must be seconds above 0 and at most 86400, such as 25 or 0.5".to_owned())
}

/// `None` is a limit that is switched off.
pub(crate) fn seconds_or_none(text: &str) -> Result<Option<Duration>, String> {
    if text == "0" {
        return Ok(None);
    }
    seconds(text).map(Some).map_err(|expected| format!("{expected}, or 0 for no limit"))
}

/// Bytes that are reserved for one peer. One frame's head can ask for all of it.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (1..=MAX_BYTES).contains(bytes));
    bytes.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_BYTES}"))
}

pub(crate) fn bytes_or_none(text: &str) -> Result<Option<usize>, String> {
    let bytes = text.parse().ok().filter(|bytes| *bytes <= MAX_BYTES);
    let expected = || format!("it must be a whole number up to {MAX_BYTES}, or 0 for the system's");
    bytes.map(|bytes| Some(bytes).filter(|bytes| *bytes > 0)).ok_or_else(expected)
}

pub(crate) fn streams(text: &str) -> Result<u32, String> {
    let streams = text.parse().ok().filter(|streams| (1..=MAX_STREAMS).contains(streams));
    streams.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_STREAMS}"))
}

pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "it must be true or false".to_owned())
}

pub(crate) fn headers(text: &str) -> Result<usize, String> {
    let headers = text.parse().ok().filter(|headers| (1..=MAX_HEADERS).contains(headers));
    headers.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_HEADERS}"))
}

pub(crate) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count >= 1);
    count.ok_or_else(|| "it must be a whole number, at least 1, or auto".to_owned())
}

/// Zero is a limit that is switched off.
pub(crate) fn count_or_none<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "it must be a whole number, or 0 for no limit".to_owned())
}

pub(crate) fn header_bytes(text: &str) -> Result<usize, String> {
    let range = MIN_HEADER_BYTES..=MAX_BYTES;
    let bytes = text.parse().ok().filter(|bytes| range.contains(bytes));
    bytes.ok_or_else(|| format!("it must be a whole number from {MIN_HEADER_BYTES} to {MAX_BYTES}"))
}

pub(crate) fn permission(text: &str) -> Result<Permission, String> {
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

pub(crate) fn admin_address(text: &str) -> Result<Option<ListenAddress>, String> {
    match text {
        "" | "none" => Ok(None),
        // Who is on this machine, or behind a proxy of the operator's, needs none.
        text if text.starts_with("tls:") => Err("the admin listener has no TLS".to_owned()),
        text => text.parse().map(Some).map_err(|error| format!("{error}, or none")),
    }
}

pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "it must be permissions in octal, such as 0660".to_owned())
}

pub(crate) fn forwarded_header(text: &str) -> Result<ForwardedHeader, String> {
    match text {
        "forwarded" => Ok(ForwardedHeader::Forwarded),
        "off" => Ok(ForwardedHeader::Off),
        "x-forwarded-for" => Ok(ForwardedHeader::XForwardedFor),
        _ => Err("it must be forwarded, x-forwarded-for or off".to_owned()),
    }
}

pub(crate) fn proxy_protocol(text: &str) -> Result<ProxyProtocol, String> {
    match text {
        "off" => Ok(ProxyProtocol::Off),
        "optional" => Ok(ProxyProtocol::Optional),
        "required" => Ok(ProxyProtocol::Required),
        _ => Err("it must be off, optional or required".to_owned()),
    }
}

pub(crate) fn admin_host(text: &str) -> Result<Option<String>, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match text {
        "" => Ok(None),
        name if name.chars().all(is_name) => Ok(Some(name.to_ascii_lowercase())),
        _ => Err("it must be the name of a host without a port, or empty".to_owned()),
    }
}

pub(crate) fn switch(text: &str) -> Result<Switch, String> {
    match text {
        "off" => Ok(Switch::Off),
        "on" => Ok(Switch::On),
        _ => Err("it must be on or off".to_owned()),
    }
}

pub(crate) fn targets(text: &str) -> Result<Targets, String> {
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

pub(crate) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("it must be text or json".to_owned()),
    }
}
