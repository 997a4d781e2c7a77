//! The side of the process that hands its sessions over.

use std::future::pending;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::process;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::handover::predecessor::{Action, Event, Outcome, Predecessor};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::{Notify, OwnedRwLockWriteGuard};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::channel::{Channel, Frame};
use super::collector::{CHUNK, Collected, Collector};
use super::messages::{
    DrainRecord, FromPredecessor, FromSuccessor, PROTOCOL, Seal, decode, monotonic_now, send,
};
use super::states::Owner;
use super::status::{Handover, Role, State};
use super::{ThisProcess, limit};
use crate::net::accept_errors::AcceptErrors;
use crate::net::handed_over::ListenerKind;
use crate::net::listener::Listener;
use crate::systemd;
use crate::time::milliseconds;

/// Time for the first message of a successor.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for operations on the admin listener that have begun. They have their own timeout of five seconds.
const OPERATIONS_TIMEOUT: Duration = Duration::from_secs(6);

/// How often the other tasks run after all sessions were woken, so that those freeze which are at rest.
const SETTLE_YIELDS: usize = 16;

/// How long the sessions that were handed over keep their memory here, unless the successor says earlier that
/// it serves them: their end takes processor time that it needs first.
const RELEASE_DELAY: Duration = Duration::from_millis(500);

/// Sessions that come to rest within this time after the first commit are one batch.
const BATCH_TIME: Duration = Duration::from_millis(20);

/// How often the successor is told how many sessions are left here.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// The ids of each process begin after a multiple of this, so that sessions that the predecessor still opens
/// get no id of the successor.
const ID_RANGE: u64 = 1_000_000;

/// Hands over to each process that connects to `listener`, until one has taken over.
pub(crate) async fn serve(
    process: Arc<ThisProcess>,
    listener: Arc<Listener>,
    listeners: Vec<(ListenerKind, Weak<Listener>)>,
) {
    let mut accepting = process.shutdown.accepting().receiver();
    let mut errors = AcceptErrors::default();
    loop {
        let stream = match accepting.accept(|| listener.accept_unix()).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => {
                process.telemetry.record_accept_failure(&error);
                errors.pause(&error).await;
                continue;
            }
            None => break,
        };
        errors.reset();
        let mut channel = Channel::new(stream);
        match greet(&process, &mut channel).await {
            Ok(hello) => {
                if let Err(error) = hand_over(&process, channel, hello, &listeners).await {
                    warn!(event = "handover_refused", problem = %error);
                }
            }
            Err(reason) => {
                warn!(event = "handover_refused", problem = reason);
                let refused = FromPredecessor::Refused { reason };
                // Best effort: the reason is in the log as well.
                let _ = timeout(HELLO_TIMEOUT, send(&mut channel, &refused, &[])).await;
            }
        }
    }
    drop(listener);
    // The task ends with the process.
    pending::<()>().await;
}

/// What the successor says first.
struct Hello {
    pid: u32,
    drain: DrainRecord,
}

/// Reads the first message. The error is the reason why nothing is handed over.
async fn greet(process: &ThisProcess, channel: &mut Channel) -> Result<Hello, String> {
    channel.check_peer().map_err(|error| error.to_string())?;
    let frame = timeout(HELLO_TIMEOUT, channel.recv()).await;
    let frame = frame.map_err(|_| "the successor said nothing")?;
    let frame = frame.map_err(|error| error.to_string())?.ok_or("the successor said nothing")?;
    match decode(&frame.bytes) {
        Ok(FromSuccessor::Hello { protocol: PROTOCOL, pid, drain }) => {
            if process.shutdown.has_begun() {
                return Err("the process is shutting down".to_owned());
            }
            Ok(Hello { pid, drain })
        }
        Ok(FromSuccessor::Hello { protocol, .. }) => Err(format!(
            "the successor has version {protocol} of the protocol, and this process version {PROTOCOL}"
        )),
        Ok(_) | Err(_) => Err("the first message of the successor has no meaning here".to_owned()),
    }
}

/// Performs a handover. Returns when it was revoked; if it was completed, the process ends meanwhile.
async fn hand_over(
    process: &Arc<ThisProcess>,
    channel: Channel,
    hello: Hello,
    listeners: &[(ListenerKind, Weak<Listener>)],
) -> io::Result<()> {
    let (reader, pipe) = pipe_with(PipeFlags::CLOEXEC)?;
    let sockets = listeners.iter().map(|(kind, listener)| Some((*kind, listener.upgrade()?)));
    let sockets: Vec<(ListenerKind, Arc<Listener>)> = sockets.flatten().collect();
    let wait = process.configs.borrow().takeover_wait;
    let welcome = FromPredecessor::Welcome {
        pid: process::id(),
        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        listeners: sockets.iter().map(|(kind, socket)| socket.describe(*kind)).collect(),
    };
    let paths = process.router.paths().into_iter().map(str::to_owned).collect();
    let collector = Arc::new(Collector::new(Arc::clone(&process.telemetry), paths));
    let mut handing_over = HandingOver {
        process,
        listeners,
        channel,
        pipe,
        collector,
        machine: Predecessor::new(),
        wait,
        operations: None,
        began: Instant::now(),
        frozen_at: None,
        pause: Duration::ZERO,
        batch: Vec::new(),
        is_sealed: false,
        refusals: Vec::new(),
        sessions: 0,
        refused: 0,
        wait_ends: None,
        is_stopping: false,
        serving: Arc::default(),
        problem: None,
    };
    let mut descriptors = vec![reader.as_fd()];
    descriptors.extend(sockets.iter().map(|(_, socket)| socket.as_fd()));
    send(&mut handing_over.channel, &welcome, &descriptors).await?;
    drop((reader, sockets));

    let outcome = handing_over.run().await;
    handing_over.report(hello.pid, outcome);
    if outcome == Outcome::Drain && handing_over.machine.has_committed() {
        handing_over.drain(hello.drain).await;
    }
    Ok(())
}

/// A handover that has begun.
struct HandingOver<'a> {
    process: &'a Arc<ThisProcess>,
    listeners: &'a [(ListenerKind, Weak<Listener>)],
    channel: Channel,
    /// The writing end of the pipe that tells the successor of a revocation.
    pipe: OwnedFd,
    collector: Arc<Collector>,
    machine: Predecessor,
    /// How long to wait for sessions that are not at rest.
    wait: Duration,
    /// Held while the states of the program are handed over.
    operations: Option<OwnedRwLockWriteGuard<Owner>>,
    began: Instant,
    /// When the open batch began to freeze, by the clock of the system and by that of the runtime.
    frozen_at: Option<(u64, Instant)>,
    pause: Duration,
    /// The ids of the open batch, in the order in which they were sent.
    batch: Vec<u64>,
    is_sealed: bool,
    /// The sessions of the sealed batch that the successor refuses.
    refusals: Vec<u64>,
    sessions: usize,
    refused: usize,
    wait_ends: Option<Instant>,
    is_stopping: bool,
    /// Notified when the successor serves the first batch.
    serving: Arc<Notify>,
    problem: Option<String>,
}

impl HandingOver<'_> {
    async fn run(&mut self) -> Outcome {
        loop {
            let mut event = self.next_event().await;
            loop {
                let followed_by = match self.machine.handle(event) {
                    Some(action) => self.perform(action).await,
                    None if event == Event::Frozen => Some(self.send_next_batch().await),
                    None => None,
                };
                match followed_by {
                    Some(following) => event = following,
                    None => break,
                }
            }
            if let Some(outcome) = self.machine.outcome() {
                return outcome;
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        loop {
            let limit = self.machine.time_limit().map(|it| limit(it, self.wait));
            let has_committed = self.machine.has_committed();
            let wait_ends = self.wait_ends;
            tokio::select! {
                biased;
                received = self.channel.recv() => {
                    if let Some(event) = self.on_message(received) {
                        return event;
                    }
                }
                _ = self.process.shutdown.begun(), if !self.is_stopping => {
                    self.is_stopping = true;
                    return Event::StopRequested;
                }
                // Or when nothing is left that could come to rest.
                () = self.process.permits.idle(), if wait_ends.is_some() => {
                    self.wait_ends = None;
                    return Event::WaitOver;
                }
                () = sleep_until(wait_ends.unwrap_or_else(Instant::now)), if wait_ends.is_some() => {
                    self.wait_ends = None;
                    return Event::WaitOver;
                }
                () = self.collector.collected(1), if has_committed && !self.is_sealed => {
                    return Event::Frozen;
                }
                () = sleep(limit.unwrap_or_default()), if limit.is_some() => {
                    self.problem.get_or_insert_with(|| "the successor does not answer".to_owned());
                    return Event::TimedOut;
                }
            }
        }
    }

    fn on_message(&mut self, received: io::Result<Option<Frame>>) -> Option<Event> {
        let message = match received {
            Ok(Some(frame)) => decode(&frame.bytes),
            Ok(None) => Err(io::Error::other("the successor has ended")),
            Err(error) => Err(error),
        };
        match message {
            Ok(FromSuccessor::Ready) => Some(Event::Ready),
            Ok(FromSuccessor::Refusing { indices }) => {
                let ids = indices.iter().filter_map(|index| self.batch.get(*index).copied());
                self.refusals.extend(ids);
                None
            }
            Ok(FromSuccessor::Taken) => Some(Event::Taken),
            Ok(FromSuccessor::Serving) => {
                self.serving.notify_one();
                None
            }
            Ok(FromSuccessor::Hello { .. }) => Some(self.lost(&"the successor says Hello again")),
            Err(error) => Some(self.lost(&error)),
        }
    }

    fn lost(&mut self, problem: &dyn ToString) -> Event {
        self.problem.get_or_insert_with(|| problem.to_string());
        Event::Lost
    }

    async fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Commit => {
                self.commit();
                None
            }
            Action::Freeze => {
                let operations = self.process.operations.exclude_operations();
                self.operations = timeout(OPERATIONS_TIMEOUT, operations).await.ok();
                self.process.shutdown.accepting().pause();
                self.freeze();
                let sent = self.send_at_rest().await;
                Some(self.result_of_batch(sent))
            }
            Action::Resume => {
                self.resume().await;
                None
            }
            Action::Revoke => {
                // An error says that no successor is left to read it.
                let _ = rustix::io::write(&self.pipe, b"r");
                Some(Event::Revoked)
            }
            Action::Seal => {
                self.is_sealed = true;
                let sealed = FromPredecessor::Sealed(self.seal());
                self.send(&sealed, &[]).await.err().map(|error| self.lost(&error))
            }
            Action::StopReceiving => Some(self.stop_receiving().await),
        }
    }

    /// Begins to freeze sessions.
    fn freeze(&mut self) {
        self.frozen_at = Some((monotonic_now(), Instant::now()));
        self.collector.open();
        let sink = Arc::clone(&self.collector);
        self.process.shutdown.drain().freeze(sink);
    }

    /// Sends all sessions that are at rest, and freezes no more.
    async fn send_at_rest(&mut self) -> io::Result<()> {
        let process = Arc::clone(self.process);
        let collector = Arc::clone(&self.collector);
        loop {
            let before = collector.total();
            let mut woken = pin!(process.shutdown.drain().wake_sessions());
            loop {
                tokio::select! {
                    biased;
                    () = collector.collected(CHUNK) => {
                        self.send_chunk().await?;
                    }
                    () = &mut woken => break,
                }
            }
            for _ in 0..SETTLE_YIELDS {
                yield_now().await;
                self.send_chunk().await?;
            }
            // Sessions of a round may have gone on because too many were unsent.
            if collector.total() == before {
                return self.close_batch().await;
            }
        }
    }

    /// Sends the sessions that have come to rest since the previous batch.
    async fn send_next_batch(&mut self) -> Event {
        sleep(BATCH_TIME).await;
        let sent = self.close_batch().await;
        self.result_of_batch(sent)
    }

    /// Freezes no more sessions, and sends the rest of the batch.
    async fn close_batch(&mut self) -> io::Result<()> {
        self.process.shutdown.drain().seal();
        self.collector.close();
        while self.send_chunk().await? > 0 {}
        Ok(())
    }

    fn result_of_batch(&mut self, sent: io::Result<()>) -> Event {
        match sent {
            Ok(()) => Event::BatchSent,
            Err(error) => self.lost(&error),
        }
    }

    /// Sends the sessions that are collected, at most a chunk. Returns their number.
    async fn send_chunk(&mut self) -> io::Result<usize> {
        let sessions = self.collector.take();
        if sessions.is_empty() {
            return Ok(0);
        }
        self.batch.extend(sessions.iter().map(|session| session.id));
        let (mut records, mut descriptors) = (Vec::new(), Vec::new());
        for Collected { record, descriptor, .. } in &sessions {
            records.push(record.clone().into());
            descriptors.push(descriptor.as_fd());
        }
        self.send(&FromPredecessor::Sessions { records }, &descriptors).await?;
        let count = sessions.len();
        self.collector.sent(sessions);
        Ok(count)
    }

    async fn send(
        &mut self,
        message: &FromPredecessor,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let time = limit(::handover::TimeLimit::Progress, self.wait);
        let sent = timeout(time, send(&mut self.channel, message, descriptors)).await;
        sent.unwrap_or_else(|_| Err(io::Error::other("the successor does not receive")))
    }

    fn seal(&self) -> Seal {
        let frozen_at_ns = self.frozen_at.map_or_else(monotonic_now, |(clock, _)| clock);
        // After the sessions are frozen: what one of them has sent is not newer.
        let states = self.process.states.freeze();
        if self.machine.has_committed() {
            return Seal { frozen_at_ns, next_id: 0, states };
        }
        let assigned = self.process.shutdown.drain().next_session_id();
        let next_id = (assigned / ID_RANGE + 1) * ID_RANGE + 1;
        Seal { frozen_at_ns, next_id, states }
    }

    /// The batch is the successor's.
    fn commit(&mut self) {
        let drain = self.process.shutdown.drain();
        let refusals = mem::take(&mut self.refusals);
        let batch = mem::take(&mut self.batch);
        self.sessions += batch.len() - refusals.len();
        self.refused += refusals.len();
        drain.hand_over(refusals);
        self.is_sealed = false;
        let is_first = !self.process.shutdown.accepting().is_given_up();
        if let Some((_, frozen_at)) = self.frozen_at.take() {
            self.pause = self.pause.max(frozen_at.elapsed());
        }
        if is_first {
            let listeners = self.listeners.iter().filter_map(|(_, listener)| listener.upgrade());
            listeners.for_each(|listener| listener.leave_file());
            self.process.shutdown.accepting().give_up();
            systemd::release();
            self.wait_ends = Some(Instant::now() + self.wait);
        }
        if let Some(mut owner) = self.operations.take() {
            *owner = Owner::Successor;
        }
        if self.machine.outcome().is_none() {
            self.freeze();
        }
        let (process, serving) = (Arc::clone(self.process), Arc::clone(&self.serving));
        tokio::spawn(async move {
            if is_first {
                let _ = timeout(RELEASE_DELAY, serving.notified()).await;
            }
            process.shutdown.drain().wake_sessions().await;
        });
    }

    /// The frozen sessions are this process's.
    async fn resume(&mut self) {
        self.collector.close();
        self.collector.discard();
        let shutdown = &self.process.shutdown;
        shutdown.drain().resume();
        if !self.machine.has_committed() {
            shutdown.accepting().resume();
            self.operations = None;
        }
        shutdown.drain().wake_sessions().await;
    }

    /// Ends the receiving side, and finds out whether the successor has taken the batch before.
    async fn stop_receiving(&mut self) -> Event {
        if self.channel.shutdown_receive().is_err() {
            return Event::NotTaken;
        }
        loop {
            let received = self.channel.recv().await;
            match self.on_message(received) {
                Some(Event::Taken) => return Event::Taken,
                Some(_) => return Event::NotTaken,
                None => {}
            }
        }
    }

    /// Reports the outcome to the log, the metrics and the admin listener.
    fn report(&self, pid: u32, outcome: Outcome) {
        let is_completed = self.machine.has_committed();
        let metrics = &self.process.telemetry.metrics;
        let open = metrics.sessions().open();
        metrics.count_handover(is_completed);
        let (sessions, refused) = (self.sessions, self.refused);
        let duration = self.began.elapsed();
        let state = if is_completed { State::Completed } else { State::Revoked };
        self.process.status.set(Handover {
            role: Role::Predecessor,
            state,
            pid,
            sessions,
            refused,
            predecessor_open: open,
            pause: self.pause,
            duration,
        });
        if is_completed {
            info!(
                event = "handed_over",
                successor = pid,
                sessions,
                refused,
                left = open,
                pause_ms = milliseconds(self.pause),
                duration_ms = milliseconds(duration),
                problem = self.problem,
            );
        } else if outcome == Outcome::Continue {
            let out_of_place = "a message of the successor is out of place";
            let problem = self.problem.as_deref().unwrap_or(out_of_place);
            warn!(event = "handover_revoked", successor = pid, problem);
        }
    }

    /// Closes what is left as the successor's settings say, and tells it how many sessions those are.
    async fn drain(&mut self, drain: DrainRecord) {
        let process = Arc::clone(self.process);
        self.resume().await;
        let open = || process.telemetry.metrics.sessions().open();
        let mut message = FromPredecessor::Finished { open: open() };
        process.shutdown.begin_with(drain.into());
        // Until the successor ends, or this process.
        while self.send(&message, &[]).await.is_ok() {
            sleep(REPORT_INTERVAL).await;
            message = FromPredecessor::Draining { open: open() };
        }
    }
}
