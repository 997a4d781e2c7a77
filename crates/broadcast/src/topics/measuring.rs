//! How current the states of topics are with their clients.

use std::hash::Hash;
use std::sync::Arc;

use super::Topics;
use crate::statistics::{Measurements, Statistics};

impl<K: Eq + Hash, V> Topics<K, V> {
    /// Measures from now on how long the states of all topics take until clients have received them, as
    /// [`Publisher::measure`](crate::Publisher::measure).
    pub fn measure(&self) {
        let map = self.0.map.lock();
        let measurements = self.0.measurements.get_or_init(|| Arc::new(Measurements::new()));
        for topic in map.values() {
            topic.channel.measure(|| Arc::clone(measurements));
        }
    }

    /// Returns what was [measured](Self::measure) of all topics together, and counts their sessions. Takes
    /// time for each topic, and locks the map for a part of it.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let channels: Vec<_> =
            self.0.map.lock().values().map(|topic| Arc::clone(&topic.channel)).collect();
        let measured = self.0.measurements.get().map(|measurements| measurements.snapshot());
        let mut statistics = measured.unwrap_or_default();
        for channel in channels {
            let (subscriptions, behind) = channel.count_sessions();
            statistics.subscriptions += subscriptions;
            statistics.behind += behind;
        }
        statistics
    }

    /// Measures from now on, and registers the metrics that
    /// [`Publisher::register`](crate::Publisher::register) has, of all topics together.
    #[cfg(feature = "prometheus")]
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry)
    where
        K: Send + 'static,
        V: Send + 'static,
    {
        self.measure();
        let topics = self.clone();
        crate::prometheus::register(registry, move || topics.statistics());
    }
}
