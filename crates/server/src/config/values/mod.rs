//! The types of settings. A value of one exists only if it is valid.
//!
//! Each is parsed by `FromStr`, whose error is a clause that describes the valid values; serde uses the same
//! parser. So a file, an environment variable and a flag have the same rules.

pub(crate) mod admission;
pub(crate) mod compression;
pub(crate) mod handover;
mod parse;

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use tracing_subscriber::filter::{LevelFilter, Targets};
use transport::ws_core::CloseCode;
use transport::{OriginPattern, Permission};

use self::parse::{InvalidValue, invalid, setting_value};
use crate::net::address::ListenAddress;
use crate::net::client_addr::{ForwardedHeader, ProxyProtocol, TrustedPeer};

/// The greatest size of a buffer that a setting allows for one peer: 16 MiB.
pub const MAX_BYTES: u64 = 16 << 20;

/// The smallest limit of a request's head that hyper accepts.
pub const MIN_HEADER_BYTES: u64 = 8192;

/// `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.parse() {
            Ok(is_on) => Ok(Self(is_on)),
            Err(_) => invalid("it must be true or false"),
        }
    }
}

/// A whole number from `MIN` to `MAX`. The setting says what zero means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Integer<const MIN: u64, const MAX: u64>(u64);

/// Bytes of a buffer for one peer.
pub(crate) type ByteSize = Integer<1, MAX_BYTES>;
/// A size in bytes, or zero for the default of the system.
pub(crate) type OptionalByteSize = Integer<0, MAX_BYTES>;
/// Bytes of a request's head.
pub(crate) type HeaderBytes = Integer<MIN_HEADER_BYTES, MAX_BYTES>;
/// Handshakes that are decided at the same time.
pub(crate) type UpToTenThousand = Integer<1, 10_000>;
/// Header lines of a request, or streams of an HTTP/2 connection.
pub(crate) type UpToThousand = Integer<1, 1000>;
/// A number of connections or of events a second, or zero for no limit.
pub(crate) type OptionalCount = Integer<0, 4_294_967_295>;

impl<const MIN: u64, const MAX: u64> Integer<MIN, MAX> {
    /// Returns the number.
    #[must_use]
    pub fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    pub(crate) fn get_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Integer<MIN, MAX> {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.parse() {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            Ok(_) | Err(_) => invalid(format!("it must be a whole number from {MIN} to {MAX}")),
        }
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<String> for Integer<MIN, MAX> {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Integer<MIN, MAX> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("integer_from_{MIN}_to_{MAX}").into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A time above zero and of at most a day, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Seconds(pub Duration);

impl FromStr for Seconds {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let seconds =
            text.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && *seconds <= 86_400.0);
        // Less than a nanosecond rounds to zero.
        let duration = seconds.map(Duration::from_secs_f64).filter(|it| !it.is_zero());
        match duration {
            Some(duration) => Ok(Self(duration)),
            None => invalid(
                "it must be a number of seconds above 0 and at most 86400, such as 25 or 0.5",
            ),
        }
    }
}

/// A time of at most a day in seconds, or `None` for 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OptionalSeconds(pub Option<Duration>);

impl FromStr for OptionalSeconds {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text == "0" {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(Seconds(duration)) => Ok(Self(Some(duration))),
            Err(InvalidValue(it)) => invalid(format!("{it}, or 0 to disable it")),
        }
    }
}

/// The greatest number of connections: `auto` follows from the limit of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MaxConnections {
    /// The limit of open files, less a reserve.
    Auto,
    /// This number, at least 1.
    Count(usize),
}

impl FromStr for MaxConnections {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(count @ 1..)) => Ok(Self::Count(count)),
            (_, Ok(0) | Err(_)) => invalid("it must be a whole number, at least 1, or auto"),
        }
    }
}

/// Whether a kind of request is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Decision(pub Permission);

impl FromStr for Decision {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "allow" => Ok(Self(Permission::Allow)),
            "refuse" => Ok(Self(Permission::Refuse)),
            _ => invalid("it must be allow or refuse"),
        }
    }
}

/// The close code of a drain: 1001 (RFC 6455, section 7.4.1), or 1012 (the registry of its section 11.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DrainCode(pub CloseCode);

impl FromStr for DrainCode {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "1001" => Ok(Self(CloseCode::GOING_AWAY)),
            "1012" => Ok(Self(CloseCode::SERVICE_RESTART)),
            _ => invalid("it must be 1001 or 1012"),
        }
    }
}

/// The address of the admin listener, or `none`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AdminAddress(pub Option<ListenAddress>);

impl FromStr for AdminAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "" | "none" => Ok(Self(None)),
            text if text.starts_with("tls:") => invalid("the admin listener does not support TLS"),
            text => match text.parse() {
                Ok(address) => Ok(Self(Some(address))),
                Err(error) => invalid(format!("{error}, or none")),
            },
        }
    }
}

/// Permissions of a file, in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(pub u32);

impl FromStr for Mode {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            Ok(_) | Err(_) => invalid("it must be permissions in octal, such as 0660"),
        }
    }
}

/// The name of a host, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostName(pub Option<String>);

impl FromStr for HostName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        match text {
            "" => Ok(Self(None)),
            name if name.chars().all(is_name) => Ok(Self(Some(name.to_ascii_lowercase()))),
            _ => invalid("it must be the name of a host without a port, or empty"),
        }
    }
}

/// The path of a file, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OptionalPath(pub Option<PathBuf>);

impl FromStr for OptionalPath {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Ok(Self(Some(PathBuf::from(text)).filter(|_| !text.is_empty())))
    }
}

/// Which log events are written: a level, or levels by module.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct LogFilter(pub Targets);

impl FromStr for LogFilter {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        // `Targets` parses a word that is not a level as a module, so a misspelt level would disable the log.
        let is_level = |level: &str| !level.is_empty() && level.parse::<LevelFilter>().is_ok();
        let is_directive = |word: &str| match word.split_once('=') {
            Some((module, level)) => !module.is_empty() && is_level(level),
            None => is_level(word),
        };
        let checked = Some(text).filter(|text| text.split(',').all(is_directive));
        let Some(targets) = checked.and_then(|text| text.parse::<Targets>().ok()) else {
            return invalid(
                "it must be a level (error, warn, info, debug, trace, off) or levels by module, \
                 such as warn,server=info",
            );
        };
        // h2 logs a warning for each violation by a client.
        let names_h2 = text.split(',').any(|word| word.starts_with("h2"));
        Ok(Self(if names_h2 { targets } else { targets.with_target("h2", LevelFilter::OFF) }))
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Human-readable text.
    Text,
}

impl FromStr for LogFormat {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => invalid("it must be text or json"),
        }
    }
}

/// The header in which a proxy reports the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ForwardedHeaderName(pub ForwardedHeader);

impl FromStr for ForwardedHeaderName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "forwarded" => Ok(Self(ForwardedHeader::Forwarded)),
            "off" => Ok(Self(ForwardedHeader::Off)),
            "x-forwarded-for" => Ok(Self(ForwardedHeader::XForwardedFor)),
            _ => invalid("it must be forwarded, x-forwarded-for or off"),
        }
    }
}

/// Whether a proxy sends a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProxyProtocolUse(pub ProxyProtocol);

impl FromStr for ProxyProtocolUse {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "off" => Ok(Self(ProxyProtocol::Off)),
            "optional" => Ok(Self(ProxyProtocol::Optional)),
            "required" => Ok(Self(ProxyProtocol::Required)),
            _ => invalid("it must be off, optional or required"),
        }
    }
}

setting_value! {
    Switch => { "type": "boolean" };
    Seconds => { "type": "number", "exclusiveMinimum": 0, "maximum": 86400 };
    OptionalSeconds => { "type": "number", "minimum": 0, "maximum": 86400 };
    MaxConnections => { "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1 }] };
    Decision => { "enum": ["allow", "refuse"] };
    DrainCode => { "enum": [1001, 1012] };
    AdminAddress => { "type": "string", "examples": ["none", "127.0.0.1:9090", "unix:/run/ws-status/admin.sock"] };
    Mode => { "type": "string", "pattern": "^0*[0-7]{1,3}$" };
    HostName => { "type": "string", "pattern": "^[A-Za-z0-9._-]*$" };
    OptionalPath => { "type": "string" };
    LogFilter => { "type": "string", "examples": ["info", "warn,server=info"] };
    LogFormat => { "enum": ["text", "json"] };
    ForwardedHeaderName => { "enum": ["forwarded", "x-forwarded-for", "off"] };
    ProxyProtocolUse => { "enum": ["off", "optional", "required"] };
}

/// A list: an array in a file, and separated by commas elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: FromStr<Err: Display>> FromStr for List<T> {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let elements = text.split(',').map(str::trim);
        Self::of(elements.filter(|_| !text.trim().is_empty()))
    }
}

impl<T: FromStr<Err: Display>> List<T> {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, InvalidValue> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|error: T::Err| InvalidValue(format!("{text:?} is invalid: {error}")))
        };
        texts.map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: Display>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<List<T>, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = seq.next_element::<String>()? {
            texts.push(text);
        }
        List::of(texts.iter().map(String::as_str)).map_err(de::Error::custom)
    }
}

impl<T> JsonSchema for List<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "list".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string" } })
    }
}

/// The settings that are lists.
pub(crate) type Addresses = List<ListenAddress>;
pub(crate) type OriginPatterns = List<OriginPattern>;
pub(crate) type TrustedPeers = List<TrustedPeer>;
