//! Listening sockets, streams of every kind, and the client address of a connection.
//!
//! It reads no settings: `config` builds its options. Of HTTP it knows the headers with a client's address,
//! and the streams of an HTTP/2 connection. Read `listeners` and `stream` first.

pub(crate) mod accept_errors;
pub(crate) mod address;
pub(crate) mod client_addr;
pub(crate) mod forward;
pub(crate) mod handed_over;
pub(crate) mod http2_stream;
pub(crate) mod inherited;
pub(crate) mod lingering_close;
pub(crate) mod listener;
pub(crate) mod listeners;
pub(crate) mod stream;
mod tcp_write;
mod unix_socket;
