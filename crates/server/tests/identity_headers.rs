//! The headers in which a trusted proxy names the user of a request, and the end of the user's permission.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use support::process::{Process, server, startup_error};
use support::protocols::{self, Protocol};
use support::raw_http2::{CONNECT, Http2};
use support::server::Server;
use support::{CLOSE, Client, PING, PONG, UPGRADE, close_payload, frame, upgrade_with};

const IDENTITY: &str = "--identity-header=X-User";
const EXPIRES: &str = "--expires-header=X-Until";
const TRUSTED: &str = "--trusted-proxies=127.0.0.1";
const UNTRUSTED: &str = "--trusted-proxies=192.0.2.1";

/// The year 2100.
const FUTURE: &str = "4102444800";

/// Sends a handshake with these lines, which need not be text. Returns the status, and the body.
fn handshake(server: &Server, lines: &[&[u8]]) -> (u16, String) {
    let (line, rest) = UPGRADE.split_once("\r\n").unwrap();
    let lines: Vec<u8> = lines.iter().flat_map(|line| [line, &b"\r\n"[..]].concat()).collect();
    let mut client = Client::connect(server.address);
    client.send(&[line.as_bytes(), b"\r\n", &lines, rest.as_bytes()].concat());
    let (status, _, body) = client.response();
    (status, body)
}

#[test]
fn a_trusted_proxy_names_the_user_over_every_protocol() {
    let server = protocols::start(&[TRUSTED, IDENTITY]);
    for (protocol, opened) in Protocol::ALL.into_iter().zip([101, 101, 200, 200]) {
        assert_eq!(protocol.handshake(&server, &[("x-user", "alice")]), opened, "{protocol:?}");
        assert_eq!(protocol.handshake(&server, &[]), 401, "{protocol:?}");
        let twice = [("x-user", "alice"), ("x-user", "alice")];
        assert_eq!(protocol.handshake(&server, &twice), 401, "{protocol:?}");
    }
    let process = Process::start(&[TRUSTED, IDENTITY]);
    for (identity, logged) in [("alice", "alice"), ("  alice\t", "alice"), ("José 7", "José 7")] {
        let mut client = Client::connect(process.address);
        assert_eq!(client.request(&upgrade_with(&[("x-user", identity)])).0, 101);
        assert_eq!(process.event("opened")["identity"], logged);
        drop(client);
        assert_eq!(process.event("closed")["identity"], logged);
    }
}

#[test]
fn a_trusted_proxy_on_a_unix_socket_names_the_user() {
    let path = std::env::temp_dir().join(format!("ws-status-identity-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let start = |trusted: &str| {
        let mut command = server();
        command.args([IDENTITY, trusted, "--log-format=json"]);
        command.arg(format!("--listen=unix:{}", path.display()));
        let process = Process::run(command);
        process.event("listening");
        process
    };
    let status = || {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(upgrade_with(&[("X-User", "alice")]).as_bytes()).unwrap();
        let mut status = [0; 12];
        client.read_exact(&mut status).unwrap();
        String::from_utf8(status[9..].to_vec()).unwrap()
    };
    let mut process = start("--trusted-proxies=unix");
    assert_eq!(status(), "101");
    assert_eq!(process.event("opened")["identity"], "alice");
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), 0);
    let _process = start(TRUSTED);
    assert_eq!(status(), "401");
}

#[test]
fn nobody_but_a_trusted_proxy_is_believed() {
    let server = Server::start(&[UNTRUSTED, IDENTITY]);
    for lines in [&[][..], &[&b"X-User: alice"[..]]] {
        let (status, body) = handshake(&server, lines);
        assert_eq!(status, 401);
        assert!(body.starts_with("unauthenticated: "), "{body}");
    }
    let server = Server::start(&[UNTRUSTED, EXPIRES]);
    assert_eq!(handshake(&server, &[b"X-Until: 4102444800"]).0, 401);
    let mut http2 = Http2::connect(server.address);
    assert_eq!(http2.request(&[CONNECT, &[("x-until", FUTURE)]].concat()), 401);
}

#[test]
fn a_client_behind_the_proxy_protocol_is_not_believed() {
    let flags = [TRUSTED, IDENTITY, "--proxy-protocol=optional"];
    let server = Server::start(&flags);
    let request = upgrade_with(&[("X-User", "admin")]);
    let mut behind = Client::connect(server.address);
    behind.send(b"PROXY TCP4 198.51.100.7 10.0.0.1 4000 80\r\n");
    assert_eq!(behind.request(&request).0, 401);
    // The proxy itself, without that header, is believed.
    assert_eq!(Client::connect(server.address).request(&request).0, 101);
}

#[test]
fn a_header_that_names_no_single_user_is_refused() {
    let server = Server::start(&[TRUSTED, IDENTITY]);
    let long = |length| ["X-User: ".to_owned(), "x".repeat(length)].concat().into_bytes();
    let (longest, too_long) = (long(256), long(257));
    assert_eq!(handshake(&server, &[&longest]).0, 101);
    for lines in [
        &[][..],
        &[&b"X-User:"[..]],
        &[b"X-User: \t "],
        &[&too_long],
        &[b"X-User: \xff\xfe"],
        &[b"X-User: alice", b"X-User: bob"],
        &[b"X-User: alice", b"x-user:"],
        &[b"X-Other: alice"],
    ] {
        let (status, body) = handshake(&server, lines);
        assert_eq!(status, 401, "{lines:?}");
        assert!(body.starts_with("unauthenticated: "), "{body}");
    }
    // Control characters are not valid in any header (RFC 9110, section 5.5).
    assert_eq!(handshake(&server, &[b"X-User: a\x1bb"]).0, 400);
}

#[test]
fn a_permission_that_has_ended_opens_a_session_that_says_so() {
    let process = Process::start(&[TRUSTED, IDENTITY, EXPIRES]);
    for ended in ["0", "1", "1700000000"] {
        let mut client = Client::connect(process.address);
        let fields = [("X-User", "alice"), ("X-Until", ended)];
        assert_eq!(client.request(&upgrade_with(&fields)).0, 101);
        // A page cannot see a status, but it sees a close code.
        assert_eq!(client.frame(), (CLOSE, close_payload(3000, "expired")));
        drop(client);
        assert_eq!(process.event("closed")["cause"], "expired");
    }
}

#[test]
fn a_permission_of_centuries_is_valid_and_one_that_is_no_time_is_refused() {
    let server = Server::start(&[TRUSTED, EXPIRES]);
    for until in [FUTURE, "253402300799", "9000000000000000000"] {
        let mut client = Client::connect(server.address);
        assert_eq!(client.request(&upgrade_with(&[("X-Until", until)])).0, 101, "{until}");
        client.send(&frame(PING, b""));
        assert_eq!(client.frame(), (PONG, vec![]), "{until}");
    }
    for until in ["", "never", "-1", "1.5", "0x10", "18446744073709551615", "99999999999999999999"]
    {
        let line = format!("X-Until: {until}");
        assert_eq!(handshake(&server, &[line.as_bytes()]).0, 401, "{until}");
    }
    assert_eq!(handshake(&server, &[]).0, 401);
    assert_eq!(handshake(&server, &[b"X-Until: 4102444800", b"X-Until: 1"]).0, 401);
}

#[test]
fn a_header_that_nobody_may_set_stops_the_start() {
    for (flag, key) in [(IDENTITY, "identity_header"), (EXPIRES, "expires_header")] {
        let mut command = server();
        command.arg(flag);
        let (code, message) = startup_error(command);
        assert_eq!(code, 2);
        assert!(message.starts_with(&format!("{key} is ")), "{message}");
        assert!(message.ends_with(
            "it requires trusted_proxies or auth_url; without them no client could connect"
        ));
    }
}

#[test]
fn an_identity_cannot_break_a_log_line_in_either_format() {
    // Next line, line separator, a change of the direction of text, an escape sequence in UTF-8, quotes.
    let identity = "a\u{85}b\u{2028}c\u{202e}d\u{9b}31m\" level=\"ERROR\\\t=e";
    let request = upgrade_with(&[("X-User", identity)]);

    let json = Process::start(&[TRUSTED, IDENTITY]);
    assert_eq!(Client::connect(json.address).request(&request).0, 101);
    // Its lines are read up to `\n`.
    assert_eq!(json.event("opened")["identity"], identity);

    let text = Process::spawn(&[TRUSTED, IDENTITY]);
    let address = loop {
        let line = text.line();
        if let Some((_, address)) = line.split_once("event=\"listening\" address=\"") {
            break address.trim_end_matches('"').parse().unwrap();
        }
    };
    assert_eq!(Client::connect(address).request(&request).0, 101);
    let line = std::iter::repeat_with(|| text.line()).find(|it| it.contains("opened")).unwrap();
    assert!(!line.contains(char::is_control) && !line.contains(['\u{2028}', '\u{202e}']), "{line}");
    let escaped = r#"identity="a\u{85}b\u{2028}c\u{202e}d\u{9b}31m\" level=\"ERROR\\\t=e""#;
    assert!(line.contains(escaped), "{line}");
}
