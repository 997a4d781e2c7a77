//! The binary: exit codes, the JSON document, and where its output goes.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::process::{Command, Output};

use serde_json::Value;
use support::{Server, answering};

fn doctor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doctor")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn a_wrong_command_line_exits_with_2_and_says_why() {
    for (arguments, problem) in [
        (&[][..], "<URL>"),
        (&["status.example.com"], "it must be a URL such as wss://"),
        (&["ws://user@host"], "it must be a URL such as wss://"),
        (&["ws://host", "--timeout-secs", "0"], "above 0"),
        (&["ws://host", "--header", "no colon"], "it must be a header"),
        (&["ws://host", "--header", "A: b\r\nC: d"], "it must be a header"),
        (&["ws://host", "--origin", "a\nb"], "it must be an origin"),
        (&["ws://host", "--frobnicate"], "--frobnicate"),
    ] {
        let output = doctor(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(problem), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_names_the_exit_codes() {
    let output = doctor(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("Exit codes: 0"), "{}", text(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_document_has_the_findings_and_nothing_else_is_on_standard_output() {
    let server = Server::start(&[]);
    let url = server.url();
    let output = tokio::task::spawn_blocking(move || doctor(&[&url, "--json"])).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["url"], format!("{}/ws/status", server.url()));
    assert_eq!(document["exit_code"], 0);
    assert_eq!(document["severity"], "note");
    assert_eq!(document["not_examined"].as_array().unwrap().len(), 0);
    let findings = document["findings"].as_array().unwrap();
    let ping = findings.iter().find(|it| it["finding"] == "pings_answered").unwrap();
    assert_eq!(ping["question"], "ping");
    assert_eq!(ping["severity"], "ok");
    assert!(ping["measured"]["ping_min_ms"].as_f64().unwrap() > 0.0);
    assert!(text(&output.stderr).contains("sending pings"), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_exits_with_3_and_the_lines_of_the_proxy_that_answers_come_first() {
    let url = answering("HTTP/1.1 404 Not Found\r\nServer: Caddy\r\n\r\n").await;
    let output = tokio::task::spawn_blocking(move || doctor(&[&url, "--json"])).await.unwrap();
    assert_eq!(output.status.code(), Some(3));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failure = document["findings"].as_array().unwrap().last().unwrap();
    assert_eq!(failure["finding"], "not_forwarded");
    assert_eq!(failure["remedies"][0]["where"], "Caddy");
    assert!(failure["remedies"][0]["line"].as_str().unwrap().contains("reverse_proxy /ws/status"));
    assert_eq!(document["not_examined"][0], "http2");
}
