//! Compression of messages (permessage-deflate, RFC 7692).
//!
//! It knows payloads and no frames: the bytes between are the codec's, and what a client offered is the
//! handshake's. A compressor and an inflater belong to the thread, so a session has neither.
//!
//! A client's inflater keeps the last 32 KiB that it has inflated. All sessions that sent the same message
//! last have clients with the same window. So the next message, compressed with that one as the
//! dictionary, is one frame for all of them, and as short as the difference.

mod deflate;
mod inflate;
#[cfg(test)]
pub(crate) mod tests;
mod window;

pub(crate) use self::deflate::{MAX_INPUT_BYTES, compress};
pub(crate) use self::inflate::{InflateError, inflate};
pub(crate) use self::window::WindowId;

/// The window of both sides, which is the largest (RFC 7692, section 7.1.2.1).
//= rfc7692#7.2.1-2 rfc7692#7.3-1
const WINDOW_BITS: u8 = 15;

/// The length of the window. A message that is longer cannot help the one after it: a byte of the next
/// one is as far from its counterpart as the message is long.
pub(crate) const WINDOW_BYTES: usize = 1 << WINDOW_BITS;

/// How the messages of a session are compressed.
///
/// ```
/// use transport::Compression;
///
/// assert_eq!(Compression::Shared.as_str(), "shared");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Each message by itself: the client keeps nothing of those before it
    /// (`server_no_context_takeover`, RFC 7692, section 7.1.1.1).
    Fresh,
    /// A prepared message may be compressed with the one before it as the dictionary, for all sessions
    /// that sent that one. The client's inflater keeps what it has inflated.
    Shared,
}

impl Compression {
    /// Returns its word, the same in settings and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Shared => "shared",
        }
    }
}
