//! A state, and the order of states.

use std::borrow::Cow;

use broadcast::Tag;
use serde_json::{Value, json};

/// One version of the key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The version.
    pub version: Version,
    /// The value, or `None` if the key was deleted.
    pub value: Option<Vec<u8>>,
}

/// Identifies one state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The broker's revision number, which increases during the lifetime of the bucket.
    pub revision: u64,
    /// Time at which the broker stored it, by the broker's clock, in microseconds since 1970.
    pub stored_us: i64,
}

impl Version {
    /// Whether this state was stored after the other.
    ///
    /// A higher revision or a later time is enough. Revisions restart at 1 in a bucket that was created
    /// again, and repeat if a broker lost the last ones in a power failure; the time is later then. A clock
    /// may be set back; the revision is higher then.
    #[must_use]
    pub fn is_newer_than(self, other: Self) -> bool {
        self.revision > other.revision || self.stored_us > other.stored_us
    }

    /// The tag of this state, which is the same on all nodes.
    ///
    /// The time is in it because revisions alone may occur twice, as above.
    #[must_use]
    pub fn tag(self) -> Tag {
        let Self { revision, stored_us } = self;
        let tag = format!("{revision}-{stored_us:x}").parse();
        tag.expect("two numbers and a hyphen are a tag of at most 37 characters")
    }
}

impl State {
    /// The message for clients, as JSON: the version, by which clients can order states, and the value. A
    /// value that is JSON is copied, any other becomes a string, and a deleted value is `null`.
    #[must_use]
    pub fn message(&self) -> String {
        let Version { revision, stored_us } = self.version;
        let text = self.value.as_deref().map(String::from_utf8_lossy);
        let state = match text {
            None => Cow::Borrowed("null"),
            // Copied, because serializing it again would round its numbers.
            Some(text) if serde_json::from_str::<Value>(&text).is_ok() => text,
            Some(text) => Cow::Owned(json!(text).to_string()),
        };
        format!(r#"{{"revision":{revision},"stored_us":{stored_us},"state":{state}}}"#)
    }
}
