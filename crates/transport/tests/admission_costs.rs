//! What an admission costs: allocations of an answer, and the memory of a session with an identity.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/http2_client.rs"]
mod http2_client;
mod support;

use std::future::ready;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use endpoint::{AdmitBy, EventLog, Fixture, valid_request};
use hyper::Request;
use hyper_util::rt::TokioIo;
use support::{TEXT, close, frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::sleep;
use transport::ws_core::{CloseCode, CloseFrame};
use transport::{
    Admission, Admit, Answer, Client, Discard, Endpoint, EndpointEvent, Handler, Handshake,
    Identity, Message, Next, Observer, Permit, SessionRegistry,
};

struct NoopObserver;

impl Observer for NoopObserver {
    fn observe(&self, _: &EndpointEvent<'_>) {}
}

/// A stream on which nothing is received.
struct IdleStream;

impl AsyncRead for IdleStream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for IdleStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Answers a valid request in one poll.
fn answer<A: Admit>(
    fixture: &Fixture<A>,
    endpoint: &Endpoint<NoopObserver>,
    request: &Request<()>,
    client: &Client,
) -> Answer<A::Handler, NoopObserver> {
    let permit = || Ok(Permit::new(()));
    let answer = endpoint.answer(&*fixture.admit, request, client, &fixture.policy, permit);
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the decision is ready"),
    }
}

fn paused_runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn opening_a_session_takes_nine_allocations_if_there_is_nothing_to_decide() {
    let allocations = |fixture: &Fixture<_>, endpoint: &_| {
        let (mut request, client) = (valid_request(), fixture.client());
        let info = measure(|| {
            let answer = answer(fixture, endpoint, &request, &client);
            drop(answer.over_http1(&mut request, TokioIo::new));
        });
        info.count_total
    };
    paused_runtime().block_on(async {
        let (fixture, endpoint) = (Fixture::new(), Endpoint::new(Arc::new(NoopObserver)));
        allocations(&fixture, &endpoint);
        // Of the key's answer, the response and its headers, hyper's upgrade and the task of the session: the
        // decision takes none.
        assert_eq!(allocations(&fixture, &endpoint), 9);
    });
}

/// Returns the bytes for each session, of many that are admitted like this and idle.
fn bytes_of_a_session(
    limit: impl Fn(Admission<Discard>) -> Admission<Discard> + Send + Sync + 'static,
) -> i64 {
    const COUNT: u16 = 1000;
    let runtime = paused_runtime();
    let fixture = runtime.block_on(async {
        Fixture::with(AdmitBy(move |_: &Handshake<'_>| ready(Ok(limit(Admission::new(Discard))))))
    });
    let (request, client) = (valid_request(), fixture.client());
    let endpoint = Endpoint::new(Arc::new(NoopObserver));
    let open = |count| {
        let opening = async {
            for _ in 0..count {
                let Answer::Open(opening) = answer(&fixture, &endpoint, &request, &client) else {
                    panic!("the request is admitted")
                };
                opening.begin(IdleStream);
                yield_now().await;
            }
        };
        runtime.block_on(opening);
    };
    // The first allocates the buffers of the thread and of the timer task.
    open(1);
    let info = measure(|| open(COUNT));
    info.bytes_current / i64::from(COUNT)
}

#[test]
fn an_identity_takes_160_bytes_of_a_session_and_an_end_96() {
    let plain = bytes_of_a_session(|admission| admission);
    let ends = bytes_of_a_session(|admission| admission.expires_in(Duration::from_secs(3600)));
    let identified =
        bytes_of_a_session(|admission| admission.identity(Identity::try_from("user-007").unwrap()));
    // The task with its permit, the state of the session in a box, and a slot of the timer service.
    assert!((340..=377).contains(&plain), "{plain} bytes: if it is less, lower the limit");
    // The part of the state machine that only active sessions have.
    assert!((1..=96).contains(&(ends - plain)), "{} bytes", ends - plain);
    // The text of eight bytes, and the two entries of the registry, whose tables are not full.
    assert!((1..=160).contains(&(identified - plain)), "{} bytes", identified - plain);
}

/// Requests at each message that the sessions of an identity close, with a reason of 100 bytes.
struct DisconnectsOnMessage(SessionRegistry);

impl Handler for DisconnectsOnMessage {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {
        let frame = CloseFrame { code: CloseCode::NORMAL, reason: "r".repeat(100).into() };
        assert_eq!(self.0.disconnect("alice", &frame), 1);
    }
}

#[test]
fn sessions_that_end_before_they_take_a_request_leave_nothing_in_the_registry() {
    let runtime = paused_runtime();
    let sessions = SessionRegistry::default();
    let registry = sessions.clone();
    let admit = AdmitBy(move |_: &Handshake<'_>| {
        let admission = Admission::new(DisconnectsOnMessage(registry.clone()));
        ready(Ok(admission.identity(Identity::try_from("alice").unwrap())))
    });
    let fixture =
        runtime.block_on(async { Fixture::with_log(admit, EventLog::default(), sessions) });
    let open_and_close = || {
        runtime.block_on(async {
            for _ in 0..500 {
                let mut peer = fixture.open(&valid_request(), 1024).await;
                // Both frames arrive in one poll, so the session ends before the request is taken.
                peer.send(&[frame(TEXT, b"?"), close(1001, "")].concat()).await;
                peer.expect_close(1001, "").await;
                peer.expect_end().await;
                fixture.log.take();
            }
        });
    };
    // The registry remembers a request for a minute, for sessions that are being admitted meanwhile.
    let forget = || {
        runtime.block_on(async {
            sleep(Duration::from_secs(61)).await;
            let frame = CloseFrame { code: CloseCode::NORMAL, reason: "".into() };
            fixture.sessions.disconnect("nobody", &frame);
        });
    };
    open_and_close();
    forget();
    let info = measure(|| {
        open_and_close();
        forget();
    });
    assert!(info.bytes_current < 2000, "{} bytes of 500 sessions are left", info.bytes_current);
}
