//! The side of the process that takes the sessions over.

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use ::handover::TimeLimit;
use ::handover::successor::{Action, Event, Outcome, Successor};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use super::channel::{Channel, Frame};
use super::messages::{
    DrainRecord, FromPredecessor, FromSuccessor, PROTOCOL, Seal, decode, monotonic_now, send,
};
use super::record::SessionRecord;
use super::states::catch_panic;
use super::status::{Handover, Role, State};
use super::{ThisProcess, limit};
use crate::config::ShutdownOptions;
use crate::net::handed_over::HandedOver;
use crate::net::stream::Stream;
use crate::routes::{Continuation, Thawing};
use crate::telemetry::Row;
use crate::time::milliseconds;

/// Time for the answer to the first message. The predecessor may be busy with another successor.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for what the pipe says. A predecessor that is neither dead nor stopped says it at once.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sessions that continue before other tasks run.
const BEGIN_BATCH: usize = 64;

/// A predecessor that has said what it listens on.
#[derive(Debug)]
pub(crate) struct Greeting {
    channel: Channel,
    /// Says whether the predecessor revokes what it has sent.
    pipe: OwnedFd,
    pid: u32,
    wait: Duration,
    /// The least id that this process may assign.
    next_id: u64,
    began: Instant,
}

/// Connects to the predecessor that listens at `path`. Returns it, and its listening sockets.
///
/// # Errors
///
/// A sentence: why it does not hand over.
pub(crate) async fn connect(
    path: &Path,
    shutdown: ShutdownOptions,
) -> Result<(Greeting, HandedOver), String> {
    let began = Instant::now();
    let stream = UnixStream::connect(path).await.map_err(|error| error.to_string())?;
    let mut channel = Channel::new(stream);
    channel.check_peer().map_err(|error| error.to_string())?;
    let hello = FromSuccessor::Hello {
        protocol: PROTOCOL,
        pid: process::id(),
        drain: DrainRecord::from(shutdown),
    };
    let answer = async {
        send(&mut channel, &hello, &[]).await?;
        channel.recv().await
    };
    let answer = timeout(WELCOME_TIMEOUT, answer).await.map_err(|_| "it does not answer")?;
    let ended = || "it has closed the connection".to_owned();
    let Frame { bytes, mut descriptors } =
        answer.map_err(|error| error.to_string())?.ok_or_else(ended)?;
    match decode(&bytes).map_err(|error| error.to_string())? {
        FromPredecessor::Welcome { pid, wait_ms, next_id, listeners }
            if !descriptors.is_empty() =>
        {
            let pipe = descriptors.remove(0);
            let sockets =
                HandedOver::new(listeners, descriptors).map_err(|error| error.to_string())?;
            let wait = Duration::from_millis(wait_ms);
            Ok((Greeting { channel, pipe, pid, wait, next_id, began }, sockets))
        }
        FromPredecessor::Refused { reason } => Err(reason),
        FromPredecessor::Draining { .. }
        | FromPredecessor::Finished { .. }
        | FromPredecessor::Sealed(_)
        | FromPredecessor::Sessions { .. }
        | FromPredecessor::Welcome { .. } => {
            Err("its first message has no meaning here".to_owned())
        }
    }
}

/// Takes over the first batch. Returns the rest of the handover, which has to be
/// [finished](TakingOver::finish); from then on this process may accept. `stop` ends it before the first batch.
///
/// # Errors
///
/// A sentence: why nothing was taken over. The predecessor goes on.
pub(crate) async fn take_over(
    process: Arc<ThisProcess>,
    greeting: Greeting,
    stop: impl Future<Output = ()>,
) -> Result<TakingOver, String> {
    let mut stop = pin!(stop);
    let Greeting { channel, pipe, pid, wait, next_id, began } = greeting;
    process.shutdown.drain().skip_session_ids_below(next_id);
    let pipe = pipe::Receiver::from_owned_fd(pipe).map_err(|error| error.to_string())?;
    let mut taking_over = TakingOver {
        process,
        channel: Some(channel),
        pipe,
        pid,
        wait,
        began,
        machine: Successor::new(),
        staged: Vec::new(),
        batch_len: 0,
        refusals: Vec::new(),
        seal: Seal::default(),
        sessions: 0,
        refused: 0,
        predecessor_open: 0,
        pause: Duration::ZERO,
        problem: None,
    };
    taking_over.process.is_taking_over.send_replace(true);
    taking_over.report(State::InProgress);
    taking_over.handle(Event::Prepared).await;
    while !taking_over.machine.has_owned() {
        if taking_over.machine.outcome() == Some(Outcome::Exit) {
            taking_over.process.telemetry.metrics.count_handover(false);
            return Err(taking_over.problem.unwrap_or_default());
        }
        // Not while an event is handled: once the batch is this process's, it has to be served.
        let event = tokio::select! {
            event = taking_over.next_event() => event,
            () = &mut stop => return Err("a signal has stopped it".to_owned()),
        };
        taking_over.handle(event).await;
    }
    Ok(taking_over)
}

/// A handover that has begun.
#[derive(Debug)]
pub(crate) struct TakingOver {
    process: Arc<ThisProcess>,
    /// `None` once it was closed.
    channel: Option<Channel>,
    pipe: pipe::Receiver,
    /// The predecessor.
    pid: u32,
    wait: Duration,
    began: Instant,
    machine: Successor,
    staged: Vec<Staged>,
    /// The number of records in the open batch.
    batch_len: usize,
    /// The indices of those that are refused.
    refusals: Vec<usize>,
    seal: Seal,
    sessions: usize,
    refused: usize,
    predecessor_open: u64,
    pause: Duration,
    problem: Option<String>,
}

/// A session that is not this process's yet.
struct Staged {
    id: u64,
    frozen_at_ns: u64,
    row: Option<Row>,
    thawing: Thawing,
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, row, .. } = self;
        f.debug_struct("Staged").field("id", id).field("row", row).finish_non_exhaustive()
    }
}

impl TakingOver {
    /// Takes over what comes to rest later, until the predecessor has nothing more to hand over; then waits
    /// for its end.
    pub(crate) async fn finish(mut self) {
        while self.machine.outcome().is_none() {
            let event = self.next_event().await;
            self.handle(event).await;
        }
        self.process.is_taking_over.send_replace(false);
        self.process.telemetry.metrics.count_handover(true);
        self.report(State::Completed);
        let Self { pid, sessions, refused, pause, predecessor_open, .. } = self;
        info!(
            event = "taken_over",
            predecessor = pid,
            sessions,
            refused,
            left = predecessor_open,
            pause_ms = milliseconds(pause),
            duration_ms = milliseconds(self.began.elapsed()),
            problem = self.problem,
        );
        if let Some(channel) = &mut self.channel {
            while let Ok(Some(frame)) = channel.recv().await {
                if let Ok(FromPredecessor::Draining { open }) = decode(&frame.bytes) {
                    self.process.status.set_predecessor_open(pid, open);
                }
            }
        }
        self.process.status.set_predecessor_open(pid, 0);
    }

    async fn handle(&mut self, event: Event) {
        let mut action = self.machine.handle(event);
        while let Some(performed) = action {
            let event = self.perform(performed).await;
            action = event.and_then(|event| self.machine.handle(event));
        }
    }

    async fn next_event(&mut self) -> Event {
        let limit = self.machine.time_limit().map(|it| limit(it, self.wait));
        loop {
            let Some(channel) = &mut self.channel else { return Event::Lost };
            let received = tokio::select! {
                biased;
                received = channel.recv() => received,
                () = sleep(limit.unwrap_or_default()), if limit.is_some() => {
                    self.problem.get_or_insert_with(|| "the predecessor sends nothing".to_owned());
                    return Event::TimedOut;
                }
            };
            if let Some(event) = self.on_message(received) {
                return event;
            }
        }
    }

    fn on_message(&mut self, received: io::Result<Option<Frame>>) -> Option<Event> {
        let received = match received {
            Ok(Some(frame)) => decode(&frame.bytes).map(|message| (message, frame.descriptors)),
            Ok(None) => Err(io::Error::other("the predecessor has closed the connection")),
            Err(error) => Err(error),
        };
        match received {
            Ok((FromPredecessor::Sessions { records }, descriptors)) => {
                if records.len() != descriptors.len() {
                    return Some(self.lost("there is not a descriptor for each record"));
                }
                for (record, descriptor) in records.iter().zip(descriptors) {
                    self.stage(record, descriptor);
                }
                None
            }
            Ok((FromPredecessor::Sealed(seal), _)) => {
                self.seal = seal;
                Some(Event::BatchSealed)
            }
            Ok((FromPredecessor::Finished { open }, _)) => {
                self.predecessor_open = open;
                Some(Event::Finished)
            }
            Ok((FromPredecessor::Draining { .. }, _)) => None,
            Ok((FromPredecessor::Refused { .. } | FromPredecessor::Welcome { .. }, _)) => {
                Some(self.lost("a message of the predecessor is out of place"))
            }
            Err(error) => Some(self.lost(&error.to_string())),
        }
    }

    fn lost(&mut self, problem: &str) -> Event {
        self.problem.get_or_insert_with(|| problem.to_owned());
        Event::Lost
    }

    /// Prepares a session to continue, or refuses it. Its connection is not accessed.
    fn stage(&mut self, record: &[u8], descriptor: OwnedFd) {
        let index = self.batch_len;
        self.batch_len += 1;
        match self.thaw(record, descriptor) {
            Some(staged) => self.staged.push(staged),
            None => self.refusals.push(index),
        }
    }

    fn thaw(&self, record: &[u8], descriptor: OwnedFd) -> Option<Staged> {
        let ThisProcess { configs, permits, router, shutdown, telemetry, .. } = &*self.process;
        let record = SessionRecord::decode(record)?;
        let frozen = record.frozen()?;
        let config = configs.borrow().clone();
        let stream = Stream::from_descriptor(descriptor).ok()?;
        let peer = stream.socket_peer();
        let row = telemetry.table.as_ref().map(|_| Row::of(&frozen, record.row.as_ref(), peer));
        let limits_addresses = config.max_connections_per_address > 0;
        let address = limits_addresses.then(|| record.client_address(peer, &config.client_addr));
        let continuation = Continuation {
            stream,
            token: shutdown.token(),
            policy: &config.policy,
            permit: permits.take_over(address.flatten()),
        };
        let thawing = catch_panic(|| router.thaw(&record.path, frozen, continuation))??;
        let SessionRecord { id, frozen_at_ns, .. } = record;
        Some(Staged { id, frozen_at_ns, row, thawing })
    }

    async fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Discard => {
                self.staged.clear();
                None
            }
            Action::Own => {
                self.own().await;
                None
            }
            Action::ReadVerdict => Some(self.read_verdict().await),
            Action::SendReady => match self.send(&FromSuccessor::Ready).await {
                Ok(()) => None,
                Err(error) => {
                    self.problem.get_or_insert_with(|| error.to_string());
                    Some(Event::SendFailed)
                }
            },
            Action::SendTaken => Some(match self.send_taken().await {
                Ok(()) => Event::TakenSent,
                Err(error) => {
                    self.problem.get_or_insert_with(|| error.to_string());
                    Event::SendFailed
                }
            }),
        }
    }

    async fn send_taken(&mut self) -> io::Result<()> {
        if !self.refusals.is_empty() {
            let indices = self.refusals.clone();
            self.send(&FromSuccessor::Refusing { indices }).await?;
        }
        self.send(&FromSuccessor::Taken).await
    }

    async fn send(&mut self, message: &FromSuccessor) -> io::Result<()> {
        match &mut self.channel {
            Some(channel) => {
                let time = limit(TimeLimit::Progress, self.wait);
                let sent = timeout(time, send(channel, message, &[])).await;
                sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn read_verdict(&mut self) -> Event {
        // What was written before is staged: the predecessor may have died after that.
        if let Some(mut channel) = self.channel.take()
            && channel.shutdown().is_ok()
        {
            while let received @ Ok(Some(_)) = channel.recv().await {
                self.on_message(received);
            }
        }
        let mut byte = [0];
        match timeout(VERDICT_TIMEOUT, self.pipe.read(&mut byte)).await {
            Ok(Ok(0)) => Event::PredecessorGone,
            Ok(Ok(_)) => Event::Revoked,
            Ok(Err(_)) | Err(_) => Event::NoVerdict,
        }
    }

    /// What is staged is this process's.
    async fn own(&mut self) {
        let Seal { states } = mem::take(&mut self.seal);
        self.process.states.restore(states);
        let staged = mem::take(&mut self.staged);
        let refused = mem::take(&mut self.refusals).len();
        self.batch_len = 0;
        self.sessions += staged.len();
        self.refused += refused;
        for (index, Staged { id, frozen_at_ns, row, thawing }) in (1..).zip(staged) {
            if let (Some(table), Some(row)) = (&self.process.telemetry.table, row) {
                table.insert(id, row);
            }
            let pause = Duration::from_nanos(monotonic_now().saturating_sub(frozen_at_ns));
            self.pause = self.pause.max(pause);
            thawing(pause);
            if index % BEGIN_BATCH == 0 {
                yield_now().await;
            }
        }
        self.report(State::InProgress);
        // An error is found when the next message is read.
        let _ = self.send(&FromSuccessor::Serving).await;
    }

    fn report(&self, state: State) {
        self.process.status.set(Handover {
            role: Role::Successor,
            state,
            pid: self.pid,
            sessions: self.sessions,
            refused: self.refused,
            predecessor_open: self.predecessor_open,
            pause: self.pause,
            duration: self.began.elapsed(),
        });
    }
}
