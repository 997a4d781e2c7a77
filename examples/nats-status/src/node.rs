//! The task that keeps a node's sessions and the bucket together.

use std::convert::Infallible;
use std::time::Duration;

use broadcast::Publisher;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::arguments::Place;
use crate::broker::Broker;
use crate::bucket::{Bucket, Problem};
use crate::newcomer::{Newcomer, Waiting};
use crate::state::{State, Version};

/// How often the bucket is read even if nothing is said to have changed: a watch may have ended without
/// a word.
const LOOK: Duration = Duration::from_secs(2);

/// For how long new sessions gather before the bucket is read for all of them.
const GATHER: Duration = Duration::from_millis(10);

/// From an attempt that failed to the next one: it doubles.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Tells sessions the newest state of the bucket, never an older one after a newer one.
#[derive(Debug)]
pub struct Node {
    publisher: Publisher,
    newcomers: mpsc::UnboundedReceiver<Waiting>,
    /// Those whose turn it is at the next reading.
    waiting: Vec<Waiting>,
    /// What was told last.
    told: Option<Version>,
    /// Whether the log has said that the broker is away, or that it is there.
    is_away: Option<bool>,
}

impl Node {
    /// A node, and the handler of its sessions.
    #[must_use]
    pub fn new(patience: Duration) -> (Self, Newcomer) {
        let publisher = Publisher::new();
        let (door, newcomers) = mpsc::unbounded_channel();
        let handler = Newcomer::new(publisher.subscribe(), door, patience);
        (Self { publisher, newcomers, waiting: Vec::new(), told: None, is_away: None }, handler)
    }

    /// Follows the bucket, for as long as the process lives.
    pub async fn follow(mut self, place: Place) {
        let broker = Broker::connect(place).await;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let Err(problem) = self.follow_while_it_is_there(&broker).await;
            if self.is_away != Some(true) {
                warn!(event = "broker_away", reason = problem.0, revision = self.revision());
                self.is_away = Some(true);
                pause = SHORTEST_PAUSE;
            }
            // Or those who come while the broker is away would be kept until it is back.
            self.gather();
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(2 * pause);
        }
    }

    async fn follow_while_it_is_there(&mut self, broker: &Broker) -> Result<Infallible, Problem> {
        let mut bucket = broker.open().await?;
        loop {
            self.gather();
            let read = bucket.read().await?;
            let revision_before = self.revision();
            if let Some(state) = read
                && self.tell(&state)
                && state.version.revision < revision_before
            {
                warn!(
                    event = "history_restarted",
                    revision = state.version.revision,
                    revision_before,
                    "the broker has lost states, or the bucket was made anew"
                );
                // The watch may be of a bucket that is gone.
                bucket = broker.open().await?;
                continue;
            }
            if self.is_away != Some(false) {
                info!(event = "broker_reached", broker = broker.name(), revision = self.revision());
                self.is_away = Some(false);
            }
            self.waiting.clear();
            self.tell_changes(&mut bucket).await?;
        }
    }

    /// Tells changes until it is time to read.
    async fn tell_changes(&mut self, bucket: &mut Bucket) -> Result<(), Problem> {
        let gathered = Instant::now() + GATHER;
        let look = Instant::now() + LOOK;
        loop {
            tokio::select! {
                // Changes come first: a reading makes them wait.
                biased;
                change = bucket.changed() => {
                    let change = change?;
                    self.tell(&change);
                }
                () = sleep_until(look) => return Ok(()),
                Some(newcomer) = self.newcomers.recv() => {
                    self.waiting.push(newcomer);
                    sleep_until(gathered).await;
                    return Ok(());
                }
            }
        }
    }

    /// Takes in those who have come until now, and forgets those who do not wait any more.
    fn gather(&mut self) {
        while let Ok(newcomer) = self.newcomers.try_recv() {
            self.waiting.push(newcomer);
        }
        self.waiting.retain(|newcomer| !newcomer.is_over());
    }

    /// Tells this state unless it is old, and whether it did.
    fn tell(&mut self, state: &State) -> bool {
        let is_newer = self.told.is_none_or(|told| state.version.is_newer_than(told));
        if is_newer {
            self.told = Some(state.version);
            self.publisher.publish(state.message());
        }
        is_newer
    }

    fn revision(&self) -> u64 {
        self.told.map_or(0, |told| told.revision)
    }
}
