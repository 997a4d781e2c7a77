//! The values of settings about the handover to a successor process.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::parse::{InvalidValue, invalid, setting_value};
use crate::net::address::ListenAddress;

/// Why a takeover address cannot be a TCP port.
const REASON: &str = "only a Unix socket passes sockets to another process";

/// The path of the Unix socket of the takeover listener, or `None`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OptionalTakeoverAddress(pub Option<PathBuf>);

impl FromStr for OptionalTakeoverAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match (text, text.parse()) {
            ("" | "none", _) => Ok(Self(None)),
            (_, Ok(TakeoverAddress(path))) => Ok(Self(Some(path))),
            (_, Err(InvalidValue(_))) => {
                invalid(format!("it must be unix:/PATH or none; {REASON}"))
            }
        }
    }
}

/// The path of the Unix socket on which the predecessor listens.
#[derive(Clone, Debug)]
pub(crate) struct TakeoverAddress(pub(crate) PathBuf);

impl FromStr for TakeoverAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.parse() {
            Ok(ListenAddress::Unix(path)) => Ok(Self(path)),
            Ok(ListenAddress::Tcp(_) | ListenAddress::Tls(_)) | Err(_) => {
                invalid(format!("it must be unix:/PATH; {REASON}"))
            }
        }
    }
}

/// A time from 0 to 60 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UpToAMinute(pub Duration);

impl FromStr for UpToAMinute {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.parse() {
            Ok(seconds @ 0.0..=60.0) => Ok(Self(Duration::from_secs_f64(seconds))),
            Ok(_) | Err(_) => {
                invalid("it must be a number of seconds from 0 to 60, such as 2 or 0.5")
            }
        }
    }
}

setting_value! {
    OptionalTakeoverAddress => { "type": "string", "examples": ["none", "unix:/run/ws-status/takeover.sock"] };
    UpToAMinute => { "type": "number", "minimum": 0, "maximum": 60 };
}
