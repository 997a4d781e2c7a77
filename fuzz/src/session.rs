//! Runs a session over an in-memory pipe: any bytes in any parts at any time, a peer that reads at any
//! time, and a drain or an abort in between.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::runtime;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use transport::{Compression, Drain, DrainOptions, Handler, Message, Next, SizeLimits, WebSocket};
use ws_core::{
    Cause, CloseCode, CloseRecord, CloseStatus, Initiator, Limits, Rate, SessionConfig, Timing,
};

use crate::server_frames::parse;

const MAX_STEPS: usize = 100;

/// Checks one input.
///
/// # Panics
///
/// If a property does not hold for it.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(setup) = Setup::arbitrary(&mut input) else { return };
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let (record, output, is_complete) =
        runtime.expect("a runtime").block_on(run_session(&setup, &mut input));
    check(&setup, &record, &output, is_complete);
}

struct Setup {
    config: SessionConfig,
    sizes: SizeLimits,
    /// What the peer sends may be compressed. The handler compresses nothing.
    compression: Option<Compression>,
    pipe_bytes: usize,
    handler: TestHandler,
    drain_options: DrainOptions,
    /// Whether the peer reads to the end after its last step.
    reads_to_end: bool,
}

impl Setup {
    fn arbitrary(input: &mut Unstructured<'_>) -> Result<Self> {
        let flags = input.arbitrary::<u8>()?;
        let mut size = || Ok(1 + usize::from(input.arbitrary::<u8>()?).pow(2) / 16);
        let pipe_bytes = size()?;
        let sizes = SizeLimits { max_message_bytes: size()?, max_queued_bytes: size()? };
        let mut time = || Ok(Duration::from_millis(u64::from(input.arbitrary::<u8>()?) * 16));
        let timing = Timing {
            ping_interval: time()?,
            pong_timeout: time()?,
            close_timeout: time()?,
            max_age: None,
            reconnect_spread: Duration::ZERO,
        };
        let (message_timeout, write_timeout, spread) = (time()?, time()?, time()?);
        let max_age = Some(time()?).filter(|age| !age.is_zero());
        let timing = Timing { max_age, ..timing };
        let mut rate =
            || Ok(Rate::new(input.arbitrary::<u8>()?.into(), input.arbitrary::<u8>()?.into()));
        let limits = Limits {
            messages: rate()?,
            control_frames: rate()?,
            message_timeout: Some(message_timeout).filter(|timeout| !timeout.is_zero()),
            write_timeout: Some(write_timeout).filter(|timeout| !timeout.is_zero()),
        };
        let handler = TestHandler {
            echoes: flags & 1 != 0,
            close_after: if flags & 2 == 0 { None } else { Some(flags >> 4) },
            queue: VecDeque::new(),
        };
        let config = SessionConfig { timing, limits };
        let drain_options = DrainOptions { spread, ..DrainOptions::default() };
        let compression = (flags & 8 != 0).then_some(Compression::Shared);
        let reads_to_end = flags & 4 != 0;
        Ok(Self { config, sizes, compression, pipe_bytes, handler, drain_options, reads_to_end })
    }

    /// The longest time that a session may last after the peer's last step.
    fn bound(&self) -> Duration {
        let Timing { ping_interval, pong_timeout, close_timeout, .. } = self.config.timing;
        let Limits { message_timeout, write_timeout, .. } = self.config.limits;
        let waits = message_timeout.unwrap_or_default() + write_timeout.unwrap_or_default();
        let slack = Duration::from_millis(100);
        ping_interval + 2 * pong_timeout + 2 * close_timeout + waits + slack
    }
}

/// Optionally echoes messages, and optionally closes after a number of messages.
#[derive(Clone)]
struct TestHandler {
    echoes: bool,
    close_after: Option<u8>,
    queue: VecDeque<Message>,
}

impl Handler for TestHandler {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        match self.queue.pop_front() {
            Some(message) => Poll::Ready(Next::Send(message)),
            None if self.close_after == Some(0) => {
                Poll::Ready(Next::Close(CloseCode::SERVICE_RESTART, "done".into()))
            }
            None => Poll::Pending,
        }
    }

    fn receive(&mut self, message: Message) {
        self.close_after = self.close_after.map(|count| count.saturating_sub(1));
        if self.echoes {
            self.queue.push_back(message);
        }
    }
}

/// Runs the session. Returns the close record, the output that the peer read, and whether that is all of
/// the output.
async fn run_session(setup: &Setup, input: &mut Unstructured<'_>) -> (CloseRecord, Vec<u8>, bool) {
    let (near, far) = duplex(setup.pipe_bytes);
    let (drain, timer_service) = Drain::new();
    tokio::spawn(timer_service);
    let socket = WebSocket::new(near, setup.sizes).with_compression(setup.compression);
    let config = Arc::new(setup.config);
    let session =
        tokio::spawn(transport::run(socket, config, setup.handler.clone(), drain.token()));
    let mut peer = Peer { pipe: Some(far), unsent: VecDeque::new(), output: Vec::new() };
    for _ in 0..MAX_STEPS {
        // After its end, the input would yield zeros without limit.
        if input.is_empty() || peer.step(input, &drain, setup.drain_options).await.is_err() {
            break;
        }
    }

    let Peer { mut pipe, mut output, .. } = peer;
    let end = async {
        if let Some(pipe) = pipe.as_mut().filter(|_| setup.reads_to_end) {
            pipe.read_to_end(&mut output).await.expect("a pipe in memory can be read");
        }
        session.await.expect("a session never panics")
    };
    let record = timeout(setup.bound(), end).await.expect("a session ends");
    if let Some(pipe) = &mut pipe {
        pipe.read_to_end(&mut output).await.expect("a pipe in memory can be read");
    }
    drop(drain);
    (record, output, pipe.is_some())
}

struct Peer {
    /// `None` after the peer dropped it.
    pipe: Option<DuplexStream>,
    /// Bytes that the pipe has not accepted yet.
    unsent: VecDeque<u8>,
    output: Vec<u8>,
}

impl Peer {
    async fn step(
        &mut self,
        input: &mut Unstructured<'_>,
        drain: &Drain,
        drain_options: DrainOptions,
    ) -> Result<()> {
        match input.arbitrary::<u8>()? % 16 {
            0..=2 => {
                let bytes = some_bytes(input)?;
                self.send(bytes).await;
            }
            3..=6 => {
                let first = input.arbitrary::<u8>()?;
                let payload = some_bytes(input)?;
                self.send(&frame(first, payload)).await;
            }
            7 => {
                let code = input.arbitrary::<u16>()?;
                let payload = [&code.to_be_bytes(), some_bytes(input)?].concat();
                self.send(&frame(0x88, &payload)).await;
            }
            8 => sleep(Duration::from_millis(input.arbitrary::<u8>()?.into())).await,
            9 => sleep(Duration::from_millis(u64::from(input.arbitrary::<u8>()?) * 32)).await,
            10 => {
                let count = input.arbitrary::<u8>()?;
                self.read(count.into()).await;
            }
            11 => self.read(usize::MAX).await,
            12 => {
                self.read(usize::MAX).await;
                if let Some(payload) = last_ping(&self.output) {
                    self.send(&frame(0x8a, &payload)).await;
                }
            }
            13 => drain.start(drain_options),
            14 => match input.arbitrary::<u8>()? % 4 {
                0 => drain.abort(),
                1 => self.pipe = None,
                2 => self.shut_down().await,
                _ => {}
            },
            _ => self.send(b"").await,
        }
        yield_now().await;
        Ok(())
    }

    /// Sends as much as the pipe accepts, and keeps the rest for the next call.
    async fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend(bytes);
        let mut stalled_polls = 0;
        while let Some(pipe) =
            self.pipe.as_mut().filter(|_| stalled_polls < 2 && !self.unsent.is_empty())
        {
            let rest = self.unsent.make_contiguous();
            let count = poll_fn(|cx| {
                Poll::Ready(match Pin::new(&mut *pipe).poll_write(cx, rest) {
                    Poll::Ready(Ok(count)) => count,
                    Poll::Ready(Err(_)) | Poll::Pending => 0,
                })
            });
            let count = count.await;
            self.unsent.drain(..count);
            stalled_polls = if count == 0 { stalled_polls + 1 } else { 0 };
            yield_now().await;
        }
    }

    /// Reads the available bytes, up to `most`.
    async fn read(&mut self, most: usize) {
        let mut buffer = [0; 256];
        let (mut remaining, mut stalled_polls) = (most, 0);
        while let Some(pipe) = self.pipe.as_mut().filter(|_| stalled_polls < 2 && remaining > 0) {
            let length = remaining.min(buffer.len());
            let mut read = ReadBuf::new(&mut buffer[..length]);
            poll_fn(|cx| Poll::Ready(Pin::new(&mut *pipe).poll_read(cx, &mut read)))
                .await
                .is_pending();
            let bytes = read.filled();
            self.output.extend(bytes);
            remaining -= bytes.len();
            stalled_polls = if bytes.is_empty() { stalled_polls + 1 } else { 0 };
            yield_now().await;
        }
    }

    async fn shut_down(&mut self) {
        if let Some(pipe) = &mut self.pipe {
            pipe.shutdown().await.expect("a pipe in memory can be shut down");
        }
    }
}

fn some_bytes<'a>(input: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let length = usize::from(input.arbitrary::<u8>()?).min(input.len());
    input.bytes(length)
}

/// Encodes a client's frame, with a payload of at most 65,535 bytes.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = match u8::try_from(payload.len()) {
        Ok(short @ 0..126) => vec![first, 0x80 | short],
        _ => [&[first, 0x80 | 126], &(payload.len() as u16).to_be_bytes()[..]].concat(),
    };
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn last_ping(output: &[u8]) -> Option<Vec<u8>> {
    let (frames, _) = parse(output);
    let ping = frames.iter().rev().find(|frame| frame.opcode == 9);
    ping.map(|frame| frame.payload.to_vec())
}

fn check(setup: &Setup, record: &CloseRecord, output: &[u8], is_complete: bool) {
    let (frames, rest) = parse(output);
    let context = || format!("{record:?}\n{frames:02x?}");
    assert!(frames.iter().all(|frame| !frame.is_compressed), "{}", context());

    match frames.iter().position(|frame| frame.opcode == 8) {
        Some(place) => {
            assert_eq!(place + 1, frames.len(), "no frame follows a Close frame: {}", context());
            assert!(rest.is_empty(), "no frame follows a Close frame: {}", context());
            check_close(record, frames[place].payload, context);
        }
        None => {
            assert!(!record.clean || !is_complete, "a clean end has a Close frame: {}", context())
        }
    }

    let count = frames.iter().filter(|frame| frame.opcode < 8).count() as u64;
    let bytes = frames.iter().map(|frame| frame.payload.len() as u64).sum::<u64>();
    // With a write timeout, the pong timeout runs only while no output is pending.
    let is_idle = record.cause == Cause::PongTimeout && setup.config.limits.write_timeout.is_some();
    if is_complete && (record.clean || is_idle) {
        assert!(rest.is_empty(), "everything is flushed: {}", context());
        assert_eq!((record.sent.messages, record.sent.bytes), (count, bytes), "{}", context());
    } else {
        assert!(record.sent.messages >= count, "{}", context());
    }
}

fn check_close(record: &CloseRecord, payload: &[u8], context: impl Fn() -> String) {
    let code = payload.split_first_chunk().map(|(code, reason)| {
        assert!(str::from_utf8(reason).is_ok(), "a reason is UTF-8: {}", context());
        u16::from_be_bytes(*code)
    });
    assert!(code.is_some() || payload.is_empty(), "a partial close code: {}", context());
    if let Some(code) = code {
        assert!(CloseCode::try_from(code).is_ok(), "{code} must not be sent: {}", context());
    }
    match (record.initiator, record.code) {
        (Initiator::None, _) | (_, CloseStatus::Abnormal) => {
            panic!("a Close frame that is not in the record: {}", context())
        }
        (Initiator::Peer, CloseStatus::NoStatus) => assert_eq!(code, None, "{}", context()),
        (_, recorded) => assert_eq!(code, Some(recorded.into()), "{}", context()),
    }
}
