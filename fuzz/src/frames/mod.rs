//! Sends sequences of frames to a session, most of them nearly valid and cut anywhere, and compares what it
//! delivers, answers and sends at its end with a reference implementation of RFC 6455 and RFC 7692.

mod client;
mod inflate;
mod model;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime;
use tokio::task::yield_now;
use tokio::time::timeout;
use transport::{Compression, Drain, Handler, Message, Next, SizeLimits, WebSocket};
use ws_core::{Cause, CloseRecord, CloseStatus, Initiator, Limits, SessionConfig, Timing};

use self::client::{Pieces, frames};
use self::inflate::{Inflated, inflate};
use self::model::{End, Expected, Received, Rules, expect};
use crate::server_frames::{ServerFrame, parse};

/// More than all echoes together, so that the session's output is never blocked.
const PIPE_BYTES: usize = 1 << 24;

/// The longest time that the session may last after the end of its input.
const BOUND: Duration = Duration::from_secs(1);

/// Runs a session with the input, and checks it.
///
/// # Panics
///
/// If the session differs from the reference implementation.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(setup) = Setup::arbitrary(&mut input) else { return };
    let wire = frames(&mut input);
    let expected = expect(&wire, setup.rules);
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let outcome = runtime.expect("a runtime").block_on(converse(&setup, &wire));
    check(&setup, &expected, &outcome);
}

struct Setup {
    rules: Rules,
    compression: Option<Compression>,
    /// How messages are echoed.
    echo: Option<fn(Message) -> Next>,
    pieces: Pieces,
}

impl Setup {
    fn arbitrary(input: &mut Unstructured<'_>) -> Result<Self> {
        let flags = input.arbitrary::<u8>()?;
        let compression = match flags & 3 {
            0 => None,
            1 => Some(Compression::Fresh),
            _ => Some(Compression::Shared),
        };
        let echo: Option<fn(Message) -> Next> = match flags >> 2 & 3 {
            0 => None,
            1 => Some(Next::Send),
            _ => Some(Next::SendCompressed),
        };
        // Up to 65,025 bytes, which a frame with a length of 16 bits can have.
        let max_message_bytes = usize::from(input.arbitrary::<u8>()?).pow(2);
        let rules = Rules { max_message_bytes, may_compress: compression.is_some() };
        Ok(Self { rules, compression, echo, pieces: Pieces::arbitrary(input)? })
    }
}

/// Records messages, and optionally echoes them.
struct Recorder {
    echo: Option<fn(Message) -> Next>,
    queue: VecDeque<Message>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Handler for Recorder {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        match (self.echo, self.queue.pop_front()) {
            (Some(echo), Some(message)) => Poll::Ready(echo(message)),
            (_, _) => Poll::Pending,
        }
    }

    fn receive(&mut self, message: Message) {
        let received = match &message {
            Message::Binary(payload) => (false, payload.to_vec()),
            Message::Text(text) => (true, text.as_str().as_bytes().to_vec()),
        };
        self.received.lock().expect("no panic while it is locked").push(received);
        self.queue.push_back(message);
    }
}

struct Outcome {
    record: CloseRecord,
    received: Vec<Received>,
    output: Vec<u8>,
}

/// Sends all of the wire, and then the end of the stream.
async fn converse(setup: &Setup, wire: &[u8]) -> Outcome {
    let (near, mut far) = duplex(PIPE_BYTES);
    let (drain, timer_service) = Drain::new();
    tokio::spawn(timer_service);
    let max_message_bytes = setup.rules.max_message_bytes;
    let sizes = SizeLimits { max_message_bytes, max_queued_bytes: PIPE_BYTES };
    let socket = WebSocket::new(near, sizes).with_compression(setup.compression);
    let hour = Duration::from_secs(3600);
    let timing = Timing {
        ping_interval: hour,
        pong_timeout: hour,
        close_timeout: hour,
        max_age: None,
        reconnect_spread: Duration::ZERO,
    };
    let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
    let received = Arc::new(Mutex::new(Vec::new()));
    let handler =
        Recorder { echo: setup.echo, queue: VecDeque::new(), received: Arc::clone(&received) };
    let session = tokio::spawn(transport::run(socket, config, handler, drain.token()));

    for piece in setup.pieces.of(wire) {
        // A session that has ended does not read the rest.
        if far.write_all(piece).await.is_err() {
            break;
        }
        yield_now().await;
    }
    far.shutdown().await.expect("a pipe in memory can be shut down");
    let mut output = Vec::new();
    let end = async {
        far.read_to_end(&mut output).await.expect("a pipe in memory can be read");
        session.await.expect("a session never panics")
    };
    let record = timeout(BOUND, end).await.expect("a session ends with its stream");
    let received = received.lock().expect("no panic while it is locked").clone();
    Outcome { record, received, output }
}

fn check(setup: &Setup, expected: &Expected, outcome: &Outcome) {
    let Outcome { record, received, output } = outcome;
    let (frames, rest) = parse(output);
    let context = || format!("{expected:02x?}\n{record:?}\n{frames:02x?}");
    assert!(rest.is_empty(), "the last frame is whole: {}", context());
    assert_eq!(*received, expected.messages, "what is delivered: {}", context());
    assert_eq!(record.received.messages, received.len() as u64, "{}", context());

    let pongs = frames.iter().filter(|frame| frame.opcode == 10).map(|frame| frame.payload);
    assert!(pongs.eq(expected.pongs.iter()), "each ping is answered: {}", context());
    let echoes = echoes(setup, &frames);
    let expected_echoes = if setup.echo.is_some() { &expected.messages[..] } else { &[] };
    assert_eq!(echoes, expected_echoes, "each message is echoed: {}", context());

    let closes: Vec<usize> = (0..frames.len()).filter(|place| frames[*place].opcode == 8).collect();
    if let Some(place) = closes.first() {
        assert_eq!(place + 1, frames.len(), "no frame follows a Close frame: {}", context());
    }
    let sent = closes.first().map(|place| {
        let payload = frames[*place].payload;
        payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    });
    match &expected.end {
        End::Open => {
            assert_eq!(sent, None, "nothing closes the session: {}", context());
            assert_eq!(record.cause, Cause::Disconnected, "{}", context());
        }
        End::Closed(code) => {
            assert_eq!(sent, Some(*code), "a close is echoed: {}", context());
            let is_clean = record.clean && record.initiator == Initiator::Peer;
            assert!(is_clean, "the closing handshake is complete: {}", context());
            let recorded = code.unwrap_or(CloseStatus::NoStatus.into());
            assert_eq!(u16::from(record.code), recorded, "{}", context());
        }
        End::Violation(codes) => {
            let sent = sent.flatten().filter(|code| codes.contains(code));
            assert!(sent.is_some(), "a violation has its code: {}", context());
            assert_eq!(Some(record.code.into()), sent, "{}", context());
        }
    }
}

/// Returns the data messages of the server.
fn echoes(setup: &Setup, frames: &[ServerFrame<'_>]) -> Vec<Received> {
    let mut history = Vec::new();
    let mut echoes = Vec::new();
    for frame in frames.iter().filter(|frame| frame.opcode < 8) {
        let payload = if frame.is_compressed {
            assert!(setup.compression.is_some(), "compression was negotiated");
            let window = match setup.compression {
                Some(Compression::Shared) => &history[..],
                _ => &[],
            };
            let Inflated::Message(payload) = inflate(window, frame.payload, usize::MAX) else {
                panic!("a client cannot inflate {:02x?}", frame.payload);
            };
            history.extend_from_slice(&payload);
            payload
        } else {
            frame.payload.to_vec()
        };
        echoes.push((frame.opcode == 1, payload));
    }
    echoes
}
