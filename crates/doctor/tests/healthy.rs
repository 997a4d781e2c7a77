//! The server as it is meant to be: nothing is worse than a note.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use doctor::Severity;
use support::{Gateway, Server, examine, expect_healthy, finding};

const ORIGIN: &str = "https://app.example.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_anything_in_front_has_nothing_wrong() {
    let server = Server::start(&["--allowed-origins", ORIGIN]);
    let report =
        examine(&server.url(), &["--origin", ORIGIN, &server.admin_option(), "--idle-secs=1"])
            .await;
    expect_healthy(&report);
    assert_eq!(report.exit_code(), 0);
    assert!(report.unanswered().is_empty(), "{}", report.text());
    for word in [
        "connected",
        "admin_read",
        "upgraded",
        "origin_admitted",
        "foreign_refused",
        "host_unchanged",
        "pings_answered",
        "forwarded_at_once",
        "close_echoed",
        "close_reason_arrives",
        "address_seen",
        "address_not_forged",
        "server_pings",
        "stays_open",
    ] {
        assert_eq!(finding(&report, word).severity, Severity::Ok, "{}", report.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_passes_everything_on_has_nothing_wrong() {
    let server = Server::start(&[]);
    let url = Gateway::PLAIN.start(server.address).await;
    let report = examine(&url, &[]).await;
    expect_healthy(&report);
    // Without an admin listener the address is not known, and the report says how to find out.
    let it = finding(&report, "address_unknown");
    assert!(
        report.remedies(it).iter().any(|(_, line)| line.contains("--admin")),
        "{}",
        report.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_origin_is_tried_where_the_settings_allow_it() {
    let server = Server::start(&["--allowed-origins", "self"]);
    let report = examine(&server.url(), &[&server.admin_option()]).await;
    expect_healthy(&report);
    assert!(finding(&report, "host_unchanged").sentence.contains("\"self\""));
}
