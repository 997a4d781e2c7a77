//! The metrics of states: their names, types and values.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod wake_count;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use broadcast::{Publisher, Topics};
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::registry::Registry;
use tokio::time::advance;
use transport::{Handler, Next};
use wake_count::ready;

fn scrape(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

/// Publishes until the session pings, and answers the ping after this time.
async fn deliver(publish: impl Fn(), session: &mut impl Handler, time: Duration) {
    for _ in 0..=64 {
        publish();
        assert!(matches!(ready(|cx| session.poll_next(cx)), Some(Next::SendPrepared(_))));
        if ready(|cx| session.poll_next(cx)).is_some() {
            advance(time).await;
            return session.pong();
        }
    }
    panic!("it never pings");
}

#[tokio::test(start_paused = true)]
async fn names_and_types_are_the_documented_ones() {
    let publisher = Publisher::new();
    let mut registry = Registry::default();
    publisher.register(registry.sub_registry_with_prefix("ws_status"));
    publisher.publish("state");
    let scraped = scrape(&registry);
    let types = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let document = std::fs::read_to_string(document).unwrap();
    let (_, section) = document.split_once("\n## Metrics of states\n").unwrap();
    let rows = section.lines().take_while(|line| !line.starts_with('#'));
    let documented = rows.filter_map(|row| {
        let (name, rest) = row.strip_prefix("| `")?.split_once("` | ")?;
        Some((name, rest.split(' ').next()?))
    });
    let documented: BTreeMap<&str, &str> = documented.collect();
    assert_eq!(types.collect::<BTreeMap<_, _>>(), documented);
}

#[tokio::test(start_paused = true)]
async fn the_values_are_the_statistics_at_the_time_of_the_scrape() {
    let publisher = Publisher::new();
    let mut registry = Registry::default();
    publisher.register(&mut registry);
    assert!(!scrape(&registry).contains("state_age"), "there is no state");
    let mut session = publisher.subscribe();
    deliver(|| publisher.publish("state"), &mut session, Duration::from_millis(1500)).await;
    (0..3).for_each(|_| publisher.publish("state"));
    let behind = scrape(&registry);
    assert!(behind.contains("\nsubscriptions_behind 1\n"), "{behind}");
    assert!(ready(|cx| session.poll_next(cx)).is_some());
    advance(Duration::from_millis(2500)).await;
    let scraped = scrape(&registry);
    for sample in [
        "delivery_seconds_bucket{le=\"1\"} 0",
        "delivery_seconds_bucket{le=\"2\"} 1",
        "delivery_seconds_bucket{le=\"+Inf\"} 1",
        "delivery_seconds_sum 1.5",
        "delivery_seconds_count 1",
        "state_age_seconds 2.5",
        "states_skipped_total 2",
        "subscriptions 1",
        "subscriptions_behind 0",
    ] {
        let is_there = scraped.lines().any(|line| line.replace(".0\"", "\"") == sample);
        assert!(is_there, "{sample}\n{scraped}");
    }
}

#[tokio::test(start_paused = true)]
async fn topics_have_one_set_of_metrics() {
    let topics: Topics<u8> = Topics::new();
    let mut registry = Registry::default();
    topics.register(&mut registry);
    let mut sessions = [topics.subscribe(0), topics.subscribe(1)];
    for (topic, session) in (0..).zip(&mut sessions) {
        deliver(|| topics.publish(&topic, "state"), session, Duration::ZERO).await;
    }
    let scraped = scrape(&registry);
    assert!(scraped.contains("\ndelivery_seconds_count 2\n"), "{scraped}");
    assert!(scraped.contains("\nsubscriptions 2\n"), "{scraped}");
}
