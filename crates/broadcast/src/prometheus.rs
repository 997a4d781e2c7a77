//! The statistics as metrics of Prometheus.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::statistics::Statistics;

/// Registers metrics whose values are taken from `statistics` at each scrape.
pub(crate) fn register(
    registry: &mut Registry,
    statistics: impl Fn() -> Statistics + Send + Sync + 'static,
) {
    registry.register_collector(Box::new(StatisticsCollector(statistics)));
}

struct StatisticsCollector<F>(F);

impl<F> fmt::Debug for StatisticsCollector<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatisticsCollector").finish_non_exhaustive()
    }
}

impl<F: Fn() -> Statistics + Send + Sync + 'static> Collector for StatisticsCollector<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Statistics { delivery_times, state_age, skipped, subscriptions, behind } = (self.0)();
        let buckets: Vec<(f64, u64)> = delivery_times
            .buckets()
            .map(|(bound, count)| {
                // prometheus-client encodes `f64::MAX` as `+Inf`.
                (if bound == Duration::MAX { f64::MAX } else { bound.as_secs_f64() }, count)
            })
            .collect();
        let help = "Time from the publication of a state until a client had received it, of one session in 64";
        encoder
            .encode_descriptor("delivery", help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(
            delivery_times.sum().as_secs_f64(),
            delivery_times.count(),
            &buckets,
            None,
        )?;
        if let Some(age) = state_age {
            let gauge = ConstGauge::new(age.as_secs_f64());
            let help = "Time since a state was published last, or published again";
            let unit = Some(&Unit::Seconds);
            gauge.encode(encoder.encode_descriptor(
                "state_age",
                help,
                unit,
                gauge.metric_type(),
            )?)?;
        }
        let counter = ConstCounter::new(skipped);
        let help = "States that sessions skipped because their clients read slowly";
        counter.encode(encoder.encode_descriptor(
            "states_skipped",
            help,
            None,
            counter.metric_type(),
        )?)?;
        for (name, help, count) in [
            ("subscriptions", "Sessions that wait for states", subscriptions),
            ("subscriptions_behind", "Sessions that have not sent the newest state yet", behind),
        ] {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
