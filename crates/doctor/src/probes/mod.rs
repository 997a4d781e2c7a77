//! One file for each question: each probe turns what it observes into findings.

mod address;
mod buffering;
mod close;
mod http2;
mod keep_alive;
mod origin;
mod ping;
mod reach;
mod refusal;
mod tls;
mod upgrade;

pub(crate) use address::address;
pub(crate) use buffering::buffering;
pub(crate) use close::close;
pub(crate) use http2::http2;
pub(crate) use keep_alive::keep_alive;
pub(crate) use origin::origin;
pub(crate) use ping::ping;
pub(crate) use reach::reach;
pub(crate) use tls::{TlsOutcome, tls};
pub(crate) use upgrade::{Upgraded, upgrade};
