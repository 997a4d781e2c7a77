//! The costs of a session that are the same in each run: calls of its stream, allocations and memory.
//! The benchmark measures times.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use support::latest_message::LatestMessage;
use support::{BINARY, CLOSE, PING, PONG, SIZES, TEXT, close, config, frame, spawned_drain};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::advance;
use transport::ws_core::{Action, Cause, CloseRecord, Event, Lifecycle, Limits, Rate};
use transport::{
    Client, Compression, CompressionOptions, Discard, Drain, Endpoint, Observer, OriginPattern,
    Origins, Peer, Permission, Permit, Policy, Session, WebSocket, run,
};

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The bytes and the calls of a stream in memory.
#[derive(Default)]
struct Wire {
    input: Vec<u8>,
    output: Vec<u8>,
    calls: Calls,
    reader: Option<Waker>,
    /// The address of the bytes of the latest write.
    written_from: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Calls {
    /// Reads that returned bytes. The others are no system calls: after a read that did not fill its
    /// buffer, tokio returns `Pending` without one.
    reads: usize,
    writes: usize,
    shutdowns: usize,
}

#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Wire>>);

impl Stream {
    /// Adds input.
    fn push_input(&self, bytes: &[u8]) {
        let wire = &mut *self.0.lock().unwrap();
        wire.input.extend(bytes);
        if let Some(reader) = wire.reader.take() {
            reader.wake();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.lock().unwrap();
        if wire.input.is_empty() {
            wire.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        wire.calls.reads += 1;
        let count = wire.input.len().min(buffer.remaining());
        buffer.put_slice(&wire.input[..count]);
        wire.input.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.lock().unwrap();
        wire.calls.writes += 1;
        wire.written_from = bytes.as_ptr().addr();
        wire.output.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().calls.shutdowns += 1;
        Poll::Ready(Ok(()))
    }
}

/// A session that the test polls.
struct PolledSession {
    session: Session<Stream, Discard>,
    stream: Stream,
    drain: Drain,
}

impl PolledSession {
    fn new() -> Self {
        let (drain, _) = Drain::new();
        let stream = Stream::default();
        let socket = WebSocket::new(stream.clone(), SIZES);
        let session = run(socket, config(Limits::default()), Discard, drain.token());
        let mut session = Self { session, stream, drain };
        assert!(session.poll().is_pending());
        // The first frame allocates the buffers of the thread.
        session.exchange(&frame(PING, b"warm up"));
        session
    }

    fn poll(&mut self) -> Poll<CloseRecord> {
        Pin::new(&mut self.session).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Polls the session with this input. Returns the length of its output and its calls.
    fn exchange(&mut self, bytes: &[u8]) -> (usize, Calls) {
        self.stream.push_input(bytes);
        assert!(self.poll().is_pending());
        let wire = &mut *self.stream.0.lock().unwrap();
        let length = wire.output.len();
        wire.output.clear();
        (length, mem::take(&mut wire.calls))
    }
}

#[test]
fn input_that_arrives_at_once_costs_one_read_and_its_answers_one_write() {
    let mut session = PolledSession::new();
    let once = Calls { reads: 1, writes: 1, shutdowns: 0 };
    for pings in [1, 16, 100] {
        let (answer, calls) = session.exchange(&frame(PING, b"ping").repeat(pings));
        assert_eq!((answer, calls), (pings * 6, once), "{pings} pings");
    }
    let (answer, calls) = session.exchange(&frame(BINARY, b"message").repeat(100));
    assert_eq!((answer, calls), (0, Calls { writes: 0, ..once }));
}

#[test]
fn a_closing_handshake_costs_a_read_a_write_and_a_shutdown() {
    let mut session = PolledSession::new();
    session.stream.push_input(&close(1000, ""));
    let Poll::Ready(record) = session.poll() else { panic!("the handshake is complete") };
    assert_eq!((record.cause, record.clean), (Cause::PeerClosed, true));
    let wire = session.stream.0.lock().unwrap();
    assert_eq!(wire.calls, Calls { reads: 1, writes: 1, shutdowns: 1 });
    assert_eq!(wire.output[0], CLOSE);
}

/// Over TLS and HTTP/2, a stream that is dropped without a shutdown reads as truncated.
#[test]
fn a_session_that_ends_without_a_closing_handshake_shuts_its_stream_down() {
    let mut session = PolledSession::new();
    session.drain.abort();
    let Poll::Ready(record) = session.poll() else { panic!("an abort waits for nothing") };
    assert_eq!((record.cause, record.clean), (Cause::Drained, false));
    let wire = session.stream.0.lock().unwrap();
    assert_eq!(wire.calls, Calls { reads: 0, writes: 1, shutdowns: 1 });
    assert_eq!(wire.output[0], CLOSE);
}

#[test]
fn a_session_costs_two_reads_two_writes_and_a_shutdown_from_the_request_to_the_end() {
    struct NoopObserver;

    impl Observer for NoopObserver {
        fn observe(&self, _: &transport::EndpointEvent<'_>) {}
    }

    let stream = Stream::default();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let drain = spawned_drain();
        let endpoint = Endpoint::new(Arc::new(NoopObserver));
        let allowed = vec![OriginPattern::Any];
        let origins = Origins { allowed, missing: Permission::Allow, null: Permission::Allow };
        let policy = Policy {
            origins,
            session: config(Limits::default()),
            sizes: SIZES,
            compression: CompressionOptions::default(),
            visible_refusals: false,
        };
        let client = Client {
            peer: Peer::Local,
            is_encrypted: false,
            certificate_name: None,
            token: drain.token(),
        };
        let near = TokioIo::new(stream.clone());
        tokio::spawn(async move {
            let service = service_fn(async |mut request| {
                let permit = || Ok(Permit::new(()));
                let answer = endpoint.answer(&Discard, &request, &client, &policy, permit);
                let response = answer.await.over_http1(&mut request, TokioIo::new);
                Ok::<_, Infallible>(response)
            });
            http1::Builder::new()
                .header_read_timeout(None)
                .serve_connection(near, service)
                .with_upgrades()
                .await
        });
        stream.push_input(UPGRADE);
        while !stream.0.lock().unwrap().output.ends_with(b"\r\n\r\n") {
            yield_now().await;
        }
        stream.push_input(&close(1000, ""));
        drain.closed().await;
    });
    let calls = stream.0.lock().unwrap().calls;
    assert_eq!(calls, Calls { reads: 2, writes: 2, shutdowns: 1 });
}

#[test]
fn pings_and_dropped_messages_allocate_nothing() {
    let mut session = PolledSession::new();
    for first in [PING, BINARY] {
        for at_once in [1, 1000] {
            let frames = frame(first, b"payload").repeat(at_once);
            session.exchange(&frames);
            let info = measure(|| {
                for _ in 0..100 {
                    session.exchange(&frames);
                }
            });
            assert_eq!(info.count_total, 0, "of {first:#x}, {at_once} at once");
        }
    }
}

#[test]
fn a_session_between_two_messages_has_no_codec_however_the_first_was_framed() {
    let fragments = [frame(0x01, b"in"), frame(PING, b"!"), frame(0x80, b"parts")].concat();
    let split = |bytes: &[u8]| bytes.chunks(3).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let freed_after = |parts: &[Vec<u8>]| {
        let mut session = PolledSession::new();
        for part in parts {
            session.exchange(part);
        }
        let PolledSession { session, stream, drain } = session;
        let freed = measure(|| drop(session)).bytes_current;
        drop((stream, drain));
        freed
    };
    let least = freed_after(&[frame(PING, b"whole")]);
    for parts in [vec![fragments.clone()], split(&fragments), split(&frame(BINARY, &[7; 300]))] {
        assert_eq!(freed_after(&parts), least, "after {parts:02x?}");
    }
    // The measurement shows a codec where there is one.
    assert!(freed_after(&[frame(0x01, b"incomplete")]) < least);
}

#[test]
fn a_session_that_compresses_takes_no_more_memory_between_two_messages() {
    let open = |compression| {
        let (drain, _) = Drain::new();
        let stream = Stream::default();
        let latest = LatestMessage::default();
        let socket = WebSocket::new(stream.clone(), SIZES).with_compression(compression);
        let handler = latest.subscribe();
        let mut session = run(socket, config(Limits::default()), handler, drain.token());
        let mut cx = Context::from_waker(Waker::noop());
        if compression.is_some() {
            // The empty message of RFC 7692, section 7.2.3.6.
            stream.push_input(&frame(TEXT | 0x40, &[0]));
        }
        latest.publish("state ".repeat(100));
        assert!(Pin::new(&mut session).poll(&mut cx).is_pending());
        let sent = stream.0.lock().unwrap().output.clone();
        assert_eq!(sent[0] & 0x40 != 0, compression.is_some(), "the state is compressed");
        let size = size_of_val(&session);
        let freed = measure(|| drop(session)).bytes_current;
        drop((stream, drain, latest));
        (size, freed)
    };
    // The first one of each makes the buffers of the thread.
    for compression in [Compression::Fresh, Compression::Shared] {
        assert_eq!(open(Some(compression)), open(None));
    }
}

#[test]
fn a_peer_in_the_middle_of_a_compressed_message_takes_no_more_than_its_limit() {
    let (drain, _) = Drain::new();
    let stream = Stream::default();
    let socket = WebSocket::new(stream.clone(), SIZES).with_compression(Some(Compression::Shared));
    let mut session = run(socket, config(Limits::default()), Discard, drain.token());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut session).poll(&mut cx).is_pending());
    let most = SIZES.max_message_bytes;
    stream.push_input(&frame(0x02 | 0x40, &vec![0; most]));
    let info = measure(|| assert!(Pin::new(&mut session).poll(&mut cx).is_pending()));
    // The compressed bytes, in tungstenite and in the vector that joins the fragments, and the codec.
    let held = usize::try_from(info.bytes_current).unwrap();
    assert!((most..3 * most).contains(&held), "{held} bytes");
}

#[test]
fn a_keep_alive_ping_and_its_pong_allocate_nothing() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut session = PolledSession::new();
        for round in 0..3 {
            advance(config(Limits::default()).timing.ping_interval).await;
            let ping = measure(|| assert!(session.poll().is_pending()));
            let sent = session.stream.0.lock().unwrap().output.clone();
            assert_eq!(sent[0], PING);
            let pong = frame(PONG, &sent[2..]);
            let answer = measure(|| {
                session.exchange(&pong);
            });
            // The first round allocates the buffers of the stream.
            assert!(
                round == 0 || (ping.count_total, answer.count_total) == (0, 0),
                "{ping:?} {answer:?}"
            );
        }
    });
}

#[test]
fn a_prepared_message_is_written_by_all_sessions_from_the_same_bytes() {
    const COUNT: usize = 100;
    let latest = LatestMessage::default();
    let (drain, _timers) = Drain::new();
    let open = |stream: &Stream| {
        let socket = WebSocket::new(stream.clone(), SIZES);
        run(socket, config(Limits::default()), latest.subscribe(), drain.token())
    };
    let streams: [Stream; COUNT] = std::array::from_fn(|_| Stream::default());
    let mut sessions = streams.each_ref().map(open);
    let mut cx = Context::from_waker(Waker::noop());
    for round in ["a first message", "another one"] {
        latest.publish(round);
        for session in &mut sessions {
            assert!(Pin::new(session).poll(&mut cx).is_pending());
        }
        let wires = streams.each_ref().map(|stream| {
            let wire = &mut *stream.0.lock().unwrap();
            assert!(wire.output.ends_with(round.as_bytes()));
            wire.output.clear();
            (mem::take(&mut wire.calls), wire.written_from)
        });
        let once = Calls { reads: 0, writes: 1, shutdowns: 0 };
        assert_eq!(wires, [(once, wires[0].1); COUNT]);
    }
}

#[test]
fn an_idle_session_takes_220_bytes_besides_its_stream() {
    const COUNT: usize = 1000;
    let (drain, _timers) = Drain::new();
    let config = config(Limits::default());
    PolledSession::new();
    let mut sessions = Vec::with_capacity(COUNT);
    let stream = Stream::default();
    let info = measure(|| {
        for _ in 0..COUNT {
            let socket = WebSocket::new(stream.clone(), SIZES);
            let mut session = Box::new(run(socket, Arc::clone(&config), Discard, drain.token()));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut session).poll(&mut cx).is_pending());
            sessions.push(session);
        }
    });
    let each = info.bytes_current / i64::try_from(COUNT).unwrap();
    // The state machine, the driver, and a slot of the timer service.
    assert!((200..=220).contains(&each), "{each} bytes: if it is less, lower the limit");

    let rest = measure(|| sessions.clear());
    // Each shard of the timer service keeps the list of its chunks, which are empty.
    let left_behind = info.bytes_current + rest.bytes_current;
    assert!((0..=16 * 200).contains(&left_behind), "{left_behind} bytes");
}

#[test]
fn a_state_machine_that_is_idle_again_holds_no_more_than_a_new_one() {
    let timeout = Some(Duration::from_secs(5));
    let limits = Limits {
        control_frames: Rate::new(10, 20),
        messages: Rate::new(10, 20),
        message_timeout: timeout,
        write_timeout: timeout,
    };
    let mut machine = Lifecycle::new(config(limits), 0);
    let info = measure(|| {
        let now = Duration::from_secs(10);
        for event in [
            Event::Message { bytes: 1 },
            Event::Pings { count: 1, bytes: 1 },
            Event::MessageBegan,
            Event::WriteBlocked,
            Event::Stalled(Duration::from_secs(3)),
            Event::WriteProgressed,
            Event::MessageEnded,
        ] {
            assert_eq!(machine.handle(event, now), None);
        }
    });
    assert!(info.bytes_current > 0, "the active state is allocated");
    let rest = measure(|| {
        let due = machine.deadline().unwrap();
        let Some(Action::Ping(payload)) = machine.handle(Event::Tick, due) else { panic!() };
        machine.handle(Event::Pong(&payload), due + Duration::from_millis(50));
    });
    assert_eq!(info.bytes_current + rest.bytes_current, 0);
}
