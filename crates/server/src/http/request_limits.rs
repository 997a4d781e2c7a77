//! Limits of requests, for HTTP/1.1 and HTTP/2.

/// Responses after which an HTTP/1.1 connection is closed, and refusals after which an HTTP/2 connection is:
/// the burst of log lines for one address.
pub(crate) const MAX_REFUSALS: usize = 20;

/// The longest request target, in bytes: the `http` crate stores its length in 16 bits.
pub(crate) const MAX_TARGET_BYTES: usize = 65_534;
