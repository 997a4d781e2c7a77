//! The client side of a connection: names, TCP, TLS, HTTP/1.1, frames.
//!
//! Everything that is read is bounded and has a deadline, and nothing that a peer sends panics. It says what
//! happened, and judges nothing: `probes/` do.

mod http;
mod network;
mod open;
mod session;
mod target;
mod tls;

pub(crate) use http::{Head, NoHead, read_body, read_head, send};
pub(crate) use network::{MAX_ADDRESSES, connect, resolve};
pub(crate) use open::{Attempt, Connection, Dialer, Opened, Refused, Request, Shown};
pub(crate) use session::{
    CLOSE, Duplex, MAX_CONTROL_BYTES, PING, RESERVED, Received, Session, Stop,
};
pub use target::{InvalidTarget, Target};
pub(crate) use tls::{Handshake, Trust};
