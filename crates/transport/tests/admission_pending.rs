//! A decision of the application that takes time, or that panics: what ends it, and what it holds.
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

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use endpoint::{
    ADMIT_TIMEOUT, AdmitBy, Fixture, PERMITS, request_head, request_with, response_head,
    valid_request,
};
use hyper::StatusCode;
use support::{PONG, close, frame, in_time};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use transport::{
    Admission, Admit, Answer, Denial, Discard, DrainOptions, Handler, Handshake, Message, Next,
};

/// Decisions that wait. Each holds a clone of `alive` until it is dropped.
struct Gate {
    alive: Arc<()>,
    go: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { alive: Arc::default(), go: Arc::new(Semaphore::new(0)) }
    }

    /// Admits with such a handler, once for each call of `open`.
    fn admit<H: Handler>(&self, handler: fn() -> H) -> impl Admit<Handler = H> + use<H> {
        let (alive, go) = (Arc::downgrade(&self.alive), Arc::clone(&self.go));
        AdmitBy(move |_: &Handshake<'_>| {
            let (alive, go) = (alive.upgrade(), Arc::clone(&go));
            async move {
                let _alive = alive;
                go.acquire().await.unwrap().forget();
                Ok(Admission::new(handler()))
            }
        })
    }

    fn open(&self) {
        self.go.add_permits(1);
    }

    /// Returns the number of decisions that exist.
    fn pending(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }
}

fn gated() -> (Gate, Fixture<impl Admit<Handler = Discard>>) {
    let gate = Gate::new();
    let fixture = Fixture::with(gate.admit(|| Discard));
    (gate, fixture)
}

/// Lets all tasks run until they are idle.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_held_from_the_beginning_of_the_decision_to_the_end_of_the_session() {
    let (gate, fixture) = gated();
    let mut peer = fixture.connect();
    peer.send(request_with("/", "").as_bytes()).await;
    settle().await;
    assert_eq!((gate.pending(), fixture.permits.available_permits()), (1, PERMITS - 1));
    gate.open();
    assert!(response_head(&mut peer).await.starts_with("HTTP/1.1 101 "));
    settle().await;
    assert_eq!((gate.pending(), fixture.permits.available_permits()), (0, PERMITS - 1));
    peer.send(&close(1000, "")).await;
    peer.expect_close(1000, "").await;
    in_time(fixture.drain.closed()).await;
    assert_eq!(fixture.permits.available_permits(), PERMITS);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_during_the_decision_ends_it() {
    let (gate, fixture) = gated();
    let mut peer = fixture.connect();
    peer.send(request_with("/", "").as_bytes()).await;
    settle().await;
    assert_eq!(gate.pending(), 1);
    drop(peer);
    in_time(fixture.drain.closed()).await;
    assert_eq!((gate.pending(), fixture.permits.available_permits()), (0, PERMITS));
    assert_eq!(fixture.log.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_dropped_ends_the_decision_and_releases_everything() {
    let (gate, fixture) = gated();
    let request = valid_request();
    {
        let mut answer = pin!(fixture.answer(&request));
        assert!(poll(answer.as_mut()).is_pending());
        assert_eq!((gate.pending(), fixture.permits.available_permits()), (1, PERMITS - 1));
    }
    assert_eq!((gate.pending(), fixture.permits.available_permits()), (0, PERMITS));
    assert!(poll(pin!(fixture.drain.closed())).is_ready(), "its token is released");
    assert_eq!(fixture.log.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stops_waiting_over_http_2_may_refuse_the_request() {
    let (gate, fixture) = gated();
    let client = fixture.connect_http2().await;
    let begin = Instant::now();
    let (response, _) = client.connect().await;
    assert_eq!(
        (response.status(), begin.elapsed()),
        (StatusCode::SERVICE_UNAVAILABLE, ADMIT_TIMEOUT)
    );
    assert_eq!((gate.pending(), fixture.permits.available_permits()), (0, PERMITS));
    assert_eq!(fixture.log.take(), ["refused 192.0.2.7:4711 admission_timeout"]);
    gate.open();
    client.open().await.expect_pong().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_begins_during_the_decision_ends_it_and_waits_for_its_end() {
    let (gate, fixture) = gated();
    let mut peer = fixture.connect();
    peer.send(request_with("/", "Connection: close, Upgrade\r\n").as_bytes()).await;
    settle().await;
    assert_eq!(gate.pending(), 1);
    fixture.drain.start(DrainOptions::default());
    let waiting = async {
        in_time(fixture.drain.closed()).await;
        (gate.pending(), fixture.permits.available_permits())
    };
    let answering = async {
        let head = response_head(&mut peer).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    };
    let (at_close, ()) = tokio::join!(waiting, answering);
    assert_eq!(at_close, (0, PERMITS));
    assert_eq!(fixture.log.take(), ["refused 192.0.2.7:4711 draining"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_begins_before_the_poll_in_which_the_decision_is_ready_refuses_the_request() {
    let (gate, fixture) = gated();
    let request = valid_request();
    let mut answer = pin!(fixture.answer(&request));
    assert!(poll(answer.as_mut()).is_pending());
    gate.open();
    fixture.drain.start(DrainOptions::default());
    let Poll::Ready(Answer::Refuse(response)) = poll(answer) else { panic!("it is refused") };
    assert_eq!(response.status(), 503);
    assert!(response.body().starts_with("draining: "));
    assert_eq!((gate.pending(), fixture.permits.available_permits()), (0, PERMITS));
}

/// A handler whose drop panics.
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("the drop of the handler panics");
    }
}

impl Handler for PanicsInDrop {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {}
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drop_of_a_handler_that_a_drain_has_overtaken_is_contained() {
    let gate = Gate::new();
    let fixture = Fixture::with(gate.admit(|| PanicsInDrop));
    let request = valid_request();
    let mut answer = pin!(fixture.answer(&request));
    assert!(poll(answer.as_mut()).is_pending());
    gate.open();
    fixture.drain.start(DrainOptions::default());
    let Poll::Ready(Answer::Refuse(response)) = poll(answer) else { panic!("it is refused") };
    assert_eq!(response.status(), 503);
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Where a decision panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Call,
    FirstPoll,
    SecondPoll,
    SecondPollAndDrop,
    DropAfterTheDecision,
    DropWithoutDecision,
    Nowhere,
}

impl At {
    const ALL: [Self; 7] = [
        Self::Call,
        Self::FirstPoll,
        Self::SecondPoll,
        Self::SecondPollAndDrop,
        Self::DropAfterTheDecision,
        Self::DropWithoutDecision,
        Self::Nowhere,
    ];
}

/// A decision that is ready at its second poll, or never, and panics.
struct Panicking {
    at: At,
    polls: usize,
}

impl Future for Panicking {
    type Output = Result<Admission<Discard>, Denial>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.polls += 1;
        match (self.at, self.polls) {
            (At::FirstPoll, 1) | (At::SecondPoll | At::SecondPollAndDrop, 2) => {
                panic!("the poll panics")
            }
            (At::DropWithoutDecision, _) => Poll::Pending,
            (_, 1) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            (_, 2) => Poll::Ready(Ok(Admission::new(Discard))),
            (_, polls) => panic!("poll {polls} of a future that is complete"),
        }
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        let panics = [At::SecondPollAndDrop, At::DropAfterTheDecision, At::DropWithoutDecision];
        assert!(!panics.contains(&self.at), "the drop panics");
    }
}

/// The Nth decision panics at the Nth place, in a cycle.
fn panicking() -> Fixture<impl Admit<Handler = Discard>> {
    let count = AtomicUsize::new(0);
    Fixture::with(AdmitBy(move |_: &Handshake<'_>| {
        let at = At::ALL[count.fetch_add(1, Ordering::Relaxed) % At::ALL.len()];
        assert!(at != At::Call, "the call panics");
        Panicking { at, polls: 0 }
    }))
}

/// Returns the status of the answer, and the event of a refusal.
fn expected(at: At) -> (u16, &'static [&'static str]) {
    match at {
        At::Call | At::FirstPoll | At::SecondPoll | At::SecondPollAndDrop => {
            (500, &["refused 192.0.2.7:4711 internal_error"])
        }
        At::DropWithoutDecision => (503, &["refused 192.0.2.7:4711 admission_timeout"]),
        At::DropAfterTheDecision | At::Nowhere => (200, &[]),
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_panics_over_http_2_ends_no_other_session() {
    let fixture = panicking();
    let client = fixture.connect_http2().await;
    let mut open = Vec::new();
    for round in 0..2 {
        for at in At::ALL {
            let (response, stream) = client.connect().await;
            let (status, events) = expected(at);
            assert_eq!(response.status(), status, "{at:?}");
            settle().await;
            let mut refusals = fixture.log.take();
            refusals.retain(|event| event.starts_with("refused"));
            assert_eq!(refusals, events, "{at:?}");
            open.extend((status == 200).then_some(stream));
            assert_eq!(fixture.permits.available_permits(), PERMITS - open.len(), "{at:?}");
        }
        assert_eq!(open.len(), 2 * (round + 1));
        for stream in &mut open {
            stream.sender.send_data(frame(support::PING, b"?").into(), false).unwrap();
            while stream.data().await.unwrap().unwrap()[0] != PONG {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_panics_over_http_1_1_leaves_the_connection_usable() {
    let fixture = panicking();
    let mut peer = fixture.connect();
    for at in [At::Call, At::FirstPoll, At::SecondPoll, At::SecondPollAndDrop] {
        let head = request_head(&mut peer).await;
        assert!(head.starts_with("HTTP/1.1 500 "), "{at:?}: {head}");
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        peer.bytes(length.parse().unwrap()).await;
        assert_eq!(fixture.log.take(), ["refused 192.0.2.7:4711 internal_error"]);
        assert_eq!(fixture.permits.available_permits(), PERMITS);
    }
    // The drop panics, and the decision stands.
    assert!(request_head(&mut peer).await.starts_with("HTTP/1.1 101 "));
    // Here the drop panics because the client disconnects.
    let mut other = fixture.connect();
    other.send(request_with("/", "").as_bytes()).await;
    settle().await;
    assert_eq!(fixture.permits.available_permits(), PERMITS - 2);
    drop(other);
    settle().await;
    assert_eq!(fixture.permits.available_permits(), PERMITS - 1);
}
