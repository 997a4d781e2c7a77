//! The lines of the log in both formats: their fields, and escaping of client text.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use rustix::process::Signal;
use support::process::{Process, documented, fields};
use support::{Client, PING, TEXT, UPGRADE, close, frame};

#[test]
fn each_line_of_the_log_has_its_fields() {
    let process = Process::start(&["--ping-interval-secs", "0.1"]);

    let mut refused = Client::connect(process.address);
    refused.request("GET /secret?token=secret HTTP/1.1\r\nHost: a\r\nOrigin: x\r\n\r\n");
    let line = process.event("refused");
    assert_eq!(fields(&line), documented("refused"));
    assert_eq!((&line["refusal"], &line["status"]), (&"not_found".into(), &404.into()));
    assert_eq!(line["peer"], refused.0.local_addr().unwrap().to_string());

    let mut client = Client::connect(process.address);
    let headers = "Host: a\r\nUser-Agent: \"quoted\" agent";
    assert_eq!(client.request(&UPGRADE.replace("Host: a", headers)).0, 101);
    let line = process.event("opened");
    assert_eq!(fields(&line), documented("opened"));
    assert_eq!((&line["id"], &line["origin"]), (&1.into(), &"".into()));
    assert_eq!(line["user_agent"], "\"quoted\" agent");
    assert_eq!(line["level"], "INFO");

    let (first, payload) = client.frame();
    assert_eq!(first, PING);
    client.send(&[frame(support::PONG, &payload), frame(TEXT, b"hello")].concat());
    client.send(&close(4001, "bye\n\x1b[31m"));
    let line = process.event("closed");
    assert_eq!(fields(&line), documented("closed"));
    assert_eq!(line["id"], 1);
    assert_eq!(line["cause"], "peer_closed");
    assert_eq!(line["code"], 4001);
    assert_eq!(line["reason"], "bye\n\x1b[31m");
    assert_eq!(line["clean"], true);
    assert_eq!(line["initiator"], "peer");
    assert_eq!(line["messages_in"], 1);
    assert_eq!(line["bytes_in"], 4 + 5 + 11);
    assert!(line["rtt_ms"].as_f64().unwrap() > 0.0);
    assert!(line["duration_ms"].as_f64().unwrap() > 80.0);

    drop(Client::open(process.address));
    let line = process.event("closed");
    assert_eq!((&line["cause"], &line["initiator"]), (&"disconnected".into(), &"none".into()));
    // No round trip was measured.
    assert!(!fields(&line).contains(&"rtt_ms"), "{line}");
}

#[test]
fn the_log_without_a_terminal_is_plain_text_without_colour() {
    let mut process = Process::spawn(&[]);
    let mut text = String::new();
    while !text.contains("event=\"listening\"") {
        text += &process.line();
    }
    let address = text.split(" address=\"").nth(1).unwrap().split('"').next().unwrap();
    let address = address.parse().unwrap();
    let mut client = Client::open(address);
    client.send(&close(1000, ""));
    let closed = process.log.iter().find(|line| line.contains("event=\"closed\"")).unwrap();
    assert!(!closed.contains("NaN") && !closed.contains("rtt_ms"), "{closed}");
    let mut client = Client::connect(address);
    let request = UPGRADE.replace("Host: a", "Host: a\r\nOrigin: https://a\u{9b}31m.example");
    assert_eq!(client.request(&request).0, 400);
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), 0);
    text.extend(process.log.iter());
    assert!(text.contains("origin=\"https://a\\u{9b}31m.example\""), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    assert!(text.contains("event=\"stopped\""), "{text}");
}
