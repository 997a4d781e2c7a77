//! The identity of a session: who it belongs to.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Who a session belongs to, such as the name or the number of a user: 1 to 256 bytes of UTF-8. Several
/// sessions may have the same one.
///
/// It appears in the log, so it should be no secret, such as a token. Clones share the text.
///
/// ```
/// use transport::Identity;
///
/// let identity = Identity::try_from("user-7")?;
/// assert_eq!(identity.as_str(), "user-7");
/// assert!(Identity::try_from("").is_err());
/// assert!(Identity::try_from("x".repeat(257).as_str()).is_err());
/// # Ok::<(), transport::InvalidIdentity>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(Arc<str>);

impl Identity {
    /// The maximum length in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Identity {
    type Error = InvalidIdentity;

    fn try_from(text: &str) -> Result<Self, InvalidIdentity> {
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return Err(InvalidIdentity);
        }
        Ok(Self(text.into()))
    }
}

/// The order of identities is that of their texts.
impl Borrow<str> for Identity {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The error for a text that is no [`Identity`]: it is empty or longer than 256 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidIdentity;

impl fmt::Display for InvalidIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identity must have 1 to 256 bytes")
    }
}

impl std::error::Error for InvalidIdentity {}
