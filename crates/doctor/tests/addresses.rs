//! Which address the server sees, by the table of its admin listener.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use doctor::Severity::{Failure, Note, Warning};
use support::{Gateway, Server, examine, expect_healthy, expect_only, finding};

const HEADER: [&str; 2] = ["--trusted-proxies=127.0.0.1", "--forwarded-header=x-forwarded-for"];
const CLIENT: &str = "--bind=127.0.0.77";

async fn through(request: fn(&str) -> String, flags: &[&str], options: &[&str]) -> doctor::Report {
    let server = Server::start(flags);
    let url = Gateway { request, ..Gateway::PLAIN }.start(server.address).await;
    examine(&url, &[&[&*server.admin_option()], options].concat()).await
}

fn named(head: &str) -> String {
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    lines.retain(|line| !line.starts_with("X-Forwarded-For"));
    lines.join("\r\n") + "\r\nX-Forwarded-For: 127.0.0.77\r\n\r\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_proxy_names_is_seen() {
    let report = through(named, &HEADER, &[CLIENT]).await;
    expect_healthy(&report);
    finding(&report, "address_seen");
    finding(&report, "address_not_forged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_that_does_not_name_its_clients_is_reported() {
    let drop = |head: &str| head.replace("X-Forwarded-For", "X-Dropped");
    for options in [&[CLIENT][..], &[]] {
        let report = through(drop, &HEADER, options).await;
        expect_only(
            &report,
            Warning,
            "address_of_proxy",
            "X-Forwarded-For $proxy_add_x_forwarded_for",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_passes_on_invented_addresses_is_a_failure() {
    let report = through(str::to_owned, &HEADER, &[CLIENT]).await;
    let it = finding(&report, "address_forged");
    assert_eq!(it.severity, Failure, "{}", report.text());
    assert!(report.text().contains("option forwardfor"), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_not_trusted_is_reported_with_the_setting() {
    let report = through(named, &[], &[CLIENT]).await;
    expect_only(&report, Warning, "address_of_proxy", "WS_STATUS_TRUSTED_PROXIES=127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_table_the_address_is_not_known() {
    let server = Server::start(&["--connection-table=false"]);
    let report = examine(&server.url(), &[&server.admin_option()]).await;
    expect_healthy(&report);
    assert_eq!(finding(&report, "no_connection_table").severity, Note);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_listener_that_does_not_answer_is_a_warning() {
    let server = Server::start(&[]);
    let report = examine(&server.url(), &["--admin=http://127.0.0.1:1"]).await;
    expect_only(&report, Warning, "admin_unreachable", "WS_STATUS_ADMIN_LISTEN");
    let other = format!("--admin=http://{}", server.address);
    let report = examine(&server.url(), &[&other]).await;
    expect_only(&report, Warning, "admin_unreachable", "WS_STATUS_ADMIN_LISTEN");
}
