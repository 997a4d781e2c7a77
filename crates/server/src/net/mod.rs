//! What connections come by: listening sockets, streams of every kind, and whose a connection is.
//!
//! It knows no HTTP beyond the headers that name a client, and no setting: `config` makes its options.
//! Read `listener` and `stream` first.

pub(crate) mod accept_errors;
pub(crate) mod address;
pub(crate) mod client_addr;
pub(crate) mod forward;
pub(crate) mod http2_stream;
pub(crate) mod inherited;
pub(crate) mod lingering_close;
pub(crate) mod listener;
pub(crate) mod stream;
mod tcp_write;
mod unix_socket;
