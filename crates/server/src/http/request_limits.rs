//! Limits of requests, for HTTP/1.1 and HTTP/2.

/// Refusals after which a connection is closed. Each of them is a line in the log.
pub(crate) const MAX_REFUSALS: usize = 20;

/// The longest request target, in bytes: the `http` crate stores its length in 16 bits.
pub(crate) const MAX_TARGET_BYTES: usize = 65_534;
