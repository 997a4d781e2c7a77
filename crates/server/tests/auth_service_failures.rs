//! A service at `auth_url` that is down, slow, broken or hostile, and the ways to reach it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};
use support::auth_service::{ADMIT, AuthService, Connection, read_head, tls_config};
use support::process::{Process, server};
use support::server::Server;
use support::tls::Files;
use support::{Client, UPGRADE, upgrade_with};

/// Enough for a service of these tests, and little enough to wait for.
const TIMEOUT: &str = "--auth-timeout-secs=0.5";

/// Sends a handshake with a credential that must not reach the log.
fn handshake(process: &Process) -> (u16, String) {
    let fields = [("Cookie", "session=s3cret"), ("Authorization", "Bearer s3cret")];
    let (status, _, body) = Client::connect(process.address).request(&upgrade_with(&fields));
    (status, body)
}

/// Expects a refusal, and a line of the log that says why the service is unavailable. The body of the refusal
/// does not.
fn expect_unavailable(process: &Process, why: &str) {
    let (status, body) = handshake(process);
    assert_eq!(status, 503, "{why}");
    assert!(body.starts_with("auth_unavailable: ") && !body.contains(why), "{body}");
    let line = process.event("auth_unavailable");
    assert_eq!(line["level"], "WARN");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains(why) && !error.contains("s3cret"), "{why}: {error}");
    assert_eq!(process.event("refused")["refusal"], "auth_unavailable");
}

#[test]
fn responses_that_are_no_decision_are_refused_with_503() {
    let headers = ["--identity-header=X-User", "--expires-header=X-Until", TIMEOUT];
    for (response, why) in [
        ("HTTP/1.1 500 Internal Server Error\r\n\r\n", "status 500"),
        ("HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "status 302"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "status 404"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n",
            "status 101",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "invalid HTTP version"),
        ("HTTP/1.1 200 OK\r\nX-User: a\r\nX-User: b\r\n\r\n", "invalid identity or expiry"),
        ("HTTP/1.1 200 OK\r\nX-Until: tomorrow\r\n\r\n", "invalid identity or expiry"),
        ("HTTP/1.1 200 OK\r\nX-Until: -1\r\n\r\n", "invalid identity or expiry"),
        // Each connection ends without a response.
        ("", "connection closed before message completed"),
        ("HTTP/1.1 200 OK\r\nX-User: a", "connection closed before message completed"),
    ] {
        let service = AuthService::behaving(move |_, connection| {
            connection.write_all(response.as_bytes()).unwrap();
            false
        });
        let process = Process::start(&[&headers[..], &[&service.flag()]].concat());
        expect_unavailable(&process, why);
        // A request is repeated once at most, and a redirect is not followed.
        assert!(service.requests().len() <= 2, "{why}");
        assert!(service.requests().iter().all(|head| head.starts_with("GET /auth?x=1 ")));
    }
    let identity = |length| format!("X-User: {}\r\n", "x".repeat(length));
    let pad = |length| format!("X-Pad: {}\r\n", "x".repeat(length));
    let fields = |count| "X-Field: x\r\n".repeat(count);
    for (allowed, too_much, why) in [
        (identity(256), identity(257), "invalid identity or expiry"),
        (pad(15 << 10), pad(16 << 10), "message head is too large"),
        (fields(64), fields(65), "message head is too large"),
    ] {
        for (fields, is_admitted) in [(allowed, true), (too_much, false)] {
            let service =
                AuthService::answering(move |_| format!("HTTP/1.1 204 Ok\r\n{fields}\r\n"));
            let process = Process::start(&[&headers[..], &[&service.flag()]].concat());
            if is_admitted {
                assert_eq!(handshake(&process).0, 101, "{why}");
            } else {
                expect_unavailable(&process, why);
            }
        }
    }
}

#[test]
fn a_service_that_is_down_is_reported_and_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let process = Process::start(&[&format!("--auth-url=http://{address}/"), TIMEOUT]);
    expect_unavailable(&process, "Connection refused");
    let missing = "--auth-url=unix:/nonexistent/auth.sock:/";
    expect_unavailable(&Process::start(&[missing, TIMEOUT]), "No such file or directory");
    expect_unavailable(&process, "Connection refused");
}

#[test]
fn a_service_without_a_complete_head_in_time_is_unavailable() {
    // Silent from the start: the connection waits in the listen backlog.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let flag = format!("--auth-url=http://{}/", silent.local_addr().unwrap());
    expect_unavailable(&Process::start(&[&flag, TIMEOUT]), "no response within 0.5 s");
    // Silent in the TLS handshake.
    let flag = flag.replace("http:", "https:");
    let process = Process::start(&[&flag, TIMEOUT]);
    let (status, _) = handshake(&process);
    assert_eq!(status, 503);

    type Send = fn(&mut dyn Connection) -> std::io::Result<()>;
    let trickling: Send = |connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ")?;
        loop {
            connection.write_all(b"x")?;
            thread::sleep(Duration::from_millis(20));
        }
    };
    let interim: Send = |connection| {
        loop {
            connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            thread::sleep(Duration::from_millis(20));
        }
    };
    let endless_line: Send = |connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ")?;
        loop {
            connection.write_all(&[b'x'; 4096])?;
        }
    };
    let endless_lines: Send = |connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            connection.write_all(b"X-More: x\r\n")?;
        }
    };
    for (send, why) in [
        (trickling, "no response within 0.5 s"),
        (interim, "no response within 0.5 s"),
        (endless_line, "message head is too large"),
        (endless_lines, "too large"),
    ] {
        let (ended, ends) = mpsc::channel();
        let service = AuthService::behaving(move |_, connection| {
            // It ends only because the server closes the connection.
            ended.send(send(connection).is_err()).unwrap();
            false
        });
        let process = Process::start(&[&service.flag(), TIMEOUT]);
        expect_unavailable(&process, why);
        assert_eq!(ends.recv_timeout(Duration::from_secs(10)), Ok(true), "{why}");
    }
}

#[test]
fn the_body_of_a_response_is_read_within_a_limit() {
    const OFFERED: usize = 500 << 20;
    for framing in ["Content-Length: 524288000", "Transfer-Encoding: chunked"] {
        let (accepted, accepts) = mpsc::channel();
        let service = AuthService::behaving(move |_, connection| {
            let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
            connection.write_all(head.as_bytes()).unwrap();
            // A chunk of 0x1000 bytes, with its framing.
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            let mut written = 0;
            while written < OFFERED && connection.write_all(chunk.as_bytes()).is_ok() {
                written += chunk.len();
            }
            accepted.send(written).unwrap();
            false
        });
        let server = Server::start(&[&service.flag()]);
        // The head has the decision.
        let _client = Client::open(server.address);
        let written = accepts.recv_timeout(Duration::from_secs(10)).unwrap();
        // What the system buffers on the way counts as written.
        assert!(written < 16 << 20, "{framing}: {written}");
    }
}

#[test]
fn a_body_that_does_not_come_delays_an_admission_by_a_moment_and_ends_the_connection() {
    let (ended, ends) = mpsc::channel();
    let service = AuthService::behaving(move |_, connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").unwrap();
        ended.send(connection.read(&mut [0]).unwrap_or(0)).unwrap();
        false
    });
    let server = Server::start(&[&service.flag(), "--auth-timeout-secs=60"]);
    let began = Instant::now();
    let _client = Client::open(server.address);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(ends.recv_timeout(Duration::from_secs(10)), Ok(0));
}

#[test]
fn a_service_on_a_unix_socket_decides() {
    let path = std::env::temp_dir().join(format!("ws-status-auth-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let service = AuthService::on_unix_socket(&path);
    let server = Server::start(&[&service.flag()]);
    for _ in 0..3 {
        Client::open(server.address);
    }
    let requests = service.requests();
    assert_eq!((requests.len(), service.connections()), (3, 1));
    assert!(requests[0].starts_with("GET /auth HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].to_lowercase().contains("\r\nhost: localhost\r\n"), "{}", requests[0]);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_service_over_tls_is_verified_by_the_roots_of_the_system() {
    let files = Files::new("auth-service");
    let service = AuthService::with_tls(&files.cert, &files.key);
    let start = |roots: &Path| {
        let mut command = server();
        command.env("SSL_CERT_FILE", roots);
        Process::start_as(command, &[&service.flag()])
    };
    let trusting = start(Path::new(&files.path("cert.pem")));
    for _ in 0..3 {
        assert_eq!(handshake(&trusting).0, 101);
    }
    assert_eq!((service.requests().len(), service.connections()), (3, 1));

    // Another certificate for the same name.
    let others = Files::new("auth-service-others");
    expect_unavailable(&start(Path::new(&others.path("cert.pem"))), "invalid peer certificate");
    expect_unavailable(&start(Path::new("/nonexistent")), "no root certificates of the system");
    assert_eq!(service.requests().len(), 3);
}

#[test]
fn a_connection_that_no_request_waits_for_any_more_is_given_up() {
    let files = Files::new("auth-service-silent");
    let config = tls_config(&files.cert, &files.key);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("--auth-url=https://localhost:{}/", listener.local_addr().unwrap().port());
    let (asked, asks) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (silent, silents) = mpsc::channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        thread::spawn(move || {
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
            while read_head(&mut stream).is_some() {
                asked.send(()).unwrap();
                released.recv().unwrap();
                stream.write_all(ADMIT.as_bytes()).unwrap();
            }
        });
        // The second connection is accepted, and its TLS handshake is not answered.
        silent.send(listener.accept().unwrap().0).unwrap();
    });
    let mut command = server();
    command.env("SSL_CERT_FILE", files.path("cert.pem"));
    let process = Process::start_as(command, &[&url, "--auth-timeout-secs=3"]);

    let mut first = Client::connect(process.address);
    first.send(UPGRADE.as_bytes());
    asks.recv_timeout(Duration::from_secs(10)).unwrap();
    let mut second = Client::connect(process.address);
    second.send(UPGRADE.as_bytes());
    let mut silent = silents.recv_timeout(Duration::from_secs(10)).unwrap();
    // The connection of the first request becomes available before the second connection does.
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!((first.response().0, second.response().0), (101, 101));
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    silent.read_to_end(&mut Vec::new()).expect("the connection is closed");
}

#[test]
fn a_service_that_is_down_fills_no_log() {
    let process = Process::start(&["--auth-url=unix:/nonexistent/auth.sock"]);
    for _ in 0..30 {
        assert_eq!(Client::connect(process.address).request(UPGRADE).0, 503);
    }
    process.signal(rustix::process::Signal::TERM);
    let lines: Vec<String> = process.log.iter().collect();
    let count = |event: &str| lines.iter().filter(|line| line.contains(event)).count();
    assert_eq!(count("\"auth_unavailable\",\"error\""), 10, "{lines:?}");
    assert_eq!(count("\"auth_unavailable_suppressed\""), 1, "{lines:?}");
}
