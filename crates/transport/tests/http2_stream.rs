//! A stream of an HTTP/2 connection by itself: what h2 holds of it, and what a flush means.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream, client, server};
use hyper::Request;
use support::{SIZES, config, in_time, kept_drain};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::task::yield_now;
use transport::ws_core::Limits;
use transport::{
    Client, Discard, Endpoint, EndpointEvent, Http2Stream, Observer, OriginPattern, Origins,
    Permission, Permit, Policy,
};

struct Nobody;

impl Observer for Nobody {
    fn observe(&self, _: &EndpointEvent<'_>) {}
}

/// A stream that a test has to itself, while its session waits for ever.
struct Kept;

impl AsyncRead for Kept {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Kept {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Both ends of a stream, and the server's connection, which does nothing unless it has a turn.
struct World {
    stream: Http2Stream,
    connection: Connection,
    sender: SendStream<Bytes>,
    receiver: RecvStream,
}

struct Connection(server::Connection<DuplexStream, Bytes>);

impl Connection {
    /// Lets the connection read and write what it can, and its client after it.
    async fn turn(&mut self) -> Option<(Request<RecvStream>, SendResponse<Bytes>)> {
        let mut cx = Context::from_waker(Waker::noop());
        let request = match self.0.poll_accept(&mut cx) {
            Poll::Ready(Some(Ok(request))) => Some(request),
            Poll::Ready(_) | Poll::Pending => None,
        };
        client_turn().await;
        request
    }
}

/// Lets the client's connection do what it can.
async fn client_turn() {
    for _ in 0..4 {
        yield_now().await;
    }
}

impl World {
    async fn new() -> Self {
        let (near, far) = duplex(64 * 1024);
        let mut builder = server::Builder::new();
        let server = builder.enable_connect_protocol().handshake(near);
        let (server, client) = tokio::join!(server, client::handshake(far));
        let (mut connection, (mut client, driver)) = (Connection(server.unwrap()), client.unwrap());
        tokio::spawn(driver);
        while !client.is_extended_connect_protocol_enabled() {
            connection.turn().await;
        }
        let request = Request::builder()
            .method("CONNECT")
            .uri("https://server.example/")
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13");
        let (response, sender) = client.send_request(request.body(()).unwrap(), false).unwrap();
        let (request, respond) = loop {
            if let Some(asked) = connection.turn().await {
                break asked;
            }
        };
        let stream = accept(request, respond);
        connection.turn().await;
        let receiver = in_time(response).await.unwrap().into_body();
        Self { stream, connection, sender, receiver }
    }

    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
    }

    fn flush(&mut self) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(&mut Context::from_waker(Waker::noop()))
    }
}

/// Answers a request for a session, and keeps its stream.
fn accept(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Http2Stream {
    let origins = Origins {
        allowed: vec![OriginPattern::Any],
        missing: Permission::Allow,
        null: Permission::Refuse,
    };
    let policy = Policy { origins, session: config(Limits::default()), sizes: SIZES };
    let drain = kept_drain();
    let peer = transport::Peer::Local;
    let client = Client { peer, is_encrypted: false, token: drain.token() };
    let (head, receiver) = request.into_parts();
    let request = Request::from_parts(head, ());
    let endpoint = Endpoint::new(Discard, Arc::new(Nobody));
    let answer = endpoint.answer(&request, &client, &policy, || Ok(Permit::new(())));
    let mut kept = None;
    answer.over_http2(request.method(), receiver, respond, |stream| {
        kept = Some(stream);
        Kept
    });
    kept.unwrap()
}

/// The error that this is ready with.
fn error<T>(ready: Poll<io::Result<T>>) -> io::ErrorKind {
    match ready {
        Poll::Ready(Err(error)) => error.kind(),
        Poll::Ready(Ok(_)) => panic!("it succeeded"),
        Poll::Pending => panic!("it is not ready"),
    }
}

#[tokio::test]
async fn h2_has_one_frame_of_4_kib_at_a_time_and_a_flush_waits_for_it() {
    let mut world = World::new().await;
    for length in [1, 300, 5000] {
        let bytes = vec![7; length];
        let taken = length.min(4096);
        assert!(matches!(world.write(&bytes), Poll::Ready(Ok(count)) if count == taken));
        assert!(world.write(b"more").is_pending());
        assert!(world.flush().is_pending());
        world.connection.turn().await;
        assert!(matches!(world.flush(), Poll::Ready(Ok(()))));
        let data = in_time(world.receiver.data()).await.unwrap().unwrap();
        assert_eq!(data, bytes[..taken]);
    }
}

#[tokio::test]
async fn whoever_waits_for_a_flush_is_woken_when_the_frame_is_written() {
    let mut world = World::new().await;
    assert!(world.write(b"a frame").is_ready());
    let mut stream = world.stream;
    let flushing = tokio::spawn(async move { stream.flush().await.map(|()| stream) });
    client_turn().await;
    assert!(!flushing.is_finished());
    world.connection.turn().await;
    in_time(flushing).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_the_client_sends_meanwhile_is_read_later_and_in_order() {
    let mut world = World::new().await;
    assert!(world.write(b"a frame").is_ready());
    for part in ["some ", "", "words"] {
        world.sender.send_data(part.into(), false).unwrap();
        client_turn().await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(world.connection.0.poll_accept(&mut cx).is_pending());
        // The first time it is written by now, and then there is the next.
        while world.flush().is_ready() {
            assert!(world.write(b"another").is_ready());
        }
    }
    let mut read = [0; 10];
    in_time(world.stream.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"some words");
}

#[tokio::test]
async fn a_stream_that_is_reset_or_loses_its_connection_before_a_frame_is_written_fails() {
    let mut world = World::new().await;
    assert!(world.write(b"a frame").is_ready());
    world.sender.send_reset(Reason::CANCEL);
    client_turn().await;
    assert!(world.flush().is_pending());
    world.connection.turn().await;
    assert_eq!(error(world.flush()), io::ErrorKind::ConnectionReset);
    assert_eq!(error(world.write(b"more")), io::ErrorKind::BrokenPipe);

    let mut world = World::new().await;
    assert!(world.write(b"a frame").is_ready());
    drop(world.connection.0);
    let mut cx = Context::from_waker(Waker::noop());
    error(Pin::new(&mut world.stream).poll_flush(&mut cx));
}

#[tokio::test]
async fn an_end_comes_behind_the_frame_that_is_not_written() {
    let mut world = World::new().await;
    assert!(world.write(b"the last words").is_ready());
    in_time(world.stream.shutdown()).await.unwrap();
    drop(world.stream);
    world.connection.turn().await;
    let data = in_time(world.receiver.data()).await.unwrap().unwrap();
    assert_eq!(data, b"the last words"[..]);
    assert!(in_time(world.receiver.data()).await.is_none_or(|data| data.unwrap().is_empty()));
}
