//! Compression of messages (permessage-deflate, RFC 7692).
//!
//! It knows payloads and no frames: the bytes between are the codec's, and what a client offered is the
//! handshake's. A compressor and an inflater belong to the thread, so a session has neither.

/// How the messages of a session are compressed.
///
/// ```
/// use transport::Compression;
///
/// assert_ne!(Compression::Fresh, Compression::Shared);
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
