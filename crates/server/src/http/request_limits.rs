//! Limits of requests that hold for HTTP/1.1 and HTTP/2.

/// Requests of a connection that may be refused. Each leaves a line in the log.
pub(crate) const MAX_REFUSALS: usize = 20;

/// The longest target that there can be: the `http` crate counts its bytes in 16 bits.
pub(crate) const MAX_TARGET_BYTES: usize = 65_534;
