//! Reloads of the settings by SIGHUP.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use server::Setting;
use support::load::Load;
use support::process::{Process, documented, fields, server};
use support::{CLOSE, Client, TEXT, UPGRADE, close, close_payload, document, frame, header};

/// A settings file that a test rewrites.
struct SettingsFile(PathBuf);

impl SettingsFile {
    fn new(name: &str, text: &str) -> Self {
        let file = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        // A pipe of an earlier run would block.
        let _ = fs::remove_file(&file.0);
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }

    fn flag(&self) -> String {
        format!("--config={}", self.0.display())
    }
}

/// The status of a handshake with an additional header line.
fn status(address: SocketAddr, line: &str) -> u16 {
    let line = if line.is_empty() { String::new() } else { format!("\r\n{line}") };
    let request = UPGRADE.replace("Host: a", &format!("Host: a{line}"));
    Client::connect(address).request(&request).0
}

#[test]
fn a_valid_reload_applies_to_new_sessions_and_running_ones_keep_their_settings() {
    let file = SettingsFile::new("good.toml", "allowed_origins = [\"https://a.example\"]");
    let process = Process::start(&[&file.flag()]);
    let mut before = Client::open(process.address);
    assert_eq!(status(process.address, "Origin: https://b.example"), 403);

    file.write(
        "allowed_origins = [\"https://b.example\"]\nmax_message_bytes = 2\nlog = \"info,server=debug\"",
    );
    process.signal(Signal::HUP);
    let line = process.event("reloaded");
    assert_eq!(fields(&line), documented("reloaded"));
    assert_eq!(line["changed"], "allowed_origins,max_message_bytes,log");

    assert_eq!(status(process.address, "Origin: https://a.example"), 403);
    assert_eq!(status(process.address, "Origin: https://b.example"), 101);
    let mut after = Client::open(process.address);
    after.send(&frame(TEXT, b"three"));
    assert_eq!(after.frame(), (CLOSE, close_payload(1009, "too_big")));
    before.send(&[frame(TEXT, b"three"), close(1000, "")].concat());
    assert_eq!(before.frame(), (CLOSE, close_payload(1000, "")));
}

#[test]
fn a_reload_decides_on_the_compression_of_new_sessions() {
    let file = SettingsFile::new("compression.toml", "");
    let process = Process::start(&[&file.flag()]);
    let offer = "Host: a\r\nUser-Agent: AppleWebKit/605.1.15\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    let answer = || {
        let (status, head, _) =
            Client::connect(process.address).request(&UPGRADE.replace("Host: a", offer));
        assert_eq!(status, 101, "{head}");
        let compression = process.event("opened")["compression"].as_str().map(str::to_owned);
        (header(&head, "sec-websocket-extensions").map(str::to_owned), compression)
    };
    assert_eq!(answer(), (None, None));
    let shared = "permessage-deflate; client_no_context_takeover";
    let fresh = format!("{shared}; server_no_context_takeover");
    for (settings, expected) in [
        ("compression = \"shared\"\ncompress_webkit = true", Some((shared, "shared"))),
        ("compression = \"fresh\"\ncompress_webkit = true", Some((&*fresh, "fresh"))),
        ("compression = \"fresh\"", None),
    ] {
        file.write(settings);
        process.signal(Signal::HUP);
        process.event("reloaded");
        let (header, compression) = answer();
        assert_eq!(header.as_deref().zip(compression.as_deref()), expected, "{settings}");
    }
}

#[test]
fn a_reload_is_warned_about_as_a_start_is() {
    let file = SettingsFile::new("warned.toml", "");
    let process = Process::start(&[&file.flag(), "--max-connections=100"]);
    file.write("ping_interval_secs = 40\ndrain_spread_secs = 60");
    process.signal(Signal::HUP);
    process.event("reloaded");
    assert_eq!(fields(&process.event("pings_too_rare")), documented("pings_too_rare"));
    process.event("grace_too_short");
}

#[test]
fn reloaded_limits_apply_at_once() {
    let file = SettingsFile::new("limits.toml", "max_connections = 1");
    let process = Process::start(&[&file.flag()]);
    let _first = Client::open(process.address);
    assert_eq!(status(process.address, ""), 503);
    file.write("max_connections = 2\nmax_connections_per_address = 2");
    process.signal(Signal::HUP);
    process.event("reloaded");
    let _second = Client::open(process.address);
    assert_eq!(status(process.address, ""), 503);
    file.write("max_connections = 10\nmax_connections_per_address = 1");
    process.signal(Signal::HUP);
    process.event("reloaded");
    assert_eq!(status(process.address, ""), 429);
}

#[test]
fn an_invalid_reload_changes_nothing_and_logs_the_reason() {
    let file = SettingsFile::new("bad.toml", "allowed_origins = [\"https://a.example\"]");
    let process = Process::start(&[&file.flag()]);
    for (text, named) in [
        (
            "allowed_origins = [\"https://b.example\"]\nping_interval_secs = -1",
            "ping_interval_secs",
        ),
        ("allowed_origins = [\"https://b.example\"]\nmisspelt = 1", "misspelt"),
        ("allowed_origins = [\"https://b.example\"", "not TOML"),
        (
            "allowed_origins = [\"https://b.example\"]\nadmin_listen = \"127.0.0.1:1\"",
            "admin_listen",
        ),
    ] {
        file.write(text);
        process.signal(Signal::HUP);
        let line = process.event("reload_refused");
        assert_eq!((fields(&line), line["level"].as_str()), (vec!["problem"], Some("WARN")));
        assert!(line["problem"].as_str().unwrap().contains(named), "{line}");
        assert_eq!(status(process.address, "Origin: https://a.example"), 101, "{text}");
        assert_eq!(status(process.address, "Origin: https://b.example"), 403, "{text}");
    }
    fs::remove_file(&file.0).unwrap();
    process.signal(Signal::HUP);
    assert!(
        process.event("reload_refused")["problem"].as_str().unwrap().contains("cannot be read")
    );
}

#[test]
fn a_pipe_in_place_of_the_settings_file_is_refused_without_blocking() {
    let file = SettingsFile::new("silent.toml", "");
    let mut process = Process::start(&[&file.flag()]);
    fs::remove_file(&file.0).unwrap();
    assert!(Command::new("mkfifo").arg(&file.0).status().unwrap().success());
    for _ in 0..2 {
        process.signal(Signal::HUP);
        let problem = process.event("reload_refused")["problem"].clone();
        assert!(problem.as_str().unwrap().contains("it is not a regular file"), "{problem}");
    }
    fs::remove_file(&file.0).unwrap();
    file.write("ping_interval_secs = 20");
    process.signal(Signal::HUP);
    assert_eq!(process.event("reloaded")["changed"], "ping_interval_secs");
    process.signal(Signal::TERM);
    process.event("stopped");
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn the_settings_that_need_a_restart_are_the_documented_ones() {
    let manual = document("operations.md");
    let (_, sentence) = manual.split_once("needs a restart: ").unwrap();
    let documented: Vec<&str> =
        sentence.lines().next().unwrap().split('`').skip(1).step_by(2).collect();
    let settings = Setting::all();
    let unchangeable = settings.iter().filter(|setting| setting.needs_restart);
    let variables: Vec<String> = unchangeable.map(Setting::variable).collect();
    assert_eq!(documented, variables);

    let before = "listen = \"127.0.0.1:0\"\nlog_format = \"json\"\n";
    for (key, other) in [
        ("listen", "listen = \"127.0.0.1:1\"\nlog_format = \"json\""),
        ("listen_unix_mode", "listen_unix_mode = \"0600\""),
        ("socket_buffer_bytes", "socket_buffer_bytes = 0"),
        ("takeover_listen", "takeover_listen = \"unix:/takeover.sock\""),
        ("admin_listen", "admin_listen = \"127.0.0.1:1\""),
        ("connection_table", "connection_table = true"),
        ("log_format", "listen = \"127.0.0.1:0\"\nlog_format = \"text\""),
    ] {
        let file = SettingsFile::new(&format!("restart-{key}.toml"), before);
        let mut command = server();
        command.arg(file.flag());
        let process = Process::run(command);
        process.event("listening");
        let is_complete = other.contains("listen =") && other.contains("log_format =");
        file.write(&if is_complete { other.to_owned() } else { format!("{before}{other}") });
        process.signal(Signal::HUP);
        let line = process.event("reload_refused");
        let problem = line["problem"].as_str().unwrap();
        assert!(problem.starts_with(&format!("{key} from the file")), "{problem}");
        assert!(problem.ends_with("needs a restart to change"), "{problem}");
    }
}

#[test]
fn reloads_under_load_disconnect_no_client() {
    let file = SettingsFile::new("load.toml", "message_burst = 20");
    let process = Process::start(&[&file.flag(), "--max-connections=500"]);
    let load = Load::start(process.address);
    let mut idle = Client::open(process.address);
    for round in 0..20 {
        let is_valid = round % 2 == 0;
        file.write(if is_valid { "message_burst = 21" } else { "message_burst = -1" });
        process.signal(Signal::HUP);
        process.event(if is_valid { "reloaded" } else { "reload_refused" });
    }
    load.expect_no_failure(50);
    idle.send(&close(1000, ""));
    assert_eq!(idle.frame(), (CLOSE, close_payload(1000, "")));
}
