//! A whole session over a pipe: any bytes in any pieces at any time, read by a peer that reads as it
//! likes, with a drain or an abort in the middle.
#![no_main]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::runtime;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use transport::{Drain, DrainOptions, Handler, Message, Next, SizeLimits, WebSocket, run};
use ws_core::{
    Cause, CloseCode, CloseRecord, CloseStatus, Initiator, Limits, Rate, SessionConfig, Timing,
};

const MOST_STEPS: usize = 100;

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    let Ok(setup) = Setup::arbitrary(&mut input) else { return };
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let (record, output, is_read) = runtime.expect("a runtime").block_on(live(&setup, &mut input));
    check(&setup, &record, &output, is_read);
});

struct Setup {
    config: SessionConfig,
    sizes: SizeLimits,
    pipe_bytes: usize,
    talker: Talker,
    farewell: DrainOptions,
    /// Whether the peer reads everything once it has nothing more to say.
    reads_on: bool,
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
        let talker = Talker {
            echoes: flags & 1 != 0,
            goodbye_after: if flags & 2 == 0 { None } else { Some(flags >> 4) },
            queue: VecDeque::new(),
        };
        let config = SessionConfig { timing, limits };
        let farewell = DrainOptions { code: CloseCode::GOING_AWAY, spread };
        Ok(Self { config, sizes, pipe_bytes, talker, farewell, reads_on: flags & 4 != 0 })
    }

    /// How long a session may last once the peer is silent.
    fn bound(&self) -> Duration {
        let Timing { ping_interval, pong_timeout, close_timeout, .. } = self.config.timing;
        let Limits { message_timeout, write_timeout, .. } = self.config.limits;
        let waits = message_timeout.unwrap_or_default() + write_timeout.unwrap_or_default();
        let slack = Duration::from_millis(100);
        ping_interval + 2 * pong_timeout + 2 * close_timeout + waits + slack
    }
}

/// Sends back what it gets or does not, and closes after so many messages or does not.
#[derive(Clone)]
struct Talker {
    echoes: bool,
    goodbye_after: Option<u8>,
    queue: VecDeque<Message>,
}

impl Handler for Talker {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        match self.queue.pop_front() {
            Some(message) => Poll::Ready(Next::Send(message)),
            None if self.goodbye_after == Some(0) => {
                Poll::Ready(Next::Close(CloseCode::SERVICE_RESTART, "goodbye".into()))
            }
            None => Poll::Pending,
        }
    }

    fn receive(&mut self, message: Message) {
        self.goodbye_after = self.goodbye_after.map(|count| count.saturating_sub(1));
        if self.echoes {
            self.queue.push_back(message);
        }
    }
}

/// Plays the story; gives the record, what was read of what the session wrote, and whether that is
/// all of it.
async fn live(setup: &Setup, input: &mut Unstructured<'_>) -> (CloseRecord, Vec<u8>, bool) {
    let (near, far) = duplex(setup.pipe_bytes);
    let (drain, keeper) = Drain::new();
    tokio::spawn(keeper);
    let socket = WebSocket::new(near, setup.sizes);
    let config = Arc::new(setup.config);
    let session = tokio::spawn(run(socket, config, setup.talker.clone(), drain.token()));
    let mut peer = Peer { pipe: Some(far), unsent: VecDeque::new(), output: Vec::new() };
    for _ in 0..MOST_STEPS {
        // Behind its end, the input would be zeros for ever.
        if input.is_empty() || peer.step(input, &drain, setup.farewell).await.is_err() {
            break;
        }
    }

    let Peer { mut pipe, mut output, .. } = peer;
    let end = async {
        if let Some(pipe) = pipe.as_mut().filter(|_| setup.reads_on) {
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
    /// `None` once it is gone.
    pipe: Option<DuplexStream>,
    /// What the pipe had no room for.
    unsent: VecDeque<u8>,
    output: Vec<u8>,
}

impl Peer {
    async fn step(
        &mut self,
        input: &mut Unstructured<'_>,
        drain: &Drain,
        farewell: DrainOptions,
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
            13 => drain.start(farewell),
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

    /// Sends as much as the pipe takes, and keeps the rest for the next time.
    async fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend(bytes);
        let mut refused = 0;
        while let Some(pipe) = self.pipe.as_mut().filter(|_| refused < 2 && !self.unsent.is_empty())
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
            refused = if count == 0 { refused + 1 } else { 0 };
            yield_now().await;
        }
    }

    /// Reads what there is, up to so many bytes.
    async fn read(&mut self, most: usize) {
        let mut buffer = [0; 256];
        let (mut left, mut refused) = (most, 0);
        while let Some(pipe) = self.pipe.as_mut().filter(|_| refused < 2 && left > 0) {
            let length = left.min(buffer.len());
            let mut read = ReadBuf::new(&mut buffer[..length]);
            poll_fn(|cx| Poll::Ready(Pin::new(&mut *pipe).poll_read(cx, &mut read)))
                .await
                .is_pending();
            let bytes = read.filled();
            self.output.extend(bytes);
            left -= bytes.len();
            refused = if bytes.is_empty() { refused + 1 } else { 0 };
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

/// A client's frame. The payload is not longer than a byte can say.
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

/// A frame of the server: its opcode and its payload.
type ServerFrame<'a> = (u8, &'a [u8]);

/// The whole frames in what the session wrote, and what is behind them.
fn parse(output: &[u8]) -> (Vec<ServerFrame<'_>>, &[u8]) {
    let mut frames = Vec::new();
    let mut rest = output;
    while let Some((frame, behind)) = parse_one(rest) {
        frames.push(frame);
        rest = behind;
    }
    (frames, rest)
}

fn parse_one(bytes: &[u8]) -> Option<(ServerFrame<'_>, &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let opcode = first & 0x0f;
    assert_eq!(first & 0xf0, 0x80, "a server's frame is whole and has no reserved bits");
    assert!(matches!(opcode, 1 | 2 | 8 | 9 | 10), "{opcode} is no opcode that a server sends");
    assert_eq!(second & 0x80, 0, "a server masks nothing");
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            let length = u16::from_be_bytes(*length);
            assert!(length > 125, "a length is written in the shortest way");
            (usize::from(length), rest)
        }
        127 => panic!("nothing here is that long"),
        short => (usize::from(short), rest),
    };
    assert!(opcode < 8 || length <= 125, "a control frame is short");
    let (payload, rest) = rest.split_at_checked(length)?;
    if opcode == 1 {
        assert!(str::from_utf8(payload).is_ok(), "a text is UTF-8");
    }
    Some(((opcode, payload), rest))
}

fn last_ping(output: &[u8]) -> Option<Vec<u8>> {
    let (frames, _) = parse(output);
    let ping = frames.iter().rev().find(|(opcode, _)| *opcode == 9);
    ping.map(|(_, payload)| payload.to_vec())
}

fn check(setup: &Setup, record: &CloseRecord, output: &[u8], is_read: bool) {
    let (frames, rest) = parse(output);
    let story = || format!("{record:?}\n{frames:02x?}");

    match frames.iter().position(|(opcode, _)| *opcode == 8) {
        Some(place) => {
            assert_eq!(place + 1, frames.len(), "nothing comes after a close: {}", story());
            assert!(rest.is_empty(), "nothing comes after a close: {}", story());
            check_close(record, frames[place].1, story);
        }
        None => assert!(!record.clean || !is_read, "a clean end has a close: {}", story()),
    }

    let count = frames.len() as u64;
    let bytes = frames.iter().map(|(_, payload)| payload.len() as u64).sum::<u64>();
    // A peer is found silent only while nothing waits for it, unless that is not heeded.
    let is_idle = record.cause == Cause::PongTimeout && setup.config.limits.write_timeout.is_some();
    if is_read && (record.clean || is_idle) {
        assert!(rest.is_empty(), "everything is flushed: {}", story());
        assert_eq!((record.sent.messages, record.sent.bytes), (count, bytes), "{}", story());
    } else {
        assert!(record.sent.messages >= count, "{}", story());
    }
}

fn check_close(record: &CloseRecord, payload: &[u8], story: impl Fn() -> String) {
    let code = payload.split_first_chunk().map(|(code, reason)| {
        assert!(str::from_utf8(reason).is_ok(), "a reason is UTF-8: {}", story());
        u16::from_be_bytes(*code)
    });
    assert!(code.is_some() || payload.is_empty(), "half a code: {}", story());
    if let Some(code) = code {
        assert!(CloseCode::try_from(code).is_ok(), "{code} must not be sent: {}", story());
    }
    match (record.initiator, record.code) {
        (Initiator::None, _) | (_, CloseStatus::Abnormal) => {
            panic!("a close that is not in the record: {}", story())
        }
        (Initiator::Peer, CloseStatus::NoStatus) => assert_eq!(code, None, "{}", story()),
        (_, recorded) => assert_eq!(code, Some(recorded.into()), "{}", story()),
    }
}
