//! A session from its first byte to its close record.
//!
//! It performs what `ws_core` decides: it reads, writes, polls the handler and sets the timer. It
//! decides neither when to ping nor how to close, and knows nothing of the request that opened it.
//!
//! Read `driver` first: it has one poll of a session, from beginning to end. Below it, `websocket` is
//! the stream with a codec, and `codec` reads messages and control frames: `frame_header` says what a
//! frame is and whether it may be, `control_frame` has the payload of those. `write_buffer` is the output
//! that the stream has not accepted yet, and `poll_buffers` has what the sessions of a thread share.
//! Above it, `task` is a session that an endpoint has opened, with its observer, and `thawing` one that
//! another process has opened.

mod codec;
mod control_frame;
mod driver;
mod frame_header;
mod poll_buffers;
mod short_buffer;
mod task;
mod thawing;
mod websocket;
mod write_buffer;

pub use self::driver::{Session, run};
pub(crate) use self::task::{PendingSession, SessionTask};
pub use self::thawing::ThawingSession;
pub use self::websocket::{SizeLimits, WebSocket};
