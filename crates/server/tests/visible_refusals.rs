//! Refusals that a page can see, over every protocol, with the limits of the server and its log.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::admin::{ADMIN, scrape, wait_until};
use support::gatekeeper::Gatekeeper;
use support::process::Process;
use support::protocols::{self, Protocol};
use support::server::Server;
use support::{CLOSE, Client, PING, PONG, UPGRADE, close, close_payload, frame, upgrade_with};

const PAGES: &[&str] = &["--visible-refusals=true", "--allowed-origins=https://app.example"];

const PAGE: &[(&str, &str)] = &[("origin", "https://app.example")];

/// Opens a WebSocket of a page, and expects that it is closed.
fn expect_refusal(client: &mut Client, request: &str, code: u16, word: &str) {
    let (status, head, _) = client.request(request);
    assert_eq!(status, 101, "{head}");
    assert_eq!(client.frame(), (CLOSE, close_payload(code, word)));
    client.send(&close(code, ""));
    client.expect_end();
}

#[test]
fn a_page_sees_that_the_server_is_full_over_every_protocol() {
    let flags = [ADMIN, PAGES, &["--max-connections=1"]].concat();
    let server = protocols::start(&flags);
    let mut session = Client::open(server.address);
    for (protocol, status) in Protocol::ALL.into_iter().zip([101, 101, 200, 200]) {
        assert_eq!(protocol.handshake(&server, PAGE), status, "{protocol:?}");
        assert_eq!(protocol.handshake(&server, &[]), 503, "{protocol:?}");
        let foreign = [("origin", "https://other.example")];
        assert_eq!(protocol.handshake(&server, &foreign), 403, "{protocol:?}");
    }
    expect_refusal(
        &mut Client::connect(server.address),
        &upgrade_with(PAGE),
        1013,
        "connection_limit",
    );
    assert_eq!(server.refused("connection_limit"), 9.0);
    let metrics = scrape(&server);
    assert_eq!(metrics["ws_status_sessions_opened_total"], 1.0);
    assert_eq!(metrics["ws_status_sessions"], 1.0);
    // The session that fills the server goes on.
    session.send(&frame(PING, b"?"));
    assert_eq!(session.frame(), (PONG, b"?".to_vec()));
}

#[test]
fn a_page_sees_that_its_address_is_at_its_limit() {
    let server = Server::start(&[PAGES, &["--max-connections-per-address=1"]].concat());
    let _session = Client::open(server.address);
    let mut page = Client::connect(server.address);
    expect_refusal(&mut page, &upgrade_with(PAGE), 1013, "address_limit");
}

#[test]
fn a_page_sees_what_the_application_denies_and_releases_its_permit_at_once() {
    let flags = [ADMIN, PAGES, &["--max-connections=1"]].concat();
    let server = Server::start_with(Gatekeeper::new(), &flags);
    let request =
        |query: &str| upgrade_with(PAGE).replace("/ws/status", &format!("/ws/status?{query}"));
    let mut nobody = Client::connect(server.address);
    assert_eq!(nobody.request(&request("who=nobody")).0, 101);
    // While the refusal lasts, its place is free.
    wait_until("the permit is released", || scrape(&server)["ws_status_connections"] == 0.0);
    let mut alice = Client::connect(server.address);
    assert_eq!(alice.request(&request("who=alice")).0, 101);
    assert_eq!(nobody.frame(), (CLOSE, close_payload(3003, "is_nobody")));
    drop(alice);
    wait_until("the session has ended", || scrape(&server)["ws_status_connections"] == 0.0);
    expect_refusal(&mut Client::connect(server.address), &request(""), 3000, "no_name");
    assert_eq!(server.refused("application"), 2.0);
}

#[test]
fn a_page_sees_that_the_server_is_draining() {
    let flags = [PAGES, &["--close-timeout-secs=60", "--shutdown-grace-secs=60"]].concat();
    let mut process = Process::start(&flags);
    let mut session = Client::open(process.address);
    // It is accepted before the shutdown, and sends its request during it.
    let mut page = Client::connect(process.address);
    let (line, rest) = UPGRADE.split_once("Host: a\r\n").unwrap();
    page.send(line.as_bytes());
    process.event("opened");
    process.signal(Signal::TERM);
    assert_eq!(session.frame(), (CLOSE, close_payload(1001, "drained")));
    let rest = format!("Host: a\r\nOrigin: https://app.example\r\n{rest}");
    expect_refusal(&mut page, &rest, 1013, "draining");
    let line = process.event("refused");
    assert_eq!((&line["refusal"], &line["close_code"]), (&"draining".into(), &1013.into()));
    session.send(&close(1001, ""));
    session.expect_end();
    assert_eq!(process.exit_code(), 0);
    let rest: Vec<String> = process.log.iter().collect();
    assert!(!rest.iter().any(|line| line.contains("\"opened\"")), "{rest:?}");
}

#[test]
fn visible_refusals_of_clients_that_say_nothing_are_bounded_and_end() {
    let server = Server::start(&[ADMIN, PAGES, &["--max-connections=1"]].concat());
    let _session = Client::open(server.address);
    let request = upgrade_with(PAGE);
    let began = Instant::now();
    let mut visible = Vec::new();
    let mut responses = 0;
    for _ in 0..300 {
        let mut page = Client::connect(server.address);
        match page.request(&request).0 {
            101 => visible.push(page),
            503 => responses += 1,
            other => panic!("{other}"),
        }
    }
    // A second per 128 of them.
    let rounds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!(visible.len() <= 128 * rounds, "{} in {rounds}", visible.len());
    assert_eq!(visible.len() + responses, 300);
    for mut page in visible {
        assert_eq!(page.frame(), (CLOSE, close_payload(1013, "connection_limit")));
        page.expect_end();
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    expect_refusal(&mut Client::connect(server.address), &request, 1013, "connection_limit");
}

#[test]
fn sessions_are_told_to_come_back_at_an_even_rate() {
    let flags = ["--reconnect-spread-secs=60", "--shutdown-grace-secs=20"];
    let mut process = Process::start(&flags);
    let mut clients: Vec<Client> = (0..50).map(|_| Client::open(process.address)).collect();
    process.signal(Signal::TERM);
    assert_eq!(process.event("stopping")["reconnect_spread_ms"], 60_000.0);
    let mut times: Vec<u64> = Vec::new();
    for client in &mut clients {
        let (CLOSE, payload) = client.frame() else { panic!("it is a Close") };
        assert_eq!(payload[..2], 1001_u16.to_be_bytes());
        let reason = String::from_utf8(payload[2..].to_vec()).unwrap();
        times.push(reason.strip_prefix("drained retry=").unwrap().parse().unwrap());
        client.send(&close(1001, ""));
        client.expect_end();
        assert_eq!(process.event("closed")["reason"], reason);
    }
    assert_eq!(process.exit_code(), 0);
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.max().unwrap() <= 2_500 && times[0] <= 2_500, "{times:?}");
    assert!((57_500..=60_000).contains(&times[49]), "{times:?}");
}
