//! HTTP on connections that were accepted, up to the answer: what becomes of a request at a path is
//! `routes`' business, and what a session does is `transport`'s.
//!
//! Read `connection` first: it accepts, finds out whose a connection is and what it speaks, and hands it
//! to `http1` or `http2`, which have `service` in common.

pub(crate) mod connection;
mod http1;
mod http2;
mod request_limits;
pub(crate) mod service;
