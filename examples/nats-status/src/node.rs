//! The task that publishes the state of the bucket to the sessions of a node.

use std::convert::Infallible;
use std::time::Duration;

use broadcast::Publisher;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::arguments::KeyLocation;
use crate::broker::Broker;
use crate::bucket::{BrokerError, Bucket};
use crate::late_join::{LateJoins, PendingJoin};
use crate::state::{State, Version};

/// Interval of reads without a change notification: a watch may end without an error.
const REREAD_INTERVAL: Duration = Duration::from_secs(2);

/// Coalescing window of new sessions: one read of the bucket serves all of them.
const COALESCE: Duration = Duration::from_millis(10);

/// Exponential backoff between attempts that fail.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Publishes the latest state of the bucket, and never an older state after a newer one.
#[derive(Debug)]
pub struct Node {
    publisher: Publisher,
    joins: mpsc::UnboundedReceiver<PendingJoin>,
    /// Sessions that the next read releases.
    pending: Vec<PendingJoin>,
    /// The version that was published last.
    published: Option<Version>,
    /// The interval at which the state is published again (`--heartbeat-secs`).
    heartbeat: Option<Duration>,
    /// The time of the last publication.
    published_at: Instant,
    /// The state of the broker that was logged last: away, reached, or none yet.
    reported_away: Option<bool>,
}

impl Node {
    /// Returns a node, and what opens its sessions.
    #[must_use]
    pub fn new(max_wait: Duration, heartbeat: Option<Duration>) -> (Self, LateJoins) {
        let publisher = Publisher::new();
        let (sender, joins) = mpsc::unbounded_channel();
        let sessions = LateJoins::new(publisher.clone(), sender, max_wait);
        let node = Self {
            publisher,
            joins,
            pending: Vec::new(),
            published: None,
            heartbeat,
            published_at: Instant::now(),
            reported_away: None,
        };
        (node, sessions)
    }

    /// The publisher of its states.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Follows the bucket. Does not return.
    pub async fn follow(mut self, location: KeyLocation) {
        let broker = Broker::connect(location).await;
        let mut backoff = MIN_BACKOFF;
        loop {
            let Err(error) = self.follow_until_lost(&broker).await;
            if self.reported_away != Some(true) {
                warn!(event = "broker_away", reason = error.0, revision = self.revision());
                self.reported_away = Some(true);
                backoff = MIN_BACKOFF;
            }
            // Remove abandoned sessions, which would otherwise accumulate while the broker is away.
            self.collect_joins();
            sleep(backoff).await;
            backoff = MAX_BACKOFF.min(2 * backoff);
        }
    }

    async fn follow_until_lost(&mut self, broker: &Broker) -> Result<Infallible, BrokerError> {
        let mut bucket = broker.open().await?;
        loop {
            self.collect_joins();
            let read = bucket.read().await?;
            let revision_before = self.revision();
            if let Some(state) = read
                && self.publish_if_newer(&state)
                && state.version.revision < revision_before
            {
                warn!(
                    event = "history_restarted",
                    revision = state.version.revision,
                    revision_before,
                    "the broker lost states, or the bucket was created again"
                );
                // The watch may belong to a bucket that was deleted.
                bucket = broker.open().await?;
                continue;
            }
            if self.reported_away != Some(false) {
                info!(event = "broker_reached", broker = broker.name(), revision = self.revision());
                self.reported_away = Some(false);
            }
            self.repeat_if_due();
            self.pending.clear();
            self.publish_changes(&mut bucket).await?;
        }
    }

    /// Publishes changes until the next read is due.
    async fn publish_changes(&mut self, bucket: &mut Bucket) -> Result<(), BrokerError> {
        let coalesced_at = Instant::now() + COALESCE;
        let heartbeat_at = self.heartbeat.map(|interval| self.published_at + interval);
        let reread_at = Instant::now() + REREAD_INTERVAL;
        let reread_at = heartbeat_at.map_or(reread_at, |heartbeat_at| reread_at.min(heartbeat_at));
        loop {
            tokio::select! {
                // Changes first: they are not published during a read.
                biased;
                change = bucket.changed() => {
                    let change = change?;
                    self.publish_if_newer(&change);
                }
                () = sleep_until(reread_at) => return Ok(()),
                Some(join) = self.joins.recv() => {
                    self.pending.push(join);
                    sleep_until(coalesced_at).await;
                    return Ok(());
                }
            }
        }
    }

    /// Receives all announced sessions, and removes those that no longer wait.
    fn collect_joins(&mut self) {
        while let Ok(join) = self.joins.try_recv() {
            self.pending.push(join);
        }
        self.pending.retain(|join| !join.is_abandoned());
    }

    /// Publishes a state if it is newer than the last one. Returns whether it did.
    fn publish_if_newer(&mut self, state: &State) -> bool {
        let is_newer =
            self.published.is_none_or(|published| state.version.is_newer_than(published));
        if is_newer {
            self.published = Some(state.version);
            self.published_at = Instant::now();
            self.publisher.publish_tagged(state.version.tag(), state.message());
        }
        is_newer
    }

    /// Publishes the state again if the heartbeat is due. Called right after the bucket was read, so that a
    /// heartbeat never says that an old state is current.
    fn repeat_if_due(&mut self) {
        if self.heartbeat.is_some_and(|interval| self.published_at.elapsed() >= interval) {
            self.published_at = Instant::now();
            self.publisher.republish();
        }
    }

    fn revision(&self) -> u64 {
        self.published.map_or(0, |published| published.revision)
    }
}
