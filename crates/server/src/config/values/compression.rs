//! The values of settings about the compression of messages.

use std::str::FromStr;

use serde::Deserialize;
use transport::Compression;

use super::parse::{InvalidValue, invalid, setting_value};

/// How messages are compressed, or `None` if they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CompressionMode(pub Option<Compression>);

impl FromStr for CompressionMode {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "fresh" => Ok(Self(Some(Compression::Fresh))),
            "off" => Ok(Self(None)),
            "shared" => Ok(Self(Some(Compression::Shared))),
            _ => invalid("it must be off, fresh or shared"),
        }
    }
}

setting_value! {
    CompressionMode => { "enum": ["off", "fresh", "shared"] };
}
