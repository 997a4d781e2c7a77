//! The log of the binary: bounds on lines and rates that clients cause, and output that blocks or is
//! full.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::process::{Process, documented, fields, server};
use support::{Client, PING, PONG, UPGRADE, close, frame};

/// Upper limit of a line with client text, in bytes, with its line break.
const MAX_LINE_BYTES: usize = 2048;

/// The example of W3C Trace Context, section 3.2.5.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Texts that escaping makes much longer, each as long as fits in a head.
fn hostile_texts() -> Vec<String> {
    ["\"", "\\", "\t", "\u{80}", "\u{200b}", "\u{feff}", "\u{e0001}", "x", "🦀"]
        .map(|c| format!("a{}a", c.repeat(7000 / c.len())))
        .to_vec()
}

#[test]
fn log_lines_with_client_text_are_bounded_in_both_formats() {
    for format in ["text", "json"] {
        let mut process = Process::spawn(&["--log-format", format, "--allowed-origins=*"]);
        let mut listening = process.line();
        while !listening.contains("\"listening\"") {
            listening = process.line();
        }
        let (_, address) = listening.split_once("address").unwrap();
        let address = address.trim_matches(['"', '=', ':', '}']).parse().unwrap();

        // The longest valid origin, and the longest close reason.
        let host = ["a".repeat(63), "a".repeat(63), "a".repeat(63), "a".repeat(60)].join(".");
        let reasons = ["\u{1}", "\u{7f}", "\"", "\u{9b}", "\u{e0001}"];
        for (text, reason) in hostile_texts().iter().zip(reasons.iter().cycle()) {
            let mut client = Client::connect(address);
            let refused = format!("GET /ws/status HTTP/1.1\r\nHost: a\r\nOrigin: {text}\r\n\r\n");
            assert_eq!(client.request(&refused).0, 426);
            let headers = format!(
                "Host: a\r\nOrigin: https://{host}:65535\r\nUser-Agent: {text}\r\n\
                 traceparent: {TRACEPARENT}\r\nX-Request-ID: {}",
                "~".repeat(64)
            );
            assert_eq!(client.request(&UPGRADE.replace("Host: a", &headers)).0, 101);
            client.send(&close(4999, &reason.repeat(123 / reason.len())));
            client.frame();
        }
        process.signal(Signal::TERM);
        assert_eq!(process.exit_code(), 0);
        let lines: Vec<String> = process.log.iter().collect();
        for event in ["opened", "refused", "closed"] {
            let of_event = lines.iter().filter(|line| line.contains(&format!("\"{event}\"")));
            let of_event: Vec<&String> = of_event.collect();
            assert_eq!(of_event.len(), hostile_texts().len(), "{event}");
            // A truncated text ends in an ellipsis. A close reason is short enough.
            let is_truncated = |line: &&String| line.contains('…');
            assert!(of_event.into_iter().all(|line| is_truncated(&line) || event == "closed"));
        }
        let longest = lines.iter().max_by_key(|line| line.len()).unwrap();
        assert!(longest.len() < MAX_LINE_BYTES, "{}: {longest}", longest.len());
    }
}

#[test]
fn a_session_is_found_by_the_ids_of_its_request() {
    let process = Process::start(&["--allowed-origins=https://app.example"]);
    let open = |lines: &str| {
        let mut client = Client::connect(process.address);
        client.request(&UPGRADE.replace("Host: a", &format!("Host: a{lines}")));
        process.event("opened")
    };
    let line = open(&format!("\r\ntraceparent: {TRACEPARENT}\r\nX-Request-Id: 7f3a-b"));
    assert_eq!(
        (&line["traceparent"], &line["request_id"]),
        (&TRACEPARENT.into(), &"7f3a-b".into())
    );
    // A later version may have more fields.
    let line = open(&format!("\r\ntraceparent: 01{}-x", &TRACEPARENT[2..]));
    assert_eq!(line["traceparent"], format!("01{}", &TRACEPARENT[2..]));
    for malformed in [
        TRACEPARENT.to_uppercase(),
        TRACEPARENT[..54].to_owned(),
        format!("{TRACEPARENT}-x"),
        format!("ff{}", &TRACEPARENT[2..]),
        TRACEPARENT.replace('f', "g"),
        TRACEPARENT.replace("-00f", "000f"),
        "é".repeat(40),
        TRACEPARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
        TRACEPARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
    ] {
        let line = open(&format!("\r\ntraceparent: {malformed}"));
        assert_eq!(line.get("traceparent"), None, "{malformed}");
    }
    for malformed in ["", "a b", "\"", "a\\b", "é", &*"x".repeat(65)] {
        let line = open(&format!("\r\nX-Request-ID: {malformed}"));
        assert_eq!(line.get("request_id"), None, "{malformed}");
    }
    // A refusal is found as well.
    let mut client = Client::connect(process.address);
    let lines = "Host: a\r\nX-Request-ID: 7\r\nOrigin: https://other.example";
    assert_eq!(client.request(&UPGRADE.replace("Host: a", lines)).0, 403);
    assert_eq!(process.event("refused")["request_id"], "7");
}

/// Sends twenty requests that are refused on each of these connections.
fn refuse(address: SocketAddr, connections: usize) {
    for _ in 0..connections {
        let mut client = Client::connect(address);
        for _ in 0..20 {
            assert_eq!(client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").0, 404);
        }
    }
}

#[test]
fn refusals_above_the_rate_are_summarized_before_the_end() {
    for (end, exit_code) in [("stopped", 0), ("forced_exit", 143)] {
        let flags = ["--close-timeout-secs=600", "--shutdown-grace-secs=600"];
        let mut process = Process::start(&flags);
        let silent = Client::open(process.address);
        refuse(process.address, 30);
        process.signal(Signal::TERM);
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &Value| line["event"] == "stopping") {
            lines.push(serde_json::from_str(&process.line()).unwrap());
        }
        if end == "forced_exit" {
            process.signal(Signal::TERM);
            assert_eq!(process.exit_code(), exit_code);
        }
        drop(silent);
        assert_eq!(process.exit_code(), exit_code);
        lines.extend(process.log.iter().map(|line| serde_json::from_str(&line).unwrap()));

        // An aborted session may still log its end.
        let after = lines.iter().rev().take_while(|line| line["event"] != end);
        assert!(after.clone().count() < lines.len(), "the end is logged");
        assert!(after.into_iter().all(|line| line["event"] == "closed"));
        let of = |event: &'static str| lines.iter().filter(move |line| line["event"] == event);
        let summaries: Vec<&Value> = of("refused_suppressed").collect();
        assert_eq!(fields(summaries[0]), documented("refused_suppressed"));
        assert!(summaries[0]["window_ms"].as_f64().unwrap() > 0.0);
        let suppressed: u64 = summaries.iter().map(|line| line["lines"].as_u64().unwrap()).sum();
        let logged = u64::try_from(of("refused").count()).unwrap();
        assert_eq!(logged + suppressed, 600);
        // The burst of one address, and one per second.
        assert!((20..300).contains(&logged), "{logged}");
    }
}

#[test]
fn suppressed_refusals_are_logged_while_serving_and_counted_exactly() {
    let process = Process::spawn(&["--admin-listen=127.0.0.1:0", "--log-format=json"]);
    let admin: SocketAddr = process.event("starting")["admin"].as_str().unwrap().parse().unwrap();
    let address = process.event("listening")["address"].as_str().unwrap().parse().unwrap();
    refuse(address, 2);
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (_, _, metrics) = Client::connect(admin).request(request);
    let sample = "ws_status_handshakes_refused_total{refusal=\"not_found\"} 40\n";
    assert!(metrics.contains(sample), "{metrics}");
    // The summary is logged without another event.
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Ok(line) = process.log.recv_timeout(Duration::from_secs(20))
            && line.contains("refused_suppressed")
        {
            return;
        }
    }
    panic!("no summary");
}

/// A server with a given standard error, on a Unix socket.
struct Service {
    child: Child,
    socket: PathBuf,
}

impl Service {
    fn start(name: &str, mut command: Command, stderr: impl Into<Stdio>) -> Self {
        let socket = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.sock"));
        let _ = fs::remove_file(&socket);
        command.arg(format!("--listen=unix:{}", socket.display()));
        command.args(["--log-format=json", "--control-frames-per-second=0"]);
        let child = command.stderr(stderr).spawn().unwrap();
        Self { child, socket }
    }

    fn connect(&self) -> Client<UnixStream> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    return Client(stream);
                }
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Opens and closes sessions while another session receives its pongs in time.
    fn open_and_close(&self, sessions: usize) {
        let mut healthy = self.connect();
        assert_eq!(healthy.request(UPGRADE).0, 101);
        for _ in 0..sessions {
            let mut client = self.connect();
            assert_eq!(client.request(UPGRADE).0, 101);
            client.send(&close(1000, ""));
            client.frame();
            let sent = Instant::now();
            healthy.send(&frame(PING, b""));
            assert_eq!(healthy.frame(), (PONG, vec![]));
            assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
        }
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    fn stop(&mut self) -> i32 {
        self.terminate();
        self.child.wait().unwrap().code().expect("the process exits")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The process still runs only if the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks that each line is complete and that the log has this number of sessions.
fn assert_complete(log: &str, sessions: usize) {
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let count = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    assert_eq!((count("opened"), count("closed")), (sessions, sessions));
    assert_eq!((count("lines_dropped"), count("stopped")), (0, 1));
}

#[test]
fn a_nonblocking_pipe_that_is_read_late_receives_every_line() {
    let (reader, writer) = io::pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    let mut service = Service::start("late", server(), writer);
    // Far more output than a pipe holds.
    service.open_and_close(1000);
    let (lines, log) = mpsc::channel();
    thread::spawn(move || {
        let log = BufReader::new(reader).lines().map_while(Result::ok);
        log.map(|line| line + "\n").try_for_each(|line| lines.send(line))
    });
    let (mut text, mut closed) = (String::new(), 0);
    while closed < 1001 {
        let line = log.recv_timeout(Duration::from_secs(10)).expect("another log line");
        closed += usize::from(line.contains("\"closed\""));
        text += &line;
    }
    assert_eq!(service.stop(), 0);
    text.extend(log.iter());
    assert_complete(&text, 1001);
}

#[test]
fn a_full_file_receives_every_line_once_it_has_room() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // The block size of `ulimit -f` depends on the shell.
    let measured = folder.join("full.measured");
    let script = "ulimit -f 16; exec head -c 100000 /dev/zero > \"$0\"";
    let measure = Command::new("/bin/sh").arg("-c").arg(script).arg(&measured).status();
    assert!(!measure.unwrap().success());
    let full = fs::metadata(&measured).unwrap().len();

    let path = folder.join("full.log");
    let _ = fs::remove_file(&path);
    let file = File::options().create(true).append(true).open(&path).unwrap();
    let mut command = Command::new("/bin/sh");
    command.env_clear().stdin(Stdio::null());
    command.args(["-c", "ulimit -f 16; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_server")]);
    let mut service = Service::start("full", command, file.try_clone().unwrap());
    service.open_and_close(300);
    let deadline = Instant::now() + Duration::from_secs(30);
    while file.metadata().unwrap().len() < full {
        assert!(Instant::now() < deadline, "the file fills up");
        thread::sleep(Duration::from_millis(1));
    }

    // The file is truncated only while it is full: otherwise a line could be written between the read
    // and the truncation.
    let mut log = String::new();
    let mut make_room = |is_last: bool| {
        let is_full = file.metadata().unwrap().len() == full;
        let text = fs::read_to_string(&path).unwrap();
        if is_full || is_last {
            file.set_len(0).unwrap();
            log += &text;
            return log.clone();
        }
        thread::sleep(Duration::from_millis(1));
        format!("{log}{text}")
    };
    while make_room(false).matches("\"closed\"").count() < 301 {
        assert!(Instant::now() < deadline, "all sessions are logged");
    }
    service.terminate();
    let status = loop {
        make_room(false);
        if let Some(status) = service.child.try_wait().unwrap() {
            break status;
        }
    };
    assert_eq!(status.code(), Some(0));
    assert_complete(&make_room(true), 301);
}

#[test]
fn a_full_disk_delays_neither_pongs_nor_the_end() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut service = Service::start("stays-full", server(), full);
    service.open_and_close(200);
    let begin = Instant::now();
    assert_eq!(service.stop(), 0);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn output_that_cannot_be_written_to_stdout_is_exit_code_1() {
    for flag in ["--help", "--version", "--check-config", "--print-config"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = server().arg(flag).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{flag}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            message.starts_with("server: cannot write to stdout: No space left on device"),
            "{message}"
        );
        assert_eq!(message.lines().count(), 1);
    }
}
