//! Parsers of single values. An error is a clause that describes the valid values.

use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};
use transport::Permission;
use transport::ws_core::CloseCode;

use crate::net::address::ListenAddress;
use crate::net::client_addr::{ForwardedHeader, ProxyProtocol};

/// The smallest read buffer that hyper accepts, and so the lowest limit of a request head.
pub const MIN_HEADER_BYTES: usize = 8192;

/// The highest memory limit that a setting may allow for one peer: 16 MiB.
pub const MAX_BYTES: usize = 16 << 20;

/// A feature that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Disabled.
    Off,
    /// Enabled.
    On,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people to read.
    Text,
}

/// Upper bound of `max_headers`: hyper allocates its header table for each request.
const MAX_HEADERS: usize = 1000;

/// Upper bound of `http2_max_streams`: each stream may hold a full window of unread data.
const MAX_STREAMS: u32 = 1000;

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && *seconds <= 86_400.0);
    // Values below a nanosecond are rounded to zero, and rejected.
    let duration = seconds.map(Duration::from_secs_f64).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| {
        "it must be a number of seconds above 0 and at most 86400, such as 25 or 0.5".to_owned()
    })
}

/// Returns `None` for 0, which disables the limit.
pub(crate) fn seconds_or_off(text: &str) -> Result<Option<Duration>, String> {
    if text == "0" {
        return Ok(None);
    }
    seconds(text).map(Some).map_err(|expected| format!("{expected}, or 0 to disable it"))
}

/// A limit of memory for one peer, which the length in a single frame header can claim in full.
pub(crate) fn byte_count(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (1..=MAX_BYTES).contains(bytes));
    bytes.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_BYTES}"))
}

/// Returns `None` for 0, which selects the default of the system.
pub(crate) fn socket_buffer_bytes(text: &str) -> Result<Option<usize>, String> {
    let bytes = text.parse().ok().filter(|bytes| *bytes <= MAX_BYTES);
    let expected =
        || format!("it must be a whole number up to {MAX_BYTES}, or 0 for the system's default");
    bytes.map(|bytes| Some(bytes).filter(|bytes| *bytes > 0)).ok_or_else(expected)
}

pub(crate) fn http2_stream_count(text: &str) -> Result<u32, String> {
    let streams = text.parse().ok().filter(|streams| (1..=MAX_STREAMS).contains(streams));
    streams.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_STREAMS}"))
}

pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "it must be true or false".to_owned())
}

pub(crate) fn header_count(text: &str) -> Result<usize, String> {
    let headers = text.parse().ok().filter(|headers| (1..=MAX_HEADERS).contains(headers));
    headers.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_HEADERS}"))
}

pub(crate) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count >= 1);
    count.ok_or_else(|| "it must be a whole number of at least 1, or auto".to_owned())
}

/// 0 disables the limit.
pub(crate) fn count_or_unlimited<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "it must be a whole number, or 0 to disable the limit".to_owned())
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

/// The two close codes that ask a client to reconnect (RFC 6455, section 7.4.1, and the IANA registry).
pub(crate) fn drain_close_code(text: &str) -> Result<CloseCode, String> {
    match text {
        "1001" => Ok(CloseCode::GOING_AWAY),
        "1012" => Ok(CloseCode::SERVICE_RESTART),
        _ => Err("it must be 1001 or 1012".to_owned()),
    }
}

pub(crate) fn admin_address(text: &str) -> Result<Option<ListenAddress>, String> {
    match text {
        "" | "none" => Ok(None),
        // Admin clients are on this machine, or behind a proxy of the operator, which terminates TLS.
        text if text.starts_with("tls:") => {
            Err("the admin listener does not support TLS".to_owned())
        }
        text => text.parse().map(Some).map_err(|error| format!("{error}, or none")),
    }
}

pub(crate) fn octal_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "it must be file permissions in octal, such as 0660".to_owned())
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
        _ => Err("it must be a host name without a port, or empty".to_owned()),
    }
}

pub(crate) fn switch(text: &str) -> Result<Switch, String> {
    match text {
        "off" => Ok(Switch::Off),
        "on" => Ok(Switch::On),
        _ => Err("it must be on or off".to_owned()),
    }
}

pub(crate) fn log_targets(text: &str) -> Result<Targets, String> {
    // `Targets` parses a single unknown word as a module name, so a misspelt level would disable all
    // lines. It also accepts an empty level.
    let is_level = |level: &str| !level.is_empty() && level.parse::<LevelFilter>().is_ok();
    let is_directive = |word: &str| match word.split_once('=') {
        Some((module, level)) => !module.is_empty() && is_level(level),
        None => is_level(word),
    };
    let valid = Some(text).filter(|text| text.split(',').all(is_directive));
    let targets = valid.and_then(|text| text.parse::<Targets>().ok()).ok_or_else(|| {
        "it must be a level (error, warn, info, debug, trace, off) or levels by module, \
         such as warn,server=info"
            .to_owned()
    })?;
    // h2 logs a warning for each violation by a client, so it is off unless it is named.
    let names_h2 = text.split(',').any(|word| word.starts_with("h2"));
    Ok(if names_h2 { targets } else { targets.with_target("h2", LevelFilter::OFF) })
}

pub(crate) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("it must be text or json".to_owned()),
    }
}
