//! A session over a stream in memory, for counting instructions: `instructions FRAMES READS`.
//!
//! FRAMES is `ping` (one in each read, as in the mode `ping-1`), `pings` (sixteen, as in `ping-16`) or
//! `messages` (1,170 of 8 bytes, as in `absorb`). `cargo xtask instructions` runs it under callgrind with two numbers of
//! reads, so what the process takes to start and to end is not counted.

use std::env;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Builder;
use transport::ws_core::{Limits, SessionConfig, Timing};
use transport::{Discard, Drain, SizeLimits, WebSocket, run};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Gives the same input a number of times, then ends; accepts all output.
struct Repeated {
    input: Vec<u8>,
    reads: usize,
    written: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [frames, reads] = arguments.as_slice() else {
        return Err("usage: instructions ping|pings|messages READS".into());
    };
    let (first_byte, count) = match frames.as_str() {
        "ping" => (0x89, 1),
        "pings" => (0x89, 16),
        "messages" => (0x82, 1170),
        _ => return Err("the frames are ping, pings or messages".into()),
    };
    let frame = [&[first_byte, 0x88], &MASK[..], &[0x2a; 8]].concat();
    let stream = Repeated { input: frame.repeat(count), reads: reads.parse()?, written: 0 };
    let timing = Timing {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(3),
        max_age: None,
        reconnect_spread: Duration::ZERO,
    };
    let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
    Builder::new_current_thread().enable_time().build()?.block_on(async {
        let (drain, timers) = Drain::new();
        tokio::spawn(timers);
        let sizes = SizeLimits { max_message_bytes: 4096, max_queued_bytes: 65_536 };
        let record = run(WebSocket::new(stream, sizes), config, Discard, drain.token()).await;
        println!("{} messages, {} bytes", record.received.messages, record.received.bytes);
    });
    Ok(())
}

impl AsyncRead for Repeated {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.reads > 0 {
            this.reads -= 1;
            buffer.put_slice(&this.input);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Repeated {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().written += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
