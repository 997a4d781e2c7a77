//! The tags of states, and what a client says of the state that it has.

use std::collections::hash_map::RandomState;
use std::error;
use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

/// The name of a state: 1 to 64 characters of `[A-Za-z0-9._-]`.
///
/// Two states with the same tag are the same. A client sends the tag of its state when it connects again,
/// in the query parameter `have`, so a tag appears in logs: it should not tell what the state says.
///
/// ```
/// use broadcast::Tag;
///
/// let tag: Tag = "2026-11-30.7".parse()?;
/// assert_eq!(tag.as_str(), "2026-11-30.7");
/// assert!("7/8".parse::<Tag>().is_err());
/// # Ok::<(), broadcast::InvalidTag>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(Arc<str>);

/// A text that is no [`Tag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTag;

/// What a client says of the state that it has, in the query parameter `have` of its handshake.
///
/// ```
/// use broadcast::Have;
///
/// assert_eq!(Have::from_query(Some("team=blue&have=v7")), Have::State("v7".parse()?));
/// assert_eq!(Have::from_query(Some("have=")), Have::Nothing);
/// assert_eq!(Have::from_query(Some("team=blue")), Have::Absent);
/// # Ok::<(), broadcast::InvalidTag>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Have {
    /// There is no parameter: the client does not know of tags, and is sent states as they were published.
    #[default]
    Absent,
    /// The client knows of tags, and has no state: the parameter is empty or no tag.
    Nothing,
    /// The client has the state with this tag.
    State(Tag),
}

/// In which form a session sends states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they were published.
    Bare,
    /// Each after a line with its tag.
    Tagged,
}

impl Tag {
    /// The largest number of characters.
    pub const MAX_LEN: usize = 64;

    /// Creates the tag of a state with a number that is unique under `epoch`.
    pub(crate) fn numbered(epoch: NonZeroU64, number: u64) -> Self {
        Self(format!("{epoch:016x}-{number}").into())
    }

    /// Returns the tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a hash, which is the same for the same tag as long as the process runs. Its keys are random,
    /// so a client cannot choose a tag that is taken for another.
    pub(crate) fn fingerprint(&self) -> u64 {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        KEYS.hash_one(self.as_str())
    }
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_valid = (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_valid { Ok(Self(text.into())) } else { Err(InvalidTag) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for InvalidTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'")
    }
}

impl error::Error for InvalidTag {}

impl Have {
    /// Reads the parameter `have` from the query of a request, such as
    /// [`Handshake::query`](transport::Handshake::query). If there are several, the first counts. What is
    /// no tag, or is longer than one, is [`Nothing`](Self::Nothing). Tags need no percent-encoding, and
    /// none is decoded.
    #[must_use]
    pub fn from_query(query: Option<&str>) -> Self {
        let parameters = query.unwrap_or_default().split('&');
        let mut parameters =
            parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
        match parameters.find(|(name, _)| *name == "have") {
            None => Self::Absent,
            Some((_, value)) => value.parse().map_or(Self::Nothing, Self::State),
        }
    }
}

/// Returns a random number, by which the tags of one publisher differ from those of all others, in this
/// process and in any other.
pub(crate) fn random_epoch() -> NonZeroU64 {
    // Hash maps have keys from the system's random source.
    NonZeroU64::new(RandomState::new().hash_one(())).unwrap_or(NonZeroU64::MIN)
}
