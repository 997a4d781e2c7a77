//! A state, and which of two is newer.

use std::borrow::Cow;

use serde_json::{Value, json};

/// What stood under the key at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Which one it is.
    pub version: Version,
    /// What was put there, or nothing if it was deleted.
    pub value: Option<Vec<u8>>,
}

/// Which of the states of a key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The broker's number for it, which grows for as long as the bucket exists.
    pub revision: u64,
    /// When the broker stored it, by its own clock, in microseconds since 1970.
    pub stored_us: i64,
}

impl Version {
    /// Whether this one was put after the other.
    ///
    /// Either sign is enough. Revisions begin again at 1 in a bucket that was made anew, and may come
    /// twice if a broker has lost its last ones in a power failure; what is stored then is stored later.
    /// And a clock may be set back.
    #[must_use]
    pub fn is_newer_than(self, other: Self) -> bool {
        self.revision > other.revision || self.stored_us > other.stored_us
    }
}

impl State {
    /// What clients are told: the version, by which they can tell which of two is newer as well, and the
    /// value: as it is if it is JSON, else as a string, and `null` if it was deleted.
    #[must_use]
    pub fn message(&self) -> String {
        let Version { revision, stored_us } = self.version;
        let text = self.value.as_deref().map(String::from_utf8_lossy);
        let state = match text {
            None => Cow::Borrowed("null"),
            // Not written again, which would round its numbers.
            Some(text) if serde_json::from_str::<Value>(&text).is_ok() => text,
            Some(text) => Cow::Owned(json!(text).to_string()),
        };
        format!(r#"{{"revision":{revision},"stored_us":{stored_us},"state":{state}}}"#)
    }
}
