//! The heads of HTTP/1.1 requests over real sockets: hosts, targets and message framing, for all paths
//! and methods.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use support::server::Server;
use support::{Client, PING, PONG, UPGRADE, frame, header};

fn server(flags: &[&str]) -> Server {
    Server::start(&[&["--admin-listen", "127.0.0.1:0"], flags].concat())
}

/// The valid request with these lines instead of `Host`.
fn with(lines: &str) -> String {
    UPGRADE.replace("Host: a\r\n", lines)
}

//= rfc6455#4.2.1-4 test
#[test]
fn every_request_must_have_exactly_one_valid_host() {
    let server = server(&[]);
    for line in
        ["GET /ws/status", "POST /ws/status", "GET /else", "DELETE /", "OPTIONS *", "CONNECT a:80"]
    {
        for hosts in [
            "",
            "Host: a\r\nHost: a\r\n",
            "Host: a\r\nhost: b\r\n",
            "Host:\r\n",
            "Host: a b\r\n",
            "Host: a/b\r\n",
            "Host: b@a\r\n",
            "Host: [::1]evil\r\n",
            "Host: a:x\r\n",
        ] {
            let request = with(hosts).replace("GET /ws/status", line);
            let (status, _, body) = Client::connect(server.address).request(&request);
            assert_eq!(status, 400, "{line} with {hosts:?}");
            assert!(body.starts_with("bad_host: "), "{body}");
        }
    }
    // RFC 9112, section 3.2, requires the host for HTTP/1.1; in HTTP/1.0 it is optional, but must be
    // valid.
    for (line, hosts, expected) in [
        ("GET /else", "", 404),
        ("GET /ws/status", "", 505),
        ("GET /else", "Host: a\r\nHost: a\r\n", 400),
        ("GET /ws/status", "Host: a b\r\n", 400),
    ] {
        let request = with(hosts).replace("GET /ws/status HTTP/1.1", &format!("{line} HTTP/1.0"));
        assert_eq!(
            Client::connect(server.address).request(&request).0,
            expected,
            "{line} {hosts:?}"
        );
    }
}

#[test]
fn the_host_of_an_absolute_target_must_equal_the_host_header() {
    let server = server(&[]);
    for (target, host, expected) in [
        ("http://a/ws/status", "a", 101),
        ("http://A:80/ws/status", "a", 101),
        ("https://a/ws/status?b", "a:443", 101),
        ("http://a/else", "a", 404),
        ("http://b/ws/status", "a", 400),
        ("http://b/else", "a", 400),
        ("http://a:8080/ws/status", "a", 400),
        ("http://b@a/ws/status", "a", 400),
        ("ftp://a:21/else", "a", 400),
    ] {
        let request = with(&format!("Host: {host}\r\n")).replace("/ws/status", target);
        let (status, head, _) = Client::connect(server.address).request(&request);
        assert_eq!(status, expected, "{target} {head}");
    }
}

//= rfc6455#3-1 test
#[test]
fn a_fragment_in_a_target_is_malformed() {
    let server = server(&[]);
    for target in ["/ws/status#", "/ws/status#a", "/else#a?b", "#", "http://a/ws/status#a"] {
        let mut client = Client::connect(server.address);
        let (status, head, _) = client.request(&UPGRADE.replace("/ws/status", target));
        assert_eq!((status, header(&head, "connection")), (400, Some("close")), "{target}");
        assert!(header(&head, "date").is_some(), "{head}");
        client.expect_end();
    }
    assert_eq!(server.refused("malformed"), 5.0);
    // A `#` elsewhere is allowed.
    let (status, ..) = Client::connect(server.address).request(&with("Host: a\r\nX: #\r\n"));
    assert_eq!(status, 101);
}

#[test]
fn a_target_that_is_too_long_gets_414_and_a_head_that_is_too_large_431() {
    let server = server(&["--max-header-bytes", "100000"]);
    for (length, expected) in [(60_000, 404), (66_000, 414), (200_000, 414)] {
        let mut client = Client::connect(server.address);
        let request = UPGRADE.replace("/ws/status", &format!("/{}", "a".repeat(length)));
        let (status, head, _) = client.request(&request);
        assert_eq!(status, expected, "{length}");
        if expected == 414 {
            assert_eq!(header(&head, "connection"), Some("close"));
            client.expect_end();
        }
    }
    let mut client = Client::connect(server.address);
    client.send(with(&format!("Host: a\r\nX: {}\r\n", "x".repeat(200_000))).as_bytes());
    assert_eq!(client.head().0, 431);
    assert_eq!(server.refused("uri_too_long"), 2.0);
    // The refusal is counted after hyper has answered.
    server.wait_for("handshakes_refused_total{refusal=\"header_too_large\"}", 1.0);

    // An endless target, with the default limit, after another request.
    let server = self::server(&[]);
    let mut client = Client::connect(server.address);
    client
        .send(format!("GET /else HTTP/1.1\r\nHost: a\r\n\r\nGET /{}", "a".repeat(8300)).as_bytes());
    assert_eq!([client.response().0, client.response().0], [404, 414]);
    client.expect_end();
}

#[test]
fn a_content_length_of_0_is_accepted_and_all_other_framing_is_refused() {
    let server = server(&[]);
    for length in ["Content-Length: 0", "content-length:0", "Content-Length: 00 "] {
        let mut client = Client::connect(server.address);
        let (status, head, _) = client.request(&with(&format!("Host: a\r\n{length}\r\n")));
        assert_eq!(status, 101, "{length} {head}");
        client.send(&frame(PING, b"!"));
        assert_eq!(client.frame(), (PONG, b"!".to_vec()));
    }
    // A request that is smuggled as a body is not read.
    let hidden = with("Host: hidden\r\n");
    for lines in [
        "Content-Length: 5",
        "Content-Length: 0\r\nContent-Length: 0",
        "Content-Length: 0\r\nX: y\r\ncOnTeNt-LeNgTh:0",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length: 0, 0",
        "Content-Length: +0",
        "Content-Length: -0",
        "Content-Length: 0x0",
        "Content-Length:",
        "Content-Length : 0",
        "Content-Length\t: 0",
        " Content-Length: 0",
        "Content-Length: 0\r\n Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x",
    ] {
        for line in ["GET /ws/status", "POST /ws/status", "GET /else"] {
            let mut client = Client::connect(server.address);
            let request = with(&format!("Host: a\r\n{lines}\r\n")).replace("GET /ws/status", line);
            client.send(format!("{request}0\r\n\r\n{hidden}").as_bytes());
            let (status, head, _) = client.response();
            assert!((400..500).contains(&status), "{line} with {lines:?}: {status}");
            assert_eq!(status == 400, status != 404 && status != 405, "{line} with {lines:?}");
            let is_closed = head.lines().any(|line| line == "connection: close");
            assert!(is_closed, "{line} with {lines:?}: {head}");
            client.expect_end();
        }
    }
    assert_eq!(server.metric("sessions_opened_total"), 3.0);
}

#[test]
fn each_head_on_a_connection_is_checked_and_frames_after_an_upgrade_are_not() {
    let server = server(&[]);
    // In one write, and byte by byte.
    let plain = "GET /else HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let requests = format!("\r\n{plain}{}{plain}GET /#", plain.replace("\r\n", "\n"));
    for size in [requests.len(), 1] {
        let mut client = Client::connect(server.address);
        for part in requests.as_bytes().chunks(size) {
            client.send(part);
        }
        let statuses = [(); 4].map(|()| client.response().0);
        assert_eq!(statuses, [404, 404, 404, 400]);
        client.expect_end();
    }
    // Frames that arrive with the request look like a target with a fragment, a target that is too long,
    // and a second length.
    let long = [frame(PING, &[b'a'; 125])].concat().repeat(16);
    let lengths = frame(PING, b"\r\ncontent-length:0\r\ncontent-length:0\r\n");
    let beginnings = [frame(PING, b"#"), frame(PING, b"\n#"), long, lengths, vec![b'#']];
    for beginning in beginnings {
        let mut client = Client::connect(server.address);
        client.send(&[UPGRADE.as_bytes(), &beginning].concat());
        assert_eq!(client.head().0, 101);
        if beginning == b"#" {
            // This is no valid frame, so the session closes.
            client.send(&[0x80, 0, 0, 0, 0]);
            assert_eq!(client.frame().0, support::CLOSE);
        } else {
            for _ in 0..if beginning.len() > 1000 { 16 } else { 1 } {
                assert_eq!(client.frame().0, PONG);
            }
        }
    }
}
