//! The example as a process, with a client and a publisher.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tungstenite::connect;

/// A running example, and the addresses of its endpoint and of its admin listener.
struct Publish {
    process: Child,
    address: String,
    admin: String,
}

impl Publish {
    fn start(options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_publish"));
        command.args(options);
        command.args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--log-format=json"]);
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()));
        let mut field = |event, name| {
            let line = lines.by_ref().map(Result::unwrap).find(|line| line["event"] == event);
            line.unwrap()[name].as_str().unwrap().to_owned()
        };
        let (admin, address) = (field("starting", "admin"), field("listening", "address"));
        Self { process, address, admin }
    }

    /// Publishes, and returns the status of the response.
    fn publish(&self, header: &str, state: &[u8]) -> u16 {
        self.publish_to("/publish", header, state)
    }

    fn publish_to(&self, target: &str, header: &str, state: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        let length = state.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{header}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A refusal of a long body may come before its end.
        let _ = stream.write_all(state);
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        str::from_utf8(&status).unwrap().strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap()
    }
}

impl Drop for Publish {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_client_receives_the_states_that_are_accepted_and_no_other() {
    let publish = Publish::start(&[]);
    let (mut client, _) = connect(format!("ws://{}/ws/status", publish.address)).unwrap();
    let longest = vec![b'x'; 1 << 20];
    assert_eq!(publish.publish("Origin: http://localhost\r\n", b"of a page"), 403);
    assert_eq!(publish.publish("", b"not UTF-8: \xff"), 400);
    assert_eq!(publish.publish("", &[&longest[..], b"x"].concat()), 413);
    for state in [&b"all is well"[..], b"", &longest] {
        assert_eq!(publish.publish("", state), 204);
        assert_eq!(client.read().unwrap().into_data(), state);
    }
}

#[test]
fn the_state_is_repeated_at_the_interval_of_the_heartbeat() {
    let publish = Publish::start(&["--heartbeat-secs=0.05"]);
    let (mut client, _) = connect(format!("ws://{}/ws/status", publish.address)).unwrap();
    for state in ["all is well", "all is still well"] {
        assert_eq!(publish.publish("", state.as_bytes()), 204);
        let mut repeated = 0;
        while repeated < 3 {
            let message = client.read().unwrap().into_text().unwrap();
            // The state before may have been repeated once more.
            repeated += usize::from(message == state);
        }
    }
}

#[test]
fn a_client_is_not_sent_again_what_it_has() {
    let publish = Publish::start(&[]);
    let connect =
        |query: &str| connect(format!("ws://{}/ws/status{query}", publish.address)).unwrap().0;
    assert_eq!(publish.publish("", b"all is well"), 204);
    let first = connect("?have=").read().unwrap().into_text().unwrap();
    let tag = first.strip_prefix("have=").and_then(|rest| rest.strip_suffix("\nall is well"));
    let mut client = connect(&format!("?have={}", tag.unwrap()));
    assert_eq!(publish.publish("", b"all is still well"), 204);
    let next = client.read().unwrap().into_text().unwrap();
    assert!(next.ends_with("\nall is still well"), "{next}");
    assert_eq!(connect("").read().unwrap().into_text().unwrap(), "all is still well");
}

#[test]
fn a_state_with_a_tag_is_not_sent_again_after_a_restart() {
    let connect = |publish: &Publish, query: &str| {
        connect(format!("ws://{}/ws/status{query}", publish.address)).unwrap().0
    };
    for _ in 0..2 {
        // Each is a process of its own, as before and after a restart.
        let publish = Publish::start(&[]);
        assert_eq!(publish.publish_to("/publish?tag=v7", "", b"all is well"), 204);
        let mut first = connect(&publish, "?have=");
        assert_eq!(first.read().unwrap().into_text().unwrap(), "have=v7\nall is well");
        let mut client = connect(&publish, "?have=v7");
        assert_eq!(publish.publish_to("/publish?tag=v8", "", b"all is still well"), 204);
        assert_eq!(client.read().unwrap().into_text().unwrap(), "have=v8\nall is still well");
        for query in ["tag=", "tag=a/b", "tga=v9", ""] {
            assert_eq!(publish.publish_to(&format!("/publish?{query}"), "", b"x"), 400, "{query}");
        }
    }
}

#[test]
fn the_metrics_say_how_current_the_clients_are() {
    let publish = Publish::start(&[]);
    let (mut client, _) = connect(format!("ws://{}/ws/status?have=", publish.address)).unwrap();
    let answered = || {
        let mut stream = TcpStream::connect(&publish.admin).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.contains("\nws_status_subscriptions 1\n"), "{text}");
        text.contains("\nws_status_delivery_seconds_count 1\n")
    };
    // In 64 states the session has a turn. The client answers the ping when it reads the next message.
    while !answered() {
        assert_eq!(publish.publish("", b"all is well"), 204);
        client.read().unwrap();
    }
}

#[test]
fn problems_begin_with_the_name_of_the_program() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_publish"));
    let output = command.arg("--admin=127.0.0.1:9001").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stderr.starts_with(b"publish: on the command line: there is no option"));
}
