//! The log of the binary while its standard error is not read.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{ChildStderr, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::process::{Process, documented, fields, server};
use support::{Client, PING, PONG, UPGRADE, frame};

/// Starts a server whose log is not read once it listens. Returns its admin address and the unread log,
/// too.
fn start_unread(flags: &[&str]) -> (Process, SocketAddr, BufReader<ChildStderr>) {
    let mut child = server()
        .args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--log-format=json"])
        .args(flags)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    // The process is killed when the test ends.
    let mut process = Process { child, log: mpsc::channel().1, address: ([0; 4], 0).into() };
    let mut admin = None;
    loop {
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        match line["event"].as_str().unwrap() {
            "starting" => admin = Some(line["admin"].as_str().unwrap().parse().unwrap()),
            "listening" => {
                process.address = line["address"].as_str().unwrap().parse().unwrap();
                return (process, admin.unwrap(), log);
            }
            _ => {}
        }
    }
}

/// Makes the server log more than a pipe and its queue hold, while it answers pings in time.
fn overflow_log(address: SocketAddr, admin: SocketAddr) {
    let mut healthy = Client::open(address);
    // The longest lines: escaping doubles each quote.
    let agent = format!("Host: a\r\nUser-Agent: {}", "\"".repeat(256));
    let request = UPGRADE.replace("Host: a", &agent);
    for _ in 0..5500 {
        assert_eq!(Client::connect(address).request(&request).0, 101);
        let sent = Instant::now();
        healthy.send(&frame(PING, b""));
        assert_eq!(healthy.frame(), (PONG, vec![]));
        assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
    }
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (_, _, metrics) = Client::connect(admin).request(request);
    let (_, rest) = metrics.rsplit_once("ws_status_log_lines_dropped_total ").unwrap();
    let dropped: u64 = rest.split_whitespace().next().unwrap().parse().unwrap();
    assert!(dropped > 0, "lines are dropped");
}

#[test]
fn an_unread_log_delays_neither_pongs_nor_the_end() {
    let (mut process, admin, _log) = start_unread(&["--control-frames-per-second=0"]);
    overflow_log(process.address, admin);
    process.signal(Signal::TERM);
    let begin = Instant::now();
    assert_eq!(process.exit_code(), 0);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn a_log_that_is_read_again_reports_dropped_lines_and_goes_on() {
    let (mut process, admin, log) = start_unread(&["--control-frames-per-second=0"]);
    overflow_log(process.address, admin);
    let (reported, later) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut dropped = None;
        for line in log.lines().map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).expect("a complete line");
            if line["event"] == "lines_dropped" {
                assert_eq!(fields(&line), documented("lines_dropped"));
                dropped = line["lines"].as_u64();
                let _ = reported.send(());
            }
            if line["event"] == "stopped" {
                return dropped;
            }
        }
        None
    });
    later.recv_timeout(Duration::from_secs(10)).unwrap();
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), 0);
    assert!(reader.join().unwrap() > Some(0));
}
