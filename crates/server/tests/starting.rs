//! The start of the process: warnings, missing resources, and signals during the start.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use support::Client;
use support::process::{Process, documented, fields, ran_as_ordinary_user, server, startup_error};

/// The server under limits set by a shell.
fn limited(limits: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("{limits}; exec \"$0\" \"$@\"");
    command.env_clear().args(["-c", &script, env!("CARGO_BIN_EXE_server")]);
    command.args(["--listen=127.0.0.1:0", "--max-connections=10"]);
    command
}

#[test]
fn a_check_of_the_configuration_prints_the_startup_warnings() {
    for (event, flags) in [
        ("pings_too_rare", &["--ping-interval-secs=30"][..]),
        ("grace_too_short", &["--drain-delay-secs=5", "--drain-spread-secs=8"]),
        ("too_few_open_files", &["--max-connections=1000000000"]),
        ("no_trusted_proxies", &["--forwarded-header=forwarded"]),
        ("no_limit_per_address", &["--listen=0.0.0.0:8080"]),
        ("plaintext", &["--listen=[::]:8080"]),
    ] {
        for (format, wanted) in
            [("text", format!("event=\"{event}\"")), ("json", format!("\"event\":\"{event}\""))]
        {
            let mut command = server();
            command.args(flags).args(["--check-config", "--log-format", format]);
            let output = command.output().unwrap();
            let log = String::from_utf8(output.stderr).unwrap();
            assert!(log.contains(&wanted) && log.contains("WARN"), "{event}: {log}");
            assert_eq!(output.status.code(), Some(0));
            let verdict = String::from_utf8(output.stdout).unwrap();
            assert!(verdict.starts_with("the configuration is valid, with "), "{verdict}");
            let quiet = command.args(["--log=off"]).output().unwrap();
            assert_eq!((quiet.status.code(), quiet.stderr), (Some(0), vec![]));
        }
    }
}

#[test]
fn a_limit_above_that_of_the_system_is_warned_about() {
    let process = Process::spawn(&["--max-connections", "1000000000"]);
    let lines: Vec<String> = (0..2).map(|_| process.line()).collect();
    assert!(lines[1].contains("WARN") && lines[1].contains("too_few_open_files"), "{lines:?}");
}

#[test]
fn the_start_logs_its_settings_and_warnings() {
    let flags = [
        "--allowed-origins=https://a.example, https://*.b.example",
        "--admin-listen=127.0.0.1:0",
        "--max-connections=1500",
        "--max-message-bytes=1000",
        "--max-queued-bytes=2000",
    ];
    let process = Process::spawn(&[&flags[..], &["--log-format=json"]].concat());
    let line = process.event("starting");
    assert_eq!(fields(&line), documented("starting"));
    assert_eq!(line["allowed_origins"], "https://a.example,https://*.b.example");
    assert_eq!(line["max_connections"], 1500);
    let session = 2 * 1000 + 2000 + 16_384 + 4096 + 40_960;
    let connection = 98_304 + 2 * 8192 + 64 * 6144;
    assert_eq!(line["worst_case_bytes"], 1500 * session + (1500 + 128) * connection);
    assert!(line["admin"].as_str().unwrap().starts_with("127.0.0.1:"));

    for (event, flags) in [
        ("too_few_open_files", &["--max-connections=1000000000"][..]),
        ("pings_too_rare", &["--ping-interval-secs=30"]),
        ("grace_too_short", &["--drain-delay-secs=5", "--drain-spread-secs=8"]),
        ("no_limit_per_address", &["--listen=0.0.0.0:0"]),
        ("no_trusted_proxies", &["--forwarded-header=forwarded"]),
    ] {
        let flags = [&["--log-format=json", "--max-connections=100"], flags].concat();
        let process = Process::spawn(&flags);
        let line = process.event(event);
        assert_eq!(fields(&line), documented(event));
        assert_eq!(line["level"], "WARN");
    }
}

#[test]
fn valid_settings_start_without_warnings() {
    let flags = ["--max-connections=100", "--drain-delay-secs=5", "--drain-spread-secs=7"];
    let process = Process::spawn(&[&flags[..], &["--log-format=json"]].concat());
    let lines: Vec<String> = (0..4).map(|_| process.line()).collect();
    let events = ["starting", "endpoint", "no_allowed_origins", "listening"];
    for (line, event) in lines.iter().zip(events) {
        assert!(
            line.contains(&format!("\"event\":\"{event}\"")) && line.contains("INFO"),
            "{line}"
        );
    }
}

#[test]
fn the_start_logs_the_url_and_that_no_page_may_connect() {
    let process = Process::spawn(&["--listen=127.0.0.1:0", "--log-format=json"]);
    let url = process.event("endpoint");
    assert_eq!(fields(&url), documented("endpoint"));
    let hint = process.event("no_allowed_origins");
    assert_eq!(fields(&hint), documented("no_allowed_origins"));
    assert!(hint["message"].as_str().unwrap().contains("allowed_origins"));
    let address = process.event("listening")["address"].as_str().unwrap().to_owned();
    assert_eq!(url["url"], format!("ws://{address}/ws/status"));

    let flags = ["--listen=0.0.0.0:0", "--allowed-origins=*", "--log-format=json"];
    let process = Process::spawn(&flags);
    let url = process.event("endpoint")["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("ws://localhost:") && url.ends_with("/ws/status"), "{url}");
    // The next lines are warnings about the address, and then it listens.
    let lines = std::iter::from_fn(|| Some(process.line()));
    let mut lines = lines.take_while(|line| !line.contains("\"listening\""));
    assert_eq!(lines.find(|line| line.contains("no_allowed_origins")), None);
}

#[test]
#[cfg(target_os = "linux")]
fn signals_without_a_meaning_are_ignored() {
    use rustix::process::{Pid, kill_process};
    let mut process = Process::start(&[]);
    let named = [
        Signal::USR1,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::POWER,
        Signal::STKFLT,
    ];
    let shell = |number: i32| {
        let kill = format!("kill -{number} {}", process.child.id());
        Command::new("/bin/sh").args(["-c", &kill]).status().unwrap()
    };
    for signal in named {
        kill_process(Pid::from_child(&process.child), signal).unwrap();
    }
    for number in [35, 50, 64] {
        assert!(shell(number).success());
    }
    Client::open(process.address);
    assert_eq!(process.event("closed")["cause"], "disconnected");
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), 0);
}

/// A stack size beyond the address space, so that no thread can be started under any limits.
const NO_THREADS: (&str, &str) = ("RUST_MIN_STACK", "140737488355328");

#[test]
fn a_start_without_threads_is_one_sentence_and_exit_code_1() {
    for arguments in [&["--listen=127.0.0.1:0"][..], &["--version"], &["--check-config"]] {
        let mut command = server();
        command.env(NO_THREADS.0, NO_THREADS.1).env("TOKIO_WORKER_THREADS", "3").args(arguments);
        let (code, message) = startup_error(command);
        assert_eq!(code, 1);
        assert!(message.starts_with("cannot start 5 threads: "), "{message}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_start_with_fewer_threads_than_it_needs_is_one_sentence_and_exit_code_1() {
    // The address space limit allows one stack and not two.
    let mut command = limited("ulimit -v 8388608");
    command.env("RUST_MIN_STACK", (5_u64 << 30).to_string()).env("TOKIO_WORKER_THREADS", "2");
    let (code, message) = startup_error(command);
    assert_eq!(code, 1);
    assert!(message.starts_with("cannot start 4 threads: "), "{message}");
}

#[test]
fn an_invalid_number_of_workers_is_one_sentence_and_exit_code_2() {
    for value in ["", "0", "many", "-1", "1025"] {
        let mut command = server();
        command.env("TOKIO_WORKER_THREADS", value);
        let expected = format!(
            "the environment variable TOKIO_WORKER_THREADS is {value:?}: it must be a whole number \
             from 1 to 1024"
        );
        assert_eq!(startup_error(command), (2, expected));
    }
}

#[test]
fn a_start_without_file_descriptors_is_one_sentence_and_exit_code_1() {
    // The system needs 4 to load the program.
    for files in 4..32 {
        let mut process = Process::run(limited(&format!("ulimit -n {files}")));
        let line = process.line();
        if !line.starts_with("server: ") {
            assert!(files > 6, "{files}: {line}");
            return;
        }
        assert!(line.contains("Too many open files"), "{files}: {line}");
        assert_eq!(process.exit_code(), 1, "{files}: {line}");
        assert_eq!(process.log.iter().next(), None, "{files}");
    }
    panic!("the server does not start with 31 files");
}

/// A named pipe in place of a settings file.
struct SettingsPipe(PathBuf);

impl SettingsPipe {
    fn new(name: &str) -> Self {
        let pipe = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        let _ = fs::remove_file(&pipe.0);
        assert!(Command::new("mkfifo").arg(&pipe.0).status().unwrap().success());
        pipe
    }

    /// Starts a server that waits for its settings until the returned file is dropped.
    fn start(&self) -> (Process, File) {
        let mut command = server();
        command.args(["--listen=127.0.0.1:0", "--log-format=json", "--max-connections=10"]);
        let process = Process::run({
            command.arg(format!("--config={}", self.0.display()));
            command
        });
        // The open blocks until the server opens the other end.
        let writer = File::options().write(true).open(&self.0).unwrap();
        (process, writer)
    }
}

#[test]
fn a_sighup_during_the_start_is_a_reload_after_it() {
    let pipe = SettingsPipe::new("hangup.toml");
    let (mut process, writer) = pipe.start();
    process.signal(Signal::HUP);
    // The reload finds a regular file.
    fs::remove_file(&pipe.0).unwrap();
    fs::write(&pipe.0, "ping_interval_secs = 20").unwrap();
    drop(writer);
    assert_eq!(process.event("reloaded")["changed"], "ping_interval_secs");
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn a_start_that_waits_for_a_file_ends_on_a_signal() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let pipe = SettingsPipe::new("waits.toml");
        let (mut process, writer) = pipe.start();
        process.signal(signal);
        assert_eq!(process.exit_code(), code);
        drop(writer);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_reload_without_a_thread_is_refused_and_the_server_goes_on() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    if ran_as_ordinary_user("a_reload_without_a_thread_is_refused_and_the_server_goes_on") {
        return;
    }
    let mut process = Process::start(&["--max-connections=10"]);
    // Below the current number of threads.
    let limit = Rlimit { current: Some(1), maximum: Some(1) };
    prlimit(Some(Pid::from_child(&process.child)), Resource::Nproc, limit).unwrap();
    process.signal(Signal::HUP);
    let line = process.event("reload_refused");
    let problem = line["problem"].as_str().unwrap();
    assert!(problem.starts_with("the settings cannot be read: its thread failed: "), "{problem}");
    Client::open(process.address);
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), 0);
}
