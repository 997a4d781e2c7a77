//! [`Http2Stream`] without a session: how much h2 queues, and what a flush waits for.
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
use support::{SIZES, config, in_time, spawned_drain};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::task::yield_now;
use transport::ws_core::Limits;
use transport::{
    Client, CompressionOptions, Discard, Endpoint, EndpointEvent, Http2Stream, Observer,
    OriginPattern, Origins, Permission, Permit, Policy,
};

struct NoopObserver;

impl Observer for NoopObserver {
    fn observe(&self, _: &EndpointEvent<'_>) {}
}

/// Replaces the stream that a test has taken; its session stays pending.
struct PendingStream;

impl AsyncRead for PendingStream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for PendingStream {
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

/// Both ends of a stream, and the server's connection, which runs only when the test polls it.
struct Fixture {
    stream: Http2Stream,
    connection: Connection,
    sender: SendStream<Bytes>,
    receiver: RecvStream,
}

struct Connection(server::Connection<DuplexStream, Bytes>);

impl Connection {
    /// Polls the connection, then its client.
    async fn run_once(&mut self) -> Option<(Request<RecvStream>, SendResponse<Bytes>)> {
        let mut cx = Context::from_waker(Waker::noop());
        let request = match self.0.poll_accept(&mut cx) {
            Poll::Ready(Some(Ok(request))) => Some(request),
            Poll::Ready(_) | Poll::Pending => None,
        };
        run_client().await;
        request
    }
}

/// Runs the client's connection until it is idle.
async fn run_client() {
    for _ in 0..4 {
        yield_now().await;
    }
}

impl Fixture {
    async fn new() -> Self {
        let (near, far) = duplex(64 * 1024);
        let mut builder = server::Builder::new();
        let server = builder.enable_connect_protocol().handshake(near);
        let (server, client) = tokio::join!(server, client::handshake(far));
        let (mut connection, (mut client, driver)) = (Connection(server.unwrap()), client.unwrap());
        tokio::spawn(driver);
        while !client.is_extended_connect_protocol_enabled() {
            connection.run_once().await;
        }
        let request = Request::builder()
            .method("CONNECT")
            .uri("https://server.example/")
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13");
        let (response, sender) = client.send_request(request.body(()).unwrap(), false).unwrap();
        let (request, respond) = loop {
            if let Some(request) = connection.run_once().await {
                break request;
            }
        };
        let stream = accept(request, respond).await;
        connection.run_once().await;
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

/// Accepts a request and takes the stream of its session.
async fn accept(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Http2Stream {
    let origins = Origins {
        allowed: vec![OriginPattern::Any],
        missing: Permission::Allow,
        null: Permission::Refuse,
    };
    let policy = Policy {
        origins,
        session: config(Limits::default()),
        sizes: SIZES,
        compression: CompressionOptions::default(),
        visible_refusals: false,
    };
    let drain = spawned_drain();
    let peer = transport::Peer::Local;
    let client = Client { peer, is_encrypted: false, certificate_name: None, token: drain.token() };
    let (head, receiver) = request.into_parts();
    let request = Request::from_parts(head, ());
    let endpoint = Endpoint::new(Arc::new(NoopObserver));
    let answer =
        endpoint.answer(&Discard, &request, &client, &policy, || Ok(Permit::new(()))).await;
    let mut taken = None;
    answer.over_http2(request.method(), receiver, respond, |stream| {
        taken = Some(stream);
        PendingStream
    });
    taken.unwrap()
}

/// The kind of a ready error.
fn error<T>(ready: Poll<io::Result<T>>) -> io::ErrorKind {
    match ready {
        Poll::Ready(Err(error)) => error.kind(),
        Poll::Ready(Ok(_)) => panic!("it succeeded"),
        Poll::Pending => panic!("it is not ready"),
    }
}

#[tokio::test]
async fn h2_holds_one_frame_of_4_kib_at_a_time_and_a_flush_waits_for_it() {
    let mut fixture = Fixture::new().await;
    for length in [1, 300, 5000] {
        let bytes = vec![7; length];
        let accepted = length.min(4096);
        assert!(matches!(fixture.write(&bytes), Poll::Ready(Ok(count)) if count == accepted));
        assert!(fixture.write(b"more").is_pending());
        assert!(fixture.flush().is_pending());
        fixture.connection.run_once().await;
        assert!(matches!(fixture.flush(), Poll::Ready(Ok(()))));
        let data = in_time(fixture.receiver.data()).await.unwrap().unwrap();
        assert_eq!(data, bytes[..accepted]);
    }
}

#[tokio::test]
async fn a_task_that_flushes_is_woken_when_the_frame_is_written() {
    let mut fixture = Fixture::new().await;
    assert!(fixture.write(b"a frame").is_ready());
    let mut stream = fixture.stream;
    let flushing = tokio::spawn(async move { stream.flush().await.map(|()| stream) });
    run_client().await;
    assert!(!flushing.is_finished());
    fixture.connection.run_once().await;
    in_time(flushing).await.unwrap().unwrap();
}

#[tokio::test]
async fn input_that_arrives_during_a_flush_is_read_later_and_in_order() {
    let mut fixture = Fixture::new().await;
    assert!(fixture.write(b"a frame").is_ready());
    for part in ["some ", "", "words"] {
        fixture.sender.send_data(part.into(), false).unwrap();
        run_client().await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(fixture.connection.0.poll_accept(&mut cx).is_pending());
        // The first frame is written by now. Keep one queued.
        while fixture.flush().is_ready() {
            assert!(fixture.write(b"another").is_ready());
        }
    }
    let mut read = [0; 10];
    in_time(fixture.stream.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"some words");
}

#[tokio::test]
async fn a_stream_that_is_reset_or_loses_its_connection_before_a_frame_is_written_fails() {
    let mut fixture = Fixture::new().await;
    assert!(fixture.write(b"a frame").is_ready());
    fixture.sender.send_reset(Reason::CANCEL);
    run_client().await;
    assert!(fixture.flush().is_pending());
    fixture.connection.run_once().await;
    assert_eq!(error(fixture.flush()), io::ErrorKind::ConnectionReset);
    assert_eq!(error(fixture.write(b"more")), io::ErrorKind::BrokenPipe);

    let mut fixture = Fixture::new().await;
    assert!(fixture.write(b"a frame").is_ready());
    drop(fixture.connection.0);
    let mut cx = Context::from_waker(Waker::noop());
    error(Pin::new(&mut fixture.stream).poll_flush(&mut cx));
}

#[tokio::test]
async fn the_end_of_the_stream_follows_a_frame_that_is_still_queued() {
    let mut fixture = Fixture::new().await;
    assert!(fixture.write(b"the last words").is_ready());
    in_time(fixture.stream.shutdown()).await.unwrap();
    drop(fixture.stream);
    fixture.connection.run_once().await;
    let data = in_time(fixture.receiver.data()).await.unwrap().unwrap();
    assert_eq!(data, b"the last words"[..]);
    assert!(in_time(fixture.receiver.data()).await.is_none_or(|data| data.unwrap().is_empty()));
}
