//! The batches of a handover: sessions freeze, are sent, and are the successor's or resume.

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::handover::predecessor::Event;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::{Batch, HandingOver};
use crate::handover::collector::{CHUNK, Collected};
use crate::handover::messages::{FromPredecessor, Seal};
use crate::handover::states::Owner;
use crate::systemd;

/// How often the other tasks run after all sessions were woken, so that those freeze which are at rest.
const SETTLE_YIELDS: usize = 16;

/// How long the sessions that were handed over keep their memory here, unless the successor says earlier that
/// it serves them: their end takes processor time that it needs first.
const RELEASE_DELAY: Duration = Duration::from_millis(500);

/// Sessions that come to rest within this time after the first commit are one batch.
const BATCH_TIME: Duration = Duration::from_millis(20);

impl HandingOver<'_> {
    /// Begins to freeze sessions.
    pub(super) fn freeze(&mut self) {
        self.batch.frozen_at = Some(Instant::now());
        self.collector.open();
        let sink = Arc::clone(&self.collector);
        self.process.shutdown.drain().freeze(sink);
    }

    /// Sends all sessions that are at rest, and freezes no more.
    pub(super) async fn send_at_rest(&mut self) -> io::Result<()> {
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
    pub(super) async fn send_next_batch(&mut self) -> Event {
        self.batch.frozen_at = Some(Instant::now());
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

    pub(super) fn result_of_batch(&mut self, sent: io::Result<()>) -> Event {
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
        self.batch.ids.extend(sessions.iter().map(|session| session.id));
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

    /// Returns the end of the batch.
    pub(super) fn seal(&self) -> io::Result<Seal> {
        // After the sessions are frozen: what one of them has sent is not newer.
        let states = self.process.states.freeze();
        let states = states.ok_or_else(|| io::Error::other("a state of the program panicked"))?;
        Ok(Seal { states })
    }

    /// The batch is the successor's.
    pub(super) fn commit(&mut self) {
        let drain = self.process.shutdown.drain();
        let Batch { ids, refused, frozen_at, .. } = mem::take(&mut self.batch);
        let taken: Vec<u64> = ids.into_iter().filter(|id| !refused.contains(id)).collect();
        self.totals.sessions += taken.len();
        self.totals.refused += refused.len();
        let pause = frozen_at.map(|frozen_at| frozen_at.elapsed()).unwrap_or_default();
        self.totals.pause = self.totals.pause.max(pause);
        drain.hand_over(taken, refused);
        let is_first = !self.process.shutdown.accepting().is_given_up();
        if is_first {
            let listeners = self.listeners.iter().filter_map(|(_, listener)| listener.upgrade());
            listeners.for_each(|listener| listener.leave_file());
            self.process.shutdown.accepting().give_up();
            systemd::release_to(self.successor);
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
    pub(super) async fn resume(&mut self) {
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
}
