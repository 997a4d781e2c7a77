//! The server for teams as a process, with clients.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Teams, close_frame, next_text};

#[test]
fn requests_are_answered_by_cookie_and_team() {
    let teams = Teams::start(&[]);
    let ada = &*teams.log_in("ada");
    let bob = &*teams.log_in("bob");
    let forged = "session=00000000000000000000000000000000";
    let cases = [
        (ada, "?team=red", 101, ""),
        (bob, "?team=blue", 101, ""),
        (bob, "", 400, "no_team"),
        (bob, "?team=", 400, "no_team"),
        ("", "?team=blue", 401, "no_session"),
        ("session=", "?team=blue", 401, "no_session"),
        (forged, "?team=blue", 401, "no_session"),
        (bob, "?team=red", 403, "not_in_team"),
        (bob, "?team=green", 404, "unknown_team"),
    ];
    for (cookie, query, status, word) in cases {
        let (response, _) = teams.handshake(cookie, query, None);
        let case = format!("{query} with {cookie:?}");
        assert_eq!(response.status().as_u16(), status, "{case}");
        assert!(response.body().starts_with(word), "{case}: {response:?}");
        // RFC 9110, section 15.5.2.
        let challenge = response.headers().get("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401, "{case}");
    }
}

#[test]
fn the_log_names_the_user_of_a_session_and_the_word_of_a_refusal() {
    let teams = Teams::start(&[]);
    let ada = teams.log_in("ada");
    let bob = teams.log_in("bob");
    drop(teams.connect(&ada, "?team=red"));
    assert_eq!(teams.log_line("opened")["identity"], "ada");
    assert_eq!(teams.log_line("closed")["identity"], "ada");
    teams.handshake(&bob, "?team=red", None);
    let refused = teams.log_line("refused");
    assert_eq!((&refused["denial"], &refused["status"]), (&"not_in_team".into(), &403.into()));
}

#[test]
fn teams_see_only_their_own_states() {
    let teams = Teams::start(&[]);
    let ada = teams.log_in("ada");
    assert_eq!(teams.post("/publish?team=red", "red 1").0, 204);
    let mut red = teams.connect(&ada, "?team=red");
    let mut blue = teams.connect(&ada, "?team=blue");
    assert_eq!(next_text(&mut red), "red 1");
    teams.post("/publish?team=blue", "blue 1");
    assert_eq!(next_text(&mut blue), "blue 1");
    teams.post("/publish?team=red", "red 2");
    assert_eq!(next_text(&mut red), "red 2");
    teams.post("/publish?team=blue", "blue 2");
    assert_eq!(next_text(&mut blue), "blue 2");
}

#[test]
fn a_logout_closes_all_sessions_of_the_user_and_no_other() {
    let teams = Teams::start(&[]);
    let [first, second] = [teams.log_in("ada"), teams.log_in("ada")];
    let bob = teams.log_in("bob");
    let mut red = teams.connect(&first, "?team=red");
    let mut blue = teams.connect(&second, "?team=blue");
    let mut other = teams.connect(&bob, "?team=blue");
    // A session that has sent a state is open.
    for (team, sessions) in [("red", vec![&mut red]), ("blue", vec![&mut blue, &mut other])] {
        teams.post(&format!("/publish?team={team}"), team);
        sessions.into_iter().for_each(|session| assert_eq!(next_text(session), team));
    }
    assert_eq!(teams.post("/logout?user=ada", ""), (200, "sessions that close: 2\n".to_owned()));
    for session in [red, blue] {
        assert_eq!(close_frame(session), (3000, "logout".to_owned()));
    }
    assert_eq!(teams.handshake(&first, "?team=red", None).0.status(), 401);
    teams.post("/publish?team=blue", "bob is here");
    assert_eq!(next_text(&mut other), "bob is here");
}

#[test]
fn a_logout_reaches_the_sessions_that_are_about_to_open() {
    let teams = Teams::start(&[]);
    let ada = teams.log_in("ada");
    thread::scope(|scope| {
        let handshake = || teams.handshake(&ada, "?team=red", None);
        let handshakes = [(); 20].map(|()| scope.spawn(handshake));
        assert_eq!(teams.post("/logout?user=ada", "").0, 200);
        for handshake in handshakes {
            match handshake.join().unwrap() {
                (_, Some(session)) => assert_eq!(close_frame(session), (3000, "logout".to_owned())),
                (refusal, None) => assert_eq!(refusal.status(), 401),
            }
        }
    });
}

#[test]
fn a_session_closes_when_its_login_expires() {
    let teams = Teams::start(&["--login-lifetime-secs=1"]);
    let ada = teams.log_in("ada");
    let session = teams.connect(&ada, "?team=red");
    assert_eq!(close_frame(session), (3000, "expired".to_owned()));
    assert_eq!(teams.handshake(&ada, "?team=red", None).0.status(), 401);
}

#[test]
fn a_subprotocol_is_selected_if_it_is_offered() {
    let teams = Teams::start(&[]);
    let ada = teams.log_in("ada");
    let cases = [
        (Some("status.v1"), Some("status.v1")),
        (Some("status.v2, status.v1"), Some("status.v1")),
        (None, None),
    ];
    for (offered, selected) in cases {
        let (response, _) = teams.handshake(&ada, "?team=red", offered);
        let header = response.headers().get("sec-websocket-protocol");
        assert_eq!(header.map(|it| it.to_str().unwrap()), selected, "of {offered:?}");
    }
}

#[test]
fn a_hundred_clients_do_not_wait_for_each_others_store_queries() {
    let teams = Teams::start(&[]);
    let ada = teams.log_in("ada");
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| teams.connect(&ada, "?team=red"));
        }
    });
    // One after the other they take 5 s.
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
}

#[test]
fn a_drain_refuses_the_handshakes_that_are_being_decided() {
    let mut teams = Teams::start(&[]);
    let ada = teams.log_in("ada");
    let request = format!(
        "GET /ws/status?team=red HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nCookie: {ada}\r\n\r\n"
    );
    // A connection is accepted when its first request has been answered.
    let streams = [(); 20].map(|()| {
        let mut stream = TcpStream::connect(teams.address()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 404 "));
        stream
    });
    for mut stream in &streams {
        stream.write_all(request.as_bytes()).unwrap();
    }
    teams.signal(Signal::TERM);
    for mut stream in streams {
        let mut response = String::new();
        let _ = stream.read_to_string(&mut response);
        // The body of the first response comes before it.
        assert!(response.contains("HTTP/1.1 503 "), "{response:?}");
    }
    assert_eq!(teams.exit_code(), 0);
}

/// Reads the head of a response.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn operations_answer_what_is_wrong_with_a_request() {
    let teams = Teams::start(&[]);
    assert_eq!(teams.post("/login?user=eve", ""), (404, "there is no such user\n".to_owned()));
    assert_eq!(teams.post("/login", "").0, 404);
    assert_eq!(teams.post("/publish?team=green", "x").0, 404);
    assert_eq!(teams.post("/publish", "x").0, 404);
    assert_eq!(teams.post("/publish?team=red", b"\xff").0, 400);
    assert_eq!(teams.post("/logout?user=eve", ""), (200, "sessions that close: 0\n".to_owned()));
}

#[test]
fn a_reload_changes_the_lifetime_of_later_logins() {
    let folder = std::env::temp_dir().join(format!("teams-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("teams.toml");
    std::fs::write(&file, "login_lifetime_secs = 60\n").unwrap();
    let teams = Teams::start(&[&format!("--config={}", file.display())]);
    assert!(teams.set_cookie("ada").ends_with("; Max-Age=60"));
    std::fs::write(&file, "login_lifetime_secs = 90\n").unwrap();
    teams.signal(Signal::HUP);
    assert_eq!(teams.log_line("reloaded")["changed"], "login_lifetime_secs");
    assert!(teams.set_cookie("ada").ends_with("; Max-Age=90"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_wrong_lifetime_is_refused_in_one_sentence() {
    let (code, output) = run(&["--check-config", "--login-lifetime-secs=0"]);
    let problem = "teams: login_lifetime_secs is \"0\" in the flag --login-lifetime-secs: ";
    assert_eq!(code, 2);
    assert!(output.starts_with(problem) && output.lines().count() == 1, "{output}");
}

#[test]
fn the_program_has_its_own_name_version_and_help() {
    let version = format!("teams {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]), (0, version));
    let (_, help) = run(&["--help"]);
    assert!(help.starts_with("A status server for teams"), "{help}");
    assert!(help.contains("Usage: teams") && help.contains("--login-lifetime-secs <SECONDS>"));
    assert!(run(&["--unknown"]).1.starts_with("teams: "));
}

/// Runs the program with these arguments, and returns its exit code and its output.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_teams")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn the_source_has_at_most_150_lines_of_code() {
    let source = include_str!("../src/main.rs");
    let lines = source.lines().map(str::trim_start);
    assert!(lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count() <= 150);
}
