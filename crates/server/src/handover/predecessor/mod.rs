//! The side of the process that hands its sessions over: it waits for events, and performs the actions of the
//! state machine. `batch` has those that concern sessions.

mod batch;

use std::collections::HashSet;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::handover::predecessor::{Action, Event, Outcome, Predecessor};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::{Notify, OwnedRwLockWriteGuard};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::channel::{Channel, Frame};
use super::collector::Collector;
use super::messages::{DrainRecord, FromPredecessor, FromSuccessor, PROTOCOL, decode, send};
use super::states::Owner;
use super::status::{Handover, Role, State};
use super::{ThisProcess, limit};
use crate::net::accept_errors::AcceptErrors;
use crate::net::handed_over::ListenerKind;
use crate::net::listener::Listener;
use crate::time::milliseconds;

/// Time for the first message of a successor.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for operations on the admin listener that have begun. The successor waits for that.
const OPERATIONS_TIMEOUT: Duration = Duration::from_millis(500);

/// How often the successor is told how many sessions are left here.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

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
        // What follows from the process before this one goes to the successor as well.
        let _ = process.is_taking_over.subscribe().wait_for(|is_taking_over| !is_taking_over).await;
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

/// The ids of each process begin after a multiple of this. The predecessor has at least as many left for sessions
/// that it still opens.
const ID_RANGE: u64 = 1_000_000;

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
        next_id: (process.shutdown.drain().next_session_id() / ID_RANGE + 2) * ID_RANGE + 1,
        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        listeners: sockets.iter().map(|(kind, socket)| socket.describe(*kind)).collect(),
    };
    let paths = process.router.paths().into_iter().map(str::to_owned).collect();
    let collector = Arc::new(Collector::new(Arc::clone(&process.telemetry), paths));
    let mut handing_over = HandingOver {
        process,
        listeners,
        channel,
        successor: hello.pid,
        pipe,
        collector,
        machine: Predecessor::new(),
        wait,
        operations: None,
        began: Instant::now(),
        batch: Batch::default(),
        totals: Totals::default(),
        wait_ends: None,
        is_stopping: false,
        serving: Arc::default(),
        problem: None,
    };
    let mut descriptors = vec![reader.as_fd()];
    descriptors.extend(sockets.iter().map(|(_, socket)| socket.as_fd()));
    handing_over.send(&welcome, &descriptors).await?;
    drop((reader, sockets));

    let outcome = handing_over.run().await;
    handing_over.report(hello.pid);
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
    /// The number of its process.
    successor: u32,
    /// The writing end of the pipe that tells the successor of a revocation.
    pipe: OwnedFd,
    collector: Arc<Collector>,
    machine: Predecessor,
    /// How long to wait for sessions that are not at rest.
    wait: Duration,
    /// Held while the states of the program are handed over.
    operations: Option<OwnedRwLockWriteGuard<Owner>>,
    began: Instant,
    batch: Batch,
    totals: Totals,
    wait_ends: Option<Instant>,
    is_stopping: bool,
    /// Notified when the successor serves the first batch.
    serving: Arc<Notify>,
    problem: Option<String>,
}

/// The open or sealed batch.
#[derive(Debug, Default)]
struct Batch {
    /// In the order in which they were sent.
    ids: Vec<u64>,
    /// The ids of those that the successor refuses.
    refused: HashSet<u64>,
    /// When it began to freeze.
    frozen_at: Option<Instant>,
    is_sealed: bool,
}

impl Batch {
    /// Records that the successor refuses the session at this index.
    fn refuse(&mut self, index: usize) {
        self.refused.extend(self.ids.get(index));
    }
}

/// The batches that were committed.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    /// Sessions that the successor has.
    sessions: usize,
    /// Sessions that it has refused.
    refused: usize,
    /// The longest time for which a batch was frozen.
    pause: Duration,
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
                () = self.collector.collected(1), if has_committed && !self.batch.is_sealed => {
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
                indices.into_iter().for_each(|index| self.batch.refuse(index));
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
                match timeout(OPERATIONS_TIMEOUT, operations).await {
                    Ok(operations) => self.operations = Some(operations),
                    Err(_) => {
                        return Some(self.lost(&"an operation on the admin listener does not end"));
                    }
                }
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
                self.batch.is_sealed = true;
                let sent = match self.seal() {
                    Ok(seal) => self.send(&FromPredecessor::Sealed(seal), &[]).await,
                    Err(error) => Err(error),
                };
                sent.err().map(|error| self.lost(&error))
            }
            Action::StopReceiving => Some(self.stop_receiving().await),
        }
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

    /// Ends the receiving side, and finds out whether the successor has taken the batch before.
    async fn stop_receiving(&mut self) -> Event {
        // Also if this fails, as it may when the successor has ended: it may have answered before.
        let _ = self.channel.shutdown_receive();
        loop {
            let ended = || Err(io::ErrorKind::TimedOut.into());
            let time = limit(::handover::TimeLimit::Progress, self.wait);
            let received = timeout(time, self.channel.recv()).await.unwrap_or_else(|_| ended());
            match self.on_message(received) {
                Some(Event::Taken) => return Event::Taken,
                Some(_) => return Event::NotTaken,
                None => {}
            }
        }
    }

    /// Reports the outcome to the log, the metrics and the admin listener.
    fn report(&self, pid: u32) {
        let is_completed = self.machine.has_committed();
        let open = self.open();
        self.process.telemetry.metrics.count_handover(is_completed);
        let Totals { sessions, refused, pause } = self.totals;
        let duration = self.began.elapsed();
        let state = if is_completed { State::Completed } else { State::Revoked };
        self.process.status.set(Handover {
            role: Role::Predecessor,
            state,
            pid,
            sessions,
            refused,
            predecessor_open: open,
            pause,
            duration,
        });
        if is_completed {
            info!(
                event = "handed_over",
                successor = pid,
                sessions,
                refused,
                left = open,
                pause_ms = milliseconds(pause),
                duration_ms = milliseconds(duration),
                problem = self.problem,
            );
        } else {
            let out_of_place = "a message of the successor is out of place";
            let is_stopping = self.is_stopping.then_some("this process is shutting down");
            let problem = self.problem.as_deref().or(is_stopping).unwrap_or(out_of_place);
            warn!(event = "handover_revoked", successor = pid, problem);
        }
    }

    /// Returns the number of sessions that this process still has.
    fn open(&self) -> u64 {
        let counts = self.process.telemetry.metrics.sessions();
        // Those that were handed over end here a moment later.
        let sessions = u64::try_from(self.totals.sessions).unwrap_or(u64::MAX);
        counts.open().saturating_sub(sessions.saturating_sub(counts.handed_over))
    }

    /// Closes what is left as the successor's settings say, and tells it how many sessions those are.
    async fn drain(&mut self, drain: DrainRecord) {
        self.resume().await;
        let mut message = FromPredecessor::Finished { open: self.open() };
        self.process.shutdown.begin_with(drain.into());
        // Until the successor ends, or this process.
        while self.send(&message, &[]).await.is_ok() {
            sleep(REPORT_INTERVAL).await;
            message = FromPredecessor::Draining { open: self.open() };
        }
    }
}
