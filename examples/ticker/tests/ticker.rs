//! The ticker as a process, with clients.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tungstenite::{Message, connect};

/// A running ticker, and the reader of its log.
struct Ticker {
    process: Child,
    log: BufReader<ChildStderr>,
}

impl Ticker {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ticker"));
        command.args(["--listen=127.0.0.1:0", "--log-format=json"]).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        Self { process, log }
    }

    /// Waits until it listens, and returns the URL of its endpoint.
    fn url(&mut self) -> String {
        let lines = self.log.by_ref().lines().map(|line| serde_json::from_str(&line.unwrap()));
        let listening = lines.map(Result::<Value, _>::unwrap).find(|it| it["event"] == "listening");
        format!("ws://{}/ws/status", listening.unwrap()["address"].as_str().unwrap())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_client_receives_the_time_each_second_and_1001_on_shutdown() {
    let mut ticker = Ticker::start();
    let url = ticker.url();
    let (mut one, _) = connect(&url).unwrap();
    let (mut other, _) = connect(&url).unwrap();
    for client in [&mut one, &mut other] {
        let times: [u64; 4] = std::array::from_fn(|_| {
            let state: Value =
                serde_json::from_str(client.read().unwrap().to_text().unwrap()).unwrap();
            assert_eq!(state["status"], "well");
            state["unix_time"].as_u64().unwrap()
        });
        assert!(times.is_sorted() && times[3] > times[0], "{times:?}");
    }

    let process = Pid::from_child(&ticker.process);
    kill_process(process, Signal::TERM).unwrap();
    let close_frame = std::iter::from_fn(|| one.read().ok()).find_map(|message| match message {
        Message::Close(frame) => frame,
        _ => None,
    });
    assert_eq!(u16::from(close_frame.unwrap().code), 1001);
    drop((one, other));
    assert_eq!(ticker.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_client_that_has_a_state_is_sent_a_newer_one() {
    let mut ticker = Ticker::start();
    let url = ticker.url();
    let read = |query: &str| connect(format!("{url}{query}")).unwrap().0.read().unwrap();
    let first = read("?have=").to_string();
    let tag = first.strip_prefix("have=").unwrap().split('\n').next().unwrap();
    let next = read(&format!("?have={tag}")).to_string();
    assert!(next.starts_with("have=") && next != first, "{first} {next}");
    assert!(read("").to_text().unwrap().starts_with('{'));
}

#[test]
fn the_source_has_at_most_50_lines() {
    let source = include_str!("../src/main.rs");
    assert!(source.lines().count() <= 50);
}
