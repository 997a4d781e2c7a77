//! The protocol of a request: the version of HTTP, with or without TLS.

use hyper::Version;

/// The protocol of a request.
///
/// ```
/// use transport::Protocol;
///
/// assert_eq!(Protocol::Http2Tls.as_str(), "http/2+tls");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1, or a lower version.
    Http1,
    /// HTTP/1.1, or a lower version, over TLS.
    Http1Tls,
    /// HTTP/2.
    Http2,
    /// HTTP/2 over TLS.
    Http2Tls,
}

impl Protocol {
    pub(crate) fn of(version: Version, is_encrypted: bool) -> Self {
        match (version == Version::HTTP_2, is_encrypted) {
            (false, false) => Self::Http1,
            (false, true) => Self::Http1Tls,
            (true, false) => Self::Http2,
            (true, true) => Self::Http2Tls,
        }
    }

    pub(crate) fn is_encrypted(self) -> bool {
        match self {
            Self::Http1 | Self::Http2 => false,
            Self::Http1Tls | Self::Http2Tls => true,
        }
    }

    /// Returns its word, the same in logs and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http1Tls => "http/1.1+tls",
            Self::Http2 => "http/2",
            Self::Http2Tls => "http/2+tls",
        }
    }
}
