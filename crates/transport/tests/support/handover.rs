//! Processes that hand sessions over to one another: each has its drain, its observer, its registry and its
//! permits.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::any::Any;
use std::future::{Future, ready};
use std::mem;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::Request;
use hyper::header::HeaderValue;
use tokio::io::duplex;
use tokio::time::{Instant, sleep};
use transport::ws_core::{CloseRecord, Counters, SessionConfig};
use transport::{
    Admission, Admit, Denial, EndpointEvent, FrozenSession, Handler, Handshake, Identity, Permit,
    Policy, SessionRegistry, SessionSink, ThawingSession,
};

use crate::endpoint::{EventLog, Fixture, valid_request};
use crate::shared_stream::{SharedStream, Witness};
use crate::support::Peer;

pub(crate) const PIPE_BYTES: usize = 64 * 1024;

/// A process, and what has become of the sessions that were handed over to it or from it.
pub(crate) struct Process<H: Handler + Clone + Sync> {
    fixture: Fixture<Admits<H>>,
    pub(crate) sink: Arc<CollectingSink>,
    ledger: Arc<Mutex<Ledger>>,
    number: u64,
}

/// What the observers of several processes have reported, each event added up.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) opened: Vec<u64>,
    /// The id, the time of the end, and the record.
    pub(crate) closed: Vec<(u64, Instant, CloseRecord)>,
    /// How often a session was handed over.
    pub(crate) handed_over: usize,
    pub(crate) received: Counters,
    pub(crate) sent: Counters,
    pub(crate) control_frames: [u64; 2],
    pub(crate) round_trips: Vec<Duration>,
}

impl<H: Handler + Clone + Sync> Process<H> {
    /// Creates the first process.
    pub(crate) fn new(handler: H) -> Self {
        Self::admitting(Admits { handler, expires_in: None })
    }

    pub(crate) fn admitting(admit: Admits<H>) -> Self {
        Self::with_ledger(admit, Arc::default())
    }

    /// Creates the process that comes after this one.
    pub(crate) fn successor(&self) -> Self {
        let mut successor = Self::with_ledger((*self.admit).clone(), Arc::clone(&self.ledger));
        successor.fixture.policy = Arc::clone(&self.policy);
        successor
    }

    fn with_ledger(admit: Admits<H>, ledger: Arc<Mutex<Ledger>>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let entries = Arc::clone(&ledger);
        let log = EventLog::with_hook(move |event| entries.lock().unwrap().enter(event));
        Self {
            fixture: Fixture::with_log(admit, log, SessionRegistry::default()),
            sink: Arc::default(),
            ledger,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(crate) fn set_policy(&mut self, change: impl FnOnce(&mut Policy)) {
        change(Arc::make_mut(&mut self.fixture.policy));
    }

    pub(crate) fn set_config(&mut self, change: impl FnOnce(&mut SessionConfig)) {
        self.set_policy(|policy| change(Arc::make_mut(&mut policy.session)));
    }

    /// Opens a session.
    pub(crate) async fn connect(&self, request: &Request<()>) -> (Peer, Witness) {
        self.connect_over(request, PIPE_BYTES).await
    }

    /// Opens a session over a pipe that holds `pipe_bytes` in each direction.
    pub(crate) async fn connect_over(
        &self,
        request: &Request<()>,
        pipe_bytes: usize,
    ) -> (Peer, Witness) {
        let opening = self.opening(request).await;
        let (near, far) = duplex(pipe_bytes);
        let (stream, witness) = SharedStream::new(near, self.number);
        opening.begin(stream);
        (Peer(far), witness)
    }

    /// Begins to freeze, and lets all tasks run.
    pub(crate) async fn freeze(&self) {
        let sink = Arc::clone(&self.sink);
        self.drain.freeze(sink);
        self.drain.wake_sessions().await;
        settle().await;
    }

    /// Hands the frozen sessions over, except for those in `refused`.
    pub(crate) async fn hand_over(&self, successor: &Self, refused: &[u64]) {
        self.drain.seal();
        successor.drain.skip_session_ids_below(self.drain.next_session_id());
        let mut ids = Vec::new();
        for taken in self.sink.take() {
            if refused.contains(&taken.session.id) {
                taken.stream.set_holder(Some(self.number));
            } else {
                ids.push(taken.session.id);
                successor.thaw(taken);
            }
        }
        self.drain.hand_over(ids, refused.iter().copied());
        self.drain.wake_sessions().await;
        settle().await;
    }

    /// Freezes no more, and lets the frozen sessions go on here.
    pub(crate) async fn resume(&self) {
        for taken in self.sink.take() {
            taken.stream.set_holder(Some(self.number));
        }
        self.drain.resume();
        self.drain.wake_sessions().await;
        settle().await;
    }

    fn thaw(&self, taken: Taken) {
        let pause = taken.since.elapsed();
        self.stage(taken).begin(pause);
    }

    /// Prepares a session to continue here.
    pub(crate) fn stage(&self, taken: Taken) -> ThawingSession<H, EventLog, SharedStream> {
        let Taken { session, mut stream, .. } = taken;
        let handler = self.admit.thaw(session.identity.as_ref(), session.handler.clone());
        let handler = handler.expect("what was frozen can be thawed");
        let permit = Permit::new(Arc::clone(&self.permits).try_acquire_owned().unwrap());
        stream.take(self.number);
        let token = self.drain.token();
        self.endpoint.thaw(session, handler, stream, token, &self.policy, permit)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Waits for the only end of a session, and returns its time and the record.
    pub(crate) async fn end(&self) -> (Instant, CloseRecord) {
        settle().await;
        let closed = mem::take(&mut self.ledger().closed);
        let [(_, at, record)] = <[_; 1]>::try_from(closed).expect("one session has ended");
        (at, record)
    }
}

impl<H: Handler + Clone + Sync> Deref for Process<H> {
    type Target = Fixture<Admits<H>>;

    fn deref(&self) -> &Self::Target {
        &self.fixture
    }
}

impl Ledger {
    fn enter(&mut self, event: &EndpointEvent<'_>) {
        match event {
            EndpointEvent::Closed { id, record, .. } => {
                self.closed.push((*id, Instant::now(), (*record).clone()));
            }
            EndpointEvent::HandedOver { .. } => self.handed_over += 1,
            EndpointEvent::Opened { id, .. } => self.opened.push(*id),
            EndpointEvent::Traffic {
                received,
                sent,
                control_frames_received,
                control_frames_sent,
                round_trip,
                ..
            } => {
                self.received += *received;
                self.sent += *sent;
                self.control_frames[0] += control_frames_received;
                self.control_frames[1] += control_frames_sent;
                self.round_trips.extend(round_trip);
            }
            EndpointEvent::Panicked { .. }
            | EndpointEvent::Refused { .. }
            | EndpointEvent::TakenOver { .. } => {}
            other => panic!("{other:?} is new"),
        }
    }
}

/// Lets all tasks run until they are idle.
pub(crate) async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// Admits everybody with clones of a handler, and the identity in the header `x-user`.
#[derive(Clone)]
pub(crate) struct Admits<H> {
    pub(crate) handler: H,
    pub(crate) expires_in: Option<Duration>,
}

impl<H: Handler + Clone + Sync> Admit for Admits<H> {
    type Handler = H;

    fn admit(
        &self,
        handshake: &Handshake<'_>,
    ) -> impl Future<Output = Result<Admission<H>, Denial>> + Send {
        let mut admission = Admission::new(self.handler.clone());
        if let Some(user) = handshake.headers().get("x-user") {
            admission = admission.identity(Identity::try_from(user.to_str().unwrap()).unwrap());
        }
        if let Some(time) = self.expires_in {
            admission = admission.expires_in(time);
        }
        ready(Ok(admission))
    }

    fn thaw(&self, _: Option<&Identity>, frozen: bytes::Bytes) -> Option<H> {
        Handler::thaw(&self.handler, frozen)
    }
}

pub(crate) fn request_of(user: &'static str) -> Request<()> {
    let mut request = valid_request();
    request.headers_mut().insert("x-user", HeaderValue::from_static(user));
    request
}

/// Collects the sessions that it takes.
#[derive(Default)]
pub(crate) struct CollectingSink {
    taken: Mutex<Vec<Taken>>,
    pub(crate) refuses: AtomicBool,
    pub(crate) panics: AtomicBool,
    pub(crate) offers: AtomicUsize,
}

/// A session that was taken, its stream and when it was frozen.
pub(crate) struct Taken {
    session: FrozenSession,
    stream: SharedStream,
    since: Instant,
}

impl CollectingSink {
    /// Returns the ids of the sessions that are frozen.
    pub(crate) fn frozen(&self) -> Vec<u64> {
        self.taken.lock().unwrap().iter().map(|taken| taken.session.id).collect()
    }

    /// Returns the only session that is frozen.
    pub(crate) fn only(&self) -> FrozenSession {
        let taken = self.taken.lock().unwrap();
        assert_eq!(taken.len(), 1, "one session is frozen");
        taken[0].session.clone()
    }

    pub(crate) fn take(&self) -> Vec<Taken> {
        mem::take(&mut *self.taken.lock().unwrap())
    }
}

impl SessionSink for CollectingSink {
    fn offer(
        &self,
        stream: &dyn Any,
        permit: &Permit,
        freeze: &dyn Fn() -> Option<FrozenSession>,
    ) -> bool {
        self.offers.fetch_add(1, Ordering::Relaxed);
        assert!(permit.pool().is_some(), "the permit of the session");
        assert!(!self.panics.load(Ordering::Relaxed), "this sink panics");
        if self.refuses.load(Ordering::Relaxed) {
            return false;
        }
        let Some(session) = freeze() else { return false };
        let stream: &SharedStream = stream.downcast_ref().expect("the stream of the session");
        let stream = stream.duplicate();
        stream.set_holder(None);
        self.taken.lock().unwrap().push(Taken { session, stream, since: Instant::now() });
        true
    }

    fn release(&self, stream: &mut dyn Any) {
        let stream: &mut SharedStream = stream.downcast_mut().expect("the stream of the session");
        stream.release();
    }
}
