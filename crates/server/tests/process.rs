//! The binary as a process: signals, exit codes and resources.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde_json::Value;
use support::process::{Process, documented, fields};
use support::{Client, PING, PONG, close, frame};

#[test]
fn input_that_is_not_http_is_answered_and_logged() {
    let process = Process::start(&[]);
    // A TLS ClientHello, FTP, and random bytes.
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"USER ftp\r\n", b"\0\0\r\n\r\n"]
    {
        let mut client = Client::connect(process.address);
        client.send(bytes);
        assert_eq!(client.head().0, 400);
        client.expect_end();
        let line = process.event("refused");
        assert_eq!((&line["refusal"], &line["status"]), (&"malformed".into(), &400.into()));
    }
}

#[test]
fn a_client_within_its_rate_survives_a_stop_of_the_process() {
    let flags = ["--control-frames-per-second", "50", "--control-frame-burst", "10"];
    let process = Process::start(&flags);
    let mut client = Client::open(process.address);
    client.send(&frame(PING, b""));
    client.frame();
    process.signal(Signal::STOP);
    // The signal reaches one thread first, and the others run until then.
    let pid = Pid::from_child(&process.child);
    let stopped = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(stopped.1.stopped());
    for _ in 0..50 {
        client.send(&frame(PING, b"during the stop"));
    }
    // In real time, long enough that the rate limit allows this number of pings.
    thread::sleep(Duration::from_millis(1500));
    process.signal(Signal::CONT);
    for _ in 0..50 {
        assert_eq!(client.frame(), (PONG, b"during the stop".to_vec()));
    }
}

#[test]
fn sigterm_drains_with_exit_code_0_and_a_summary() {
    let mut process = Process::start(&["--close-timeout-secs", "0.2"]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::open(process.address)).collect();
    let _silent = Client::open(process.address);
    process.signal(Signal::TERM);
    for client in &mut clients {
        client.answer_drain();
    }
    let closed: Vec<Value> = (0..4).map(|_| process.event("closed")).collect();
    assert!(closed.iter().all(|line| line["cause"] == "drained" && line["code"] == 1001));
    assert!(closed.iter().all(|line| line["initiator"] == "server"));
    assert_eq!(closed.iter().filter(|line| line["clean"] == true).count(), 3);
    let line = process.event("stopped");
    assert_eq!(fields(&line), documented("stopped"));
    assert_eq!((&line["clean"], &line["timed_out"]), (&3.into(), &1.into()));
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn sigint_drains_as_well() {
    let mut process = Process::start(&[]);
    let mut client = Client::open(process.address);
    process.signal(Signal::INT);
    client.answer_drain();
    assert_eq!(process.event("stopped")["clean"], 1);
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut process =
            Process::start(&["--close-timeout-secs", "600", "--shutdown-grace-secs", "600"]);
        let _silent = Client::open(process.address);
        process.signal(Signal::TERM);
        process.event("stopping");
        process.signal(second);
        assert_eq!(process.exit_code(), code);
    }
}

#[test]
fn aborted_sessions_are_exit_code_3() {
    let mut process =
        Process::start(&["--close-timeout-secs", "600", "--shutdown-grace-secs", "0.2"]);
    let _silent = Client::open(process.address);
    process.signal(Signal::TERM);
    let line = process.event("closed");
    assert_eq!((&line["cause"], &line["clean"]), (&"drained".into(), &false.into()));
    assert_eq!(process.event("stopped")["aborted"], 1);
    assert_eq!(process.exit_code(), 3);
}

#[test]
fn a_server_without_sessions_stops_at_once() {
    let mut process = Process::start(&[]);
    process.signal(Signal::TERM);
    let line = process.event("stopped");
    assert!(line["duration_ms"].as_f64().unwrap() < 1000.0, "{line}");
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn the_server_listens_on_several_addresses() {
    let process = Process::start(&["--listen", "127.0.0.1:0, [::1]:0"]);
    let other = process.event("listening")["address"].as_str().unwrap().to_owned();
    for address in [process.address, other.parse().unwrap()] {
        Client::open(address).send(&close(1000, ""));
        process.event("closed");
    }
}

#[test]
fn a_server_without_file_descriptors_backs_off_and_recovers() {
    let mut command = Command::new("/bin/sh");
    command.env_clear().stdin(Stdio::null()).args([
        "-c",
        "ulimit -n 40; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_server"),
    ]);
    let flags = ["--max-connections=1000", "--admin-listen=127.0.0.1:0", "--log-format=json"];
    let mut process = Process::spawn_as(command, &flags);
    let admin: SocketAddr = process.event("starting")["admin"].as_str().unwrap().parse().unwrap();
    process.address = process.event("listening")["address"].as_str().unwrap().parse().unwrap();
    let many: Vec<Client> = (0..60).map(|_| Client::connect(process.address)).collect();
    let line = process.event("accept_failed");
    assert_eq!(line["level"], "WARN");
    drop(many);
    let mut client = Client::open(process.address);
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (_, _, metrics) = Client::connect(admin).request(request);
    assert!(!metrics.contains("ws_status_accept_failures_total 0"), "{metrics}");
    client.send(&frame(PING, b"here"));
    assert_eq!(client.frame(), (PONG, b"here".to_vec()));
    process.signal(Signal::TERM);
    client.answer_drain();
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn a_signal_after_a_drain_request_counts_as_the_first() {
    let flags = ["--admin-listen=127.0.0.1:0", "--close-timeout-secs=0.5"];
    let mut process = Process::spawn(&[&flags[..], &["--log-format=json"]].concat());
    let admin: SocketAddr = process.event("starting")["admin"].as_str().unwrap().parse().unwrap();
    process.address = process.event("listening")["address"].as_str().unwrap().parse().unwrap();
    let mut client = Client::open(process.address);
    let request = "POST /drain?code=1012 HTTP/1.1\r\nHost: localhost\r\nX-Drain: 1\r\n\r\n";
    assert_eq!(Client::connect(admin).request(request).0, 202);
    assert_eq!(fields(&process.event("drain_requested")), documented("drain_requested"));
    let line = process.event("stopping");
    assert_eq!(fields(&line), documented("stopping"));
    assert_eq!((&line["open"], &line["code"]), (&1.into(), &1012.into()));
    process.signal(Signal::TERM);
    assert_eq!(client.frame(), (support::CLOSE, support::close_payload(1012, "drained")));
    client.send(&close(1012, ""));
    assert_eq!(process.event("stopped")["clean"], 1);
    assert_eq!(process.exit_code(), 0);
}
