//! The handover to a successor process: what goes on, and what the successor knows of it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use support::admin::wait_until;
use support::handover::{Generation, Generations, ends, open_session};
use support::load::Load;
use support::notify::NotifySocket;
use support::process::server;
use support::{CLOSE, Client, TEXT, close_payload, frame, upgrade_with};

/// The socket files of each process.
const FILES: [&str; 3] = ["admin", "public", "takeover"];

#[test]
fn sessions_go_on_in_three_successors_while_clients_connect() {
    let generations = Generations::new("three", &[]);
    let inodes = || FILES.map(|name| fs::metadata(generations.path(name)).unwrap().ino());
    let mut current = generations.start();
    let address = current.process.address;
    let mut tcp = current.open();
    let mut unix = open_session(&generations.path("public"));
    tcp.exchange_ping();
    unix.exchange_ping();
    let began = Instant::now();
    let files = inodes();
    let load = Load::start(address);
    let mut logs = Vec::new();
    for _ in 0..3 {
        for message in ["to the predecessor", "and again"] {
            tcp.send(&frame(TEXT, message.as_bytes()));
        }
        tcp.exchange_ping();
        unix.exchange_ping();
        let opened = load.opened();
        let next = generations.take_over();
        assert_eq!(next.process.address, address);
        tcp.exchange_ping();
        unix.exchange_ping();
        wait_until("clients connect to the successor", || load.opened() > opened + 50);
        logs.push(std::mem::replace(&mut current, next).end());
        assert_eq!(inodes(), files, "the predecessor removes no file of the successor");
    }
    load.expect_no_failure(150);
    let lived = began.elapsed();
    tcp.close();
    unix.close();
    logs.push(current.stop());
    for name in FILES {
        assert!(!generations.path(name).exists(), "{name}");
    }
    let ends = ends(&logs);
    let of_tcp = &ends[&1];
    // Six messages, seven pings and a Close.
    let bytes = 3 * ("to the predecessor".len() + "and again".len()) + 7 * "a payload".len() + 2;
    assert_eq!((&of_tcp["messages_in"], &of_tcp["bytes_in"]), (&6.into(), &bytes.into()));
    for id in [1, 2] {
        assert_eq!(ends[&id]["cause"], "peer_closed");
        let duration = Duration::from_secs_f64(ends[&id]["duration_ms"].as_f64().unwrap() / 1e3);
        assert!(duration >= lived, "{duration:?} of {lived:?}");
    }
}

#[test]
fn the_successor_shows_the_sessions_that_it_has_taken_over() {
    let flags = ["--connection-table=true", "--allowed-origins=https://app.example"];
    let generations = Generations::new("shown", &flags);
    let first = generations.start();
    assert_eq!(generations.get_json("/drain")["handover"], serde_json::Value::Null);
    let began = Instant::now();
    let mut page = Client::connect(first.process.address);
    let request = upgrade_with(&[("Origin", "https://app.example")]);
    assert_eq!(page.request(&request).0, 101);
    let _unix = open_session(&generations.path("public"));
    let opened = Instant::now();
    page.send(&frame(TEXT, b"seven b"));
    page.exchange_ping();
    let peer = page.0.local_addr().unwrap().to_string();

    let pid = first.process.child.id();
    let second = generations.take_over();
    let log = first.end();
    let completed = log.iter().find(|line| line["event"] == "handed_over").unwrap();
    assert_eq!((&completed["sessions"], &completed["left"]), (&2.into(), &0.into()));
    assert_eq!(completed["successor"], second.process.child.id());
    let line = second.event("taken_over");
    assert_eq!((&line["sessions"], &line["predecessor"]), (&2.into(), &pid.into()));

    let metrics = generations.metrics();
    for (name, value) in [
        ("connections", 2.0_f64),
        ("sessions", 2.0),
        ("sessions_opened_total", 0.0),
        ("sessions_taken_over_total", 2.0),
        ("sessions_handed_over_total", 0.0),
        ("handovers_total{result=\"completed\"}", 1.0),
        ("handovers_total{result=\"revoked\"}", 0.0),
    ] {
        assert_eq!(metrics[name].to_bits(), value.to_bits(), "{name}");
    }
    let connections = generations.get_json("/connections");
    assert_eq!(connections["total"], 2);
    let [row, unix] = &connections["connections"].as_array().unwrap()[..] else { panic!() };
    assert_eq!((&row["id"], &unix["id"]), (&1.into(), &2.into()));
    assert_eq!((&row["peer"], &row["origin"]), (&peer.into(), &"https://app.example".into()));
    assert_eq!((&row["messages_in"], &row["bytes_in"]), (&1.into(), &16.into()));
    let age = Duration::from_secs_f64(row["age_ms"].as_f64().unwrap() / 1e3);
    assert!(age <= began.elapsed() && age + Duration::from_millis(5) > opened.elapsed(), "{age:?}");
    assert_eq!((&unix["peer"], &unix["origin"]), (&"unix".into(), &"".into()));

    let drain = generations.get_json("/drain");
    assert_eq!((&drain["state"], &drain["open"]), (&"ready".into(), &2.into()));
    let handover = &drain["handover"];
    assert_eq!((&handover["role"], &handover["state"]), (&"successor".into(), &"completed".into()));
    assert_eq!((&handover["sessions"], &handover["refused"]), (&2.into(), &0.into()));
    assert_eq!((&handover["pid"], &handover["predecessor_open"]), (&pid.into(), &0.into()));
    page.close();
    assert_eq!(second.event("closed")["id"], 1);
    let new = second.open();
    assert!(second.event("opened")["id"].as_u64().unwrap() > 2);
    drop(new);
}

#[test]
fn sessions_that_were_taken_over_count_for_the_limit_of_their_address() {
    let generations = Generations::new("limit", &["--max-connections-per-address=1"]);
    let first = generations.start();
    let mut session = first.open();
    let second = generations.take_over();
    // A session that was not at rest at once would follow after a moment.
    second.event("taken_over");
    let status = |source: [u8; 4]| {
        let mut client = Client::connect_from(IpAddr::from(source), second.process.address);
        client.request(&upgrade_with(&[])).0
    };
    assert_eq!(status([127, 0, 0, 1]), 429);
    assert_eq!(status([127, 0, 0, 2]), 101);
    session.exchange_ping();
    session.close();
    wait_until("the permit is released", || status([127, 0, 0, 1]) == 101);
    first.end();
}

#[test]
fn the_maximum_of_connections_includes_those_that_were_taken_over() {
    let generations = Generations::new("maximum", &["--max-connections=2"]);
    let first = generations.start();
    let sessions = [first.open(), first.open()];
    let second = generations.take_over();
    second.event("taken_over");
    let status = || Client::connect(second.process.address).request(&upgrade_with(&[])).0;
    assert_eq!(status(), 503);
    sessions.into_iter().for_each(Client::close);
    wait_until("the permits are released", || status() == 101);
    first.end();
}

#[test]
fn a_session_that_was_taken_over_is_still_its_users() {
    let flags = ["--trusted-proxies=127.0.0.1", "--identity-header=X-User"];
    let generations = Generations::new("identity", &flags);
    let first = generations.start();
    let open = |generation: &Generation, user: &str| {
        let mut client = Client::connect(generation.process.address);
        assert_eq!(client.request(&upgrade_with(&[("X-User", user)])).0, 101);
        client
    };
    let mut alice = open(&first, "alice");
    let mut bob = open(&first, "bob");
    let second = generations.take_over();
    first.end();
    let mut also_alice = open(&second, "alice");
    let request = "POST /disconnect?identity=alice&code=4001&reason=moved";
    let (status, body) = generations.admin(request);
    assert_eq!((status, body.trim_end()), (200, "{\"sessions\":2}"));
    for session in [&mut alice, &mut also_alice] {
        assert_eq!(session.frame(), (CLOSE, close_payload(4001, "moved")));
    }
    drop((alice, also_alice));
    let ends = [second.event("closed"), second.event("closed")];
    for end in &ends {
        assert_eq!(end["identity"], "alice");
        assert_eq!(end["cause"], "disconnect_requested");
    }
    bob.exchange_ping();
}

#[test]
fn a_permission_ends_in_the_successor_when_it_would_have_in_the_predecessor() {
    let flags = ["--trusted-proxies=127.0.0.1", "--expires-header=X-Until"];
    let generations = Generations::new("expiry", &flags);
    let first = generations.start();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    // Between one and two seconds from now.
    let end = Duration::from_secs(now.as_secs() + 2);
    let request = |until: u64| upgrade_with(&[("X-Until", &until.to_string())]);
    let mut client = Client::connect(first.process.address);
    assert_eq!(client.request(&request(end.as_secs())).0, 101);
    let second = generations.take_over();
    client.exchange_ping();
    assert_eq!(client.frame(), (CLOSE, close_payload(3000, "expired")));
    let late = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - end;
    assert!(late < Duration::from_millis(500), "{late:?}");
    drop(client);
    assert_eq!(second.event("closed")["cause"], "expired");
}

#[test]
fn the_successor_is_the_main_process_of_the_service() {
    let generations = Generations::new("notify", &[]);
    let (of_first, of_second) = (NotifySocket::new("first"), NotifySocket::new("second"));
    let mut command = server();
    command.args(generations.flags()).env("NOTIFY_SOCKET", of_first.path());
    let first = Generation::start(command);
    of_first.until("READY=1");
    let mut session = first.open();
    let mut command = generations.successor(&[]);
    command.env("NOTIFY_SOCKET", of_second.path());
    let second = Generation::start(command);
    let message = of_second.until(&format!("MAINPID={}", second.process.child.id()));
    assert!(message.contains("READY=1"), "{message}");
    session.exchange_ping();
    first.end();
    let of_first = of_first.rest();
    assert!(!of_first.iter().any(|it| it.contains("STOPPING")), "{of_first:?}");
    session.close();
    second.stop();
    of_second.until("STOPPING=1");
}

/// A process that no handle of the test process refers to.
struct Orphan(Option<Pid>);

impl Orphan {
    /// The successor that a process says it has started.
    fn of(generation: &Generation) -> Self {
        let pid = &generation.event("successor_started")["successor"];
        Self(Pid::from_raw(pid.as_i64().unwrap().try_into().unwrap()))
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.0.unwrap(), signal).unwrap();
    }

    fn stop(mut self) {
        self.signal(Signal::TERM);
        self.0 = None;
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[test]
fn sigusr2_starts_the_program_as_its_file_is_by_then() {
    let generations = Generations::new("sigusr2", &[]);
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replaced-server");
    let script = program.with_extension("new");
    let _ = fs::remove_file(&program);
    fs::hard_link(env!("CARGO_BIN_EXE_server"), &program).unwrap();
    let mut command = std::process::Command::new(&program);
    command.env_clear().args(generations.flags());
    let mut first = Generation::start(command);
    let mut session = first.open();

    let text = "#!/bin/sh\necho '{\"event\":\"replaced\"}' >&2\nexec \"$SERVER\" \"$@\"\n";
    fs::write(&script, text.replace("$SERVER", env!("CARGO_BIN_EXE_server"))).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&script, &program).unwrap();
    first.process.signal(Signal::USR2);
    // It has the same stderr, so its log follows.
    let second = Orphan::of(&first);
    first.event("replaced");
    first.event("taken_over");
    assert_eq!(first.process.exit_code(), 0);
    session.exchange_ping();

    second.signal(Signal::USR2);
    let third = Orphan::of(&first);
    first.event("taken_over");
    session.exchange_ping();
    session.close();
    third.stop();
    let log = first.rest();
    assert_eq!(ends(&[log]).len(), 1);
    assert!(!generations.path("takeover").exists());
    drop(second);
}

#[test]
fn sigusr2_without_a_takeover_listener_is_logged_and_changes_nothing() {
    let generations = Generations::new("no-listener", &["--takeover-listen=none"]);
    let first = generations.start();
    let mut session = first.open();
    first.process.signal(Signal::USR2);
    assert_eq!(first.event("successor_failed")["problem"], "takeover_listen is not set");
    session.exchange_ping();
    session.close();
    assert_eq!(ends(&[first.stop()]).len(), 1);
}
