//! The real binary as a process: signals, exit codes, and what it says on stdout and stderr.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde_json::Value;
use support::process::{Process, documented, fields, server};
use support::{Client, PING, PONG, TEXT, UPGRADE, close, frame};

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
fn each_line_of_the_log_has_its_fields() {
    let process = Process::start(&["--ping-interval-secs", "0.1"]);

    let mut refused = Client::connect(process.address);
    refused.request("GET /secret?token=secret HTTP/1.1\r\nHost: a\r\nOrigin: x\r\n\r\n");
    let line = process.event("refused");
    assert_eq!(fields(&line), documented("refused"));
    assert_eq!((&line["refusal"], &line["status"]), (&"not_found".into(), &404.into()));
    assert_eq!(line["peer"], refused.0.local_addr().unwrap().to_string());

    let mut client = Client::connect(process.address);
    let headers = "Host: a\r\nUser-Agent: \"quoted\" agent";
    assert_eq!(client.request(&UPGRADE.replace("Host: a", headers)).0, 101);
    let line = process.event("opened");
    assert_eq!(fields(&line), documented("opened"));
    assert_eq!((&line["id"], &line["origin"]), (&1.into(), &"".into()));
    assert_eq!(line["user_agent"], "\"quoted\" agent");
    assert_eq!(line["level"], "INFO");

    let (first, payload) = client.frame();
    assert_eq!(first, PING);
    client.send(&[frame(support::PONG, &payload), frame(TEXT, b"hello")].concat());
    client.send(&close(4001, "bye\n\x1b[31m"));
    let line = process.event("closed");
    assert_eq!(fields(&line), documented("closed"));
    assert_eq!(line["id"], 1);
    assert_eq!(line["cause"], "peer_closed");
    assert_eq!(line["code"], 4001);
    assert_eq!(line["reason"], "bye\n\x1b[31m");
    assert_eq!(line["clean"], true);
    assert_eq!(line["initiator"], "peer");
    assert_eq!(line["messages_in"], 3);
    assert_eq!(line["bytes_in"], 4 + 5 + 11);
    assert!(line["rtt_ms"].as_f64().unwrap() > 0.0);
    assert!(line["duration_ms"].as_f64().unwrap() > 80.0);

    drop(Client::open(process.address));
    let line = process.event("closed");
    assert_eq!((&line["cause"], &line["initiator"]), (&"disconnected".into(), &"none".into()));
    // No round trip was measured.
    assert!(!fields(&line).contains(&"rtt_ms"), "{line}");
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
fn a_limit_above_that_of_the_system_is_warned_about() {
    let process = Process::spawn(&["--max-connections", "1000000000"]);
    let lines: Vec<String> = (0..2).map(|_| process.line()).collect();
    assert!(lines[1].contains("WARN") && lines[1].contains("too_few_open_files"), "{lines:?}");
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
    assert_eq!(client.frame(), (support::PONG, b"here".to_vec()));
    process.signal(Signal::TERM);
    client.answer_drain();
    assert_eq!(process.exit_code(), 0);
}

/// Starts a server whose log is not read once it listens. Returns its admin address and the unread log, too.
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
    assert_eq!(fields(&process.event("spread_recommended")), documented("spread_recommended"));

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
    let events: Vec<String> = (0..2).map(|_| process.line()).collect();
    assert!(events[0].contains("starting") && events[1].contains("listening"), "{events:?}");
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

#[test]
fn the_admin_listener_cannot_share_the_port_of_clients() {
    let output = output(&["--listen=127.0.0.1:18999", "--admin-listen=127.0.0.1:18999"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("admin_listen") && message.contains("18999"), "{message}");
}

/// Runs the binary to its end.
fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    server().args(arguments).envs(environment.iter().copied()).output().unwrap()
}

/// Runs the binary and expects exit code 2 with one sentence on stderr, which it returns.
fn usage_error(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let Output { status, stdout, stderr } = output(arguments, environment);
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{arguments:?} {environment:?}: {stderr}");
    assert_eq!(stdout, b"");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr.strip_prefix("server: ").unwrap().trim_end().to_owned()
}

fn temporary_file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn an_invalid_setting_is_named_with_its_source_and_the_requirement() {
    let seconds = "it must be a number of seconds above 0 and at most 86400, such as 25 or 0.5";
    assert_eq!(
        usage_error(&["--ping-interval-secs", "fast"], &[]),
        format!("ping_interval_secs is \"fast\" in the flag --ping-interval-secs: {seconds}")
    );
    assert_eq!(
        usage_error(&[], &[("WS_STATUS_CLOSE_TIMEOUT_SECS", "0")]),
        format!(
            "close_timeout_secs is \"0\" in the environment variable WS_STATUS_CLOSE_TIMEOUT_SECS: {seconds}"
        )
    );
    let file = temporary_file("wrong.toml", "pong_timeout_secs = -1\n");
    let file = file.to_str().unwrap();
    assert_eq!(
        usage_error(&["--config", file], &[]),
        format!("pong_timeout_secs is \"-1\" in the file {file}: {seconds}")
    );
    assert_eq!(
        usage_error(&["--allowed-origins", "https://a.example,https://b.example/"], &[]),
        "allowed_origins is \"https://b.example/\" in the flag --allowed-origins: \
         an origin ends after its host or port, with no slash, path or user name"
    );
}

#[test]
fn an_unknown_key_is_refused_in_every_source() {
    let file = temporary_file("unknown.toml", "lisen = \"127.0.0.1:1\"\n");
    let file = file.to_str().unwrap();
    assert_eq!(
        usage_error(&["--config", file], &[]),
        format!(
            "the file {file} sets \"lisen\", which is not a setting; --help lists all settings"
        )
    );
    assert_eq!(
        usage_error(&[], &[("WS_STATUS_LISEN", "x")]),
        "the environment variable WS_STATUS_LISEN sets \"lisen\", which is not a setting; \
         --help lists all settings"
    );
    assert!(usage_error(&["--lisen", "x"], &[]).contains("'--lisen'"));
    assert!(usage_error(&["--ping_interval_secs", "1"], &[]).contains("'--ping_interval_secs'"));
    assert!(usage_error(&["extra"], &[]).contains("extra"));
    assert!(usage_error(&["--listen"], &[]).contains("--listen"));
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    assert!(usage_error(&["--config", "/nonexistent.toml"], &[]).contains("/nonexistent.toml"));
    let file = temporary_file("broken.toml", "listen = = 1\n");
    let file = file.to_str().unwrap();
    let message = usage_error(&[], &[("WS_STATUS_CONFIG", file)]);
    assert!(message.starts_with(&format!("the file {file} is not TOML: ")), "{message}");
    assert!(message.contains("line 1"), "{message}");
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let message = usage_error(&["--listen", &format!("127.0.0.1:0,{address}")], &[]);
    assert!(
        message
            .starts_with(&format!("listen from the flag --listen: cannot listen on {address}: ")),
        "{message}"
    );
}

#[test]
fn requested_output_goes_to_stdout() {
    let stdout = |arguments: &[&str]| {
        let Output { status, stdout, stderr } =
            output(arguments, &[("WS_STATUS_PING_INTERVAL_SECS", "5")]);
        assert_eq!((status.code(), stderr), (Some(0), vec![]), "{arguments:?}");
        String::from_utf8(stdout).unwrap()
    };
    assert!(
        stdout(&["--help"]).contains("--ping-interval-secs (WS_STATUS_PING_INTERVAL_SECS) = 25")
    );
    assert!(stdout(&["--version"]).starts_with(concat!(
        "server ",
        env!("CARGO_PKG_VERSION"),
        " ("
    )));
    assert_eq!(stdout(&["--check-config"]), "the configuration is valid\n");
    let printed = stdout(&["--print-config", "--close-timeout-secs", "0.5"]);
    assert!(printed.contains(
        "ping_interval_secs = 5 # the environment variable WS_STATUS_PING_INTERVAL_SECS\n"
    ));
    assert!(printed.contains("close_timeout_secs = 0.5 # the flag --close-timeout-secs\n"));
    assert!(printed.contains("pong_timeout_secs = 10 # the defaults\n"));
    // The output is a valid file with the same settings.
    let file = temporary_file("printed.toml", &printed);
    let reprinted = stdout(&[
        "--print-config",
        "--config",
        file.to_str().unwrap(),
        "--ping-interval-secs",
        "5",
    ]);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&printed), values(&reprinted));
    assert_eq!(
        usage_error(&["--check-config", "--log", "loud"], &[]).split(' ').next(),
        Some("log")
    );
}

#[test]
fn the_log_without_a_terminal_is_plain_text_without_colour() {
    let mut process = Process::spawn(&[]);
    let mut text = String::new();
    while !text.contains("event=\"listening\"") {
        text += &process.line();
    }
    let address = text.split(" address=\"").nth(1).unwrap().split('"').next().unwrap();
    let address = address.parse().unwrap();
    let mut client = Client::open(address);
    client.send(&close(1000, ""));
    let closed = process.log.iter().find(|line| line.contains("event=\"closed\"")).unwrap();
    assert!(!closed.contains("NaN") && !closed.contains("rtt_ms"), "{closed}");
    let mut client = Client::connect(address);
    let request = UPGRADE.replace("Host: a", "Host: a\r\nOrigin: https://a\u{9b}31m.example");
    assert_eq!(client.request(&request).0, 400);
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), 0);
    text.extend(process.log.iter());
    assert!(text.contains("origin=\"https://a\\u{9b}31m.example\""), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    assert!(text.contains("event=\"stopped\""), "{text}");
}
