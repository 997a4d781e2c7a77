//! x
mod drain;
mod endpoint;
mod handler;
mod observer;
mod origin;
mod rejection;
mod scratch;
mod session;
mod socket;
mod upgrade;

pub use drain::{Drain, Phase, Watch};
pub use endpoint::{Client, Endpoint, Policy};
pub use handler::{Handler, Message, Next, Silent, Utf8Bytes};
pub use observer::{Event, Observer, RequestText};
pub use origin::{NotAnOrigin, Origin, OriginPattern, Origins, Permission};
pub use rejection::Rejection;
pub use session::{Session, run};
pub use socket::Socket;
pub use upgrade::Upgrade;
pub use ws_core;
