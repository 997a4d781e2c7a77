//! A session from its first byte to its closure record.
//!
//! It does what `ws_core` decides: reads, writes, asks the handler, and waits. It decides neither when
//! to ping nor how to close, and knows nothing of the request that it came from.
//!
//! Read `driver` first, which is one wake-up from its beginning to its end. Below it `websocket` is the
//! stream with a codec, `codec` is tungstenite without a stream, `write_buffer` what was said and is not
//! yet taken, and `poll_buffers` what a thread's sessions share. Above it `task` is a session that an
//! endpoint has opened, with its observer.

mod codec;
mod driver;
mod poll_buffers;
mod task;
mod websocket;
mod write_buffer;

pub use self::driver::{Session, run};
pub(crate) use self::task::{Pending, SessionTask};
pub use self::websocket::{SizeLimits, WebSocket};
