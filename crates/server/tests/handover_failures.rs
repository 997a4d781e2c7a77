//! Handovers that fail: the predecessor goes on as if nothing had been.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::Instant;

use rustix::process::{Signal, geteuid};
use serde_json::{Value, json};
use support::handover::{Generation, Generations, ends};
use support::process::startup_error;
use support::raw_handover::{Channel, FromPredecessor, PROTOCOL, header, hello};
use support::{CLOSE, Client, PING, PONG, close, frame};

/// Checks that the session goes on, and then over to a proper successor.
fn expect_proper_handover(generations: &Generations, first: Generation, mut session: Client) {
    session.exchange_ping();
    let second = generations.take_over();
    session.exchange_ping();
    session.close();
    assert_eq!(ends(&[first.end(), second.stop()]).len(), 1);
}

#[test]
fn a_successor_with_an_invalid_setting_ends_before_it_connects() {
    let generations = Generations::new("invalid", &[]);
    let first = generations.start();
    let mut session = first.open();
    let (code, message) = startup_error(generations.successor(&["--max-connections=none"]));
    assert_eq!(code, 2, "{message}");
    session.exchange_ping();
    session.close();
    let log = first.stop();
    assert!(!log.iter().any(|line| line["event"].as_str().unwrap().contains("handover")));
}

#[test]
fn a_successor_that_finds_no_predecessor_says_where() {
    let generations = Generations::new("nobody", &[]);
    let path = generations.path("takeover");
    let expected =
        |problem: &str| format!("cannot take over from unix:{}: {problem}", path.display());
    let missing = "No such file or directory (os error 2)";
    assert_eq!(startup_error(generations.successor(&[])), (1, expected(missing)));
    // A file that a killed process has left.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let refused = "Connection refused (os error 111)";
    assert_eq!(startup_error(generations.successor(&[])), (1, expected(refused)));
}

#[test]
fn a_successor_may_listen_on_other_addresses() {
    let generations = Generations::new("elsewhere", &[]);
    let first = generations.start();
    let old = first.process.address;
    let mut session = first.open();
    let second = Generation::start(generations.successor(&["--listen=127.0.0.2:0"]));
    first.end();
    assert_ne!(second.process.address, old);
    assert_eq!(TcpStream::connect(old).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    session.exchange_ping();
    second.open().close();
    assert!(!generations.path("public").exists(), "nobody listens there any more");
}

#[test]
fn a_process_of_another_user_gets_nothing() {
    if !geteuid().is_root() {
        let _ = writeln!(io::stderr(), "a_process_of_another_user is skipped: it requires root");
        return;
    }
    let generations = Generations::new("user", &[]);
    let first = generations.start();
    let session = first.open();
    let path = generations.path("takeover");
    let start = || {
        let mut command = generations.successor(&[]);
        command.uid(65_534);
        command
    };
    if let Err(error) = start().arg("--version").output() {
        let _ = writeln!(io::stderr(), "a_process_of_another_user is skipped: {error}");
        return;
    }
    let (code, message) = startup_error(start());
    assert_eq!(code, 1);
    assert!(message.ends_with("Permission denied (os error 13)"), "{message}");
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let (code, message) = startup_error(start());
    assert_eq!(code, 1);
    assert!(message.ends_with("runs as user 0, and this process as user 65534"), "{message}");
    expect_proper_handover(&generations, first, session);
}

#[test]
fn a_successor_with_another_version_of_the_protocol_is_told_so() {
    let generations = Generations::new("version", &[]);
    let first = generations.start();
    let session = first.open();
    let mut raw = Channel::connect(&generations.path("takeover"));
    raw.send(&hello(PROTOCOL + 1));
    let expected = "the successor has version 2 of the protocol, and this process version 1";
    match raw.receive() {
        Some((FromPredecessor::Refused { reason }, _)) => assert_eq!(reason, expected),
        other => panic!("{other:?}"),
    }
    assert!(raw.receive().is_none());
    assert_eq!(first.event("handover_refused")["problem"], expected);
    expect_proper_handover(&generations, first, session);
}

#[test]
fn what_is_no_greeting_on_the_takeover_socket_changes_nothing() {
    let generations = Generations::new("garbage", &[]);
    let first = generations.start();
    let session = first.open();
    let valid = rmp_serde::to_vec_named(&hello(PROTOCOL)).unwrap();
    for bytes in [
        b"".to_vec(),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        header(1, 0)[..5].to_vec(),
        [header(valid.len(), 0), valid[..20].to_vec()].concat(),
        [header(valid.len(), 1), valid.clone()].concat(),
        [header(20, 0), valid[..20].to_vec()].concat(),
        header(0, 0),
        vec![0xff; 8],
        [header((4 << 20) + 1, 0), vec![0; 1000]].concat(),
        [header(6, 0), b"\xa5Ready".to_vec()].concat(),
        [header(6, 0), b"\xa5Taken".to_vec()].concat(),
    ] {
        let mut raw = Channel::connect(&generations.path("takeover"));
        raw.send_bytes(&bytes);
        raw.0.shutdown(std::net::Shutdown::Write).unwrap();
        first.event("handover_refused");
    }
    expect_proper_handover(&generations, first, session);
}

#[test]
fn a_successor_that_says_what_has_no_meaning_is_given_up() {
    let generations = Generations::new("nonsense", &[]);
    let first = generations.start();
    let mut session = first.open();
    for messages in [
        &[][..],
        &[hello(PROTOCOL)],
        &[json!({ "Refusing": { "indices": [0, u32::MAX] } })],
        &["Taken".into()],
        &["Serving".into(), "Welcome".into()],
        &["Ready".into(), "Nonsense".into()],
        &["Ready".into(), hello(PROTOCOL)],
        &["Ready".into()],
    ] {
        let (mut raw, _pipe) = Channel::greet(&generations.path("takeover"));
        messages.iter().for_each(|message: &Value| raw.send(message));
        raw.0.shutdown(std::net::Shutdown::Write).unwrap();
        let line = first.event("handover_revoked");
        assert_ne!(line["problem"], "", "{messages:?}");
        session.exchange_ping();
    }
    expect_proper_handover(&generations, first, session);
}

#[test]
fn sessions_that_a_silent_successor_had_answer_what_came_meanwhile() {
    let generations = Generations::new("silent", &[]);
    let first = generations.start();
    let mut session = first.open();
    session.exchange_ping();
    let (mut raw, pipe, _) = Channel::receive_sessions(&generations.path("takeover"), 1);
    let sealed = Instant::now();
    let mut waiting = Client::connect(first.process.address);
    for payload in [b"one", b"two"] {
        session.send(&frame(PING, payload));
    }
    assert_eq!(session.frame(), (PONG, b"one".to_vec()));
    let paused = sealed.elapsed();
    assert!((700..3000).contains(&paused.as_millis()), "{paused:?}");
    assert_eq!(session.frame(), (PONG, b"two".to_vec()));
    // What the successor has is revoked, and too late to be taken.
    let mut byte = [0];
    std::fs::File::from(pipe).read_exact(&mut byte).unwrap();
    let mut late = io::Write::write(&mut raw.0, &[0]);
    if late.is_ok() {
        // The connection may be closed between two writes.
        late = io::Write::write(&mut raw.0, &[0]);
    }
    assert_eq!(late.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    while first.event("handover_revoked")["problem"] != "the successor does not answer" {}
    // Connections have waited, and none was refused.
    assert_eq!(waiting.request(support::UPGRADE).0, 101);
    waiting.close();
    first.event("closed");
    session.exchange_ping();
    let second = generations.take_over();
    session.exchange_ping();
    session.close();
    assert_eq!(ends(&[first.end(), second.stop()]).len(), 2);
}

#[test]
fn sessions_that_the_successor_refuses_are_drained_by_its_settings() {
    let generations = Generations::new("refused", &["--drain-close-code=1001"]);
    let first = generations.start();
    let mut clients: Vec<Client> = (0..20).map(|_| first.open()).collect();
    clients.iter_mut().for_each(Client::exchange_ping);
    let (mut raw, _pipe, _) = Channel::receive_sessions(&generations.path("takeover"), 20);
    let indices: Vec<usize> = (0..20).collect();
    raw.send(&json!({ "Refusing": { "indices": indices } }));
    raw.send(&"Taken");
    raw.send(&"Serving");
    for client in &mut clients {
        let (CLOSE, payload) = client.frame() else { panic!("it is a Close") };
        assert_eq!(payload[..2], 1012_u16.to_be_bytes());
        let reason = String::from_utf8(payload[2..].to_vec()).unwrap();
        let retry: u64 = reason.strip_prefix("drained retry=").unwrap().parse().unwrap();
        assert!(retry <= 60_000, "{retry}");
        client.send(&close(1012, ""));
        client.expect_end();
    }
    let line = first.event("handed_over");
    assert_eq!((&line["sessions"], &line["refused"]), (&0.into(), &20.into()));
    let ends = ends(&[first.end()]);
    assert_eq!(ends.len(), 20);
    assert!(ends.values().all(|end| end["cause"] == "drained" && end["clean"] == true));
}

#[test]
fn a_signal_after_the_batch_is_sealed_lets_it_be_taken() {
    let generations = Generations::new("term-taken", &[]);
    let first = generations.start();
    let mut session = first.open();
    session.exchange_ping();
    let (mut raw, _pipe, batch) = Channel::receive_sessions(&generations.path("takeover"), 1);
    first.process.signal(Signal::TERM);
    raw.send(&"Taken");
    raw.send(&"Serving");
    let log = first.end();
    assert!(log.iter().any(|line| line["event"] == "handed_over" && line["sessions"] == 1));
    assert!(!log.iter().any(|line| line["event"] == "closed"));
    // The session is the test's, and its connection is as it was.
    let descriptor = &batch[0].1;
    session.send(&frame(PING, b""));
    let mut bytes = [0; 6];
    let mut taken = TcpStream::from(descriptor.try_clone().unwrap());
    taken.set_nonblocking(false).unwrap();
    taken.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes[..2], [PING, 0x80]);
    drop((taken, batch));
    session.expect_disconnect();
}

#[test]
fn a_signal_during_a_handover_that_fails_drains_by_the_settings_of_the_process() {
    let generations = Generations::new("term-revoked", &[]);
    let first = generations.start();
    let mut session = first.open();
    session.exchange_ping();
    let (raw, _pipe, _) = Channel::receive_sessions(&generations.path("takeover"), 1);
    first.process.signal(Signal::TERM);
    drop(raw);
    session.answer_drain();
    let ends = ends(&[first.end()]);
    assert_eq!((&ends[&1]["cause"], &ends[&1]["clean"]), (&"drained".into(), &true.into()));
    assert!(!generations.path("takeover").exists());
}
