//! HTTP on accepted connections, up to the response.
//!
//! `routes` decides how a request is answered, and `transport` runs the sessions.
//! Read `connection` first: it accepts connections, finds out the client's address and the protocol, and
//! serves them with `http1` or `http2`, which share `service`.

pub(crate) mod connection;
mod http1;
mod http2;
mod request_limits;
pub(crate) mod service;
