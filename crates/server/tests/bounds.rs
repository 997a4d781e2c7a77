//! Bounds on what clients can use, over real sockets: each test tries to exceed one.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::flooding_handler::FloodingHandler;
use support::protocols::{self, Protocol, Session};
use support::server::Server;
use support::{
    BINARY, CLOSE, Client, PING, PONG, TEXT, UPGRADE, close, close_payload, frame, head, header,
};

#[test]
fn a_head_that_is_too_large_gets_431() {
    let server = Server::start(&["--max-headers", "10"]);
    let long = format!("Host: a\r\nX: {}", "x".repeat(9000));
    let many = format!("Host: a\r\n{}Y: y", "X: x\r\n".repeat(20));
    for lines in [long, many] {
        let mut client = Client::connect(server.address);
        client.send(UPGRADE.replace("Host: a", &lines).as_bytes());
        assert_eq!(client.head().0, 431, "{}", lines.len());
    }
    let mut client = Client::connect(server.address);
    let fits = format!("Host: a\r\nX: {}", "x".repeat(7000));
    assert_eq!(client.request(&UPGRADE.replace("Host: a", &fits)).0, 101);
}

#[test]
fn a_refusal_reaches_a_client_that_keeps_sending() {
    let server = Server::start(&[]);
    let body = vec![b'x'; 4 << 20];
    let head = format!("Host: a\r\nContent-Length: {}", body.len());
    let with_body = UPGRADE.replace("Host: a", &head);
    let post = with_body.replace("GET", "POST");
    let endless = UPGRADE.replace("Host: a", &format!("Host: a\r\nX: {}", "x".repeat(20_000)));
    for (request, expected) in [(with_body, 400), (post, 405), (endless, 431)] {
        for _ in 0..10 {
            let mut client = Client::connect(server.address);
            let mut sender = client.0.try_clone().unwrap();
            let bytes = [request.as_bytes(), &body].concat();
            let sending = thread::spawn(move || sender.write_all(&bytes));
            assert_eq!(client.response().0, expected);
            client.expect_end();
            // The client sends everything without an error.
            sending.join().unwrap().unwrap();
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_system_discards_output_that_a_client_never_reads() {
    // The state of a socket that is closed while its output waits for a client that never reads.
    const FIN_WAIT_1: &str = "04";
    let flags = ["--ping-interval-secs=1", "--pong-timeout-secs=1", "--write-timeout-secs=0.2"];
    let server = protocols::start_with(FloodingHandler::default(), &flags);
    let mut clients = protocols::open_all(&server).map(|(protocol, mut client)| {
        client.0.open_windows();
        (protocol, client, false)
    });
    // The state of the server's socket, while the system lists it.
    let state = |sockets: &str, client: &Session| {
        let socket = client.0.socket();
        let [ours, theirs] = [socket.peer_addr().unwrap(), socket.local_addr().unwrap()]
            .map(|address| format!("0100007F:{:04X} ", address.port()));
        let (_, rest) = sockets.split_once(&(ours + &theirs))?;
        rest.get(..2).map(str::to_owned)
    };
    let begin = Instant::now();
    loop {
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
        let mut left = Vec::new();
        for (protocol, client, has_ended) in &mut clients {
            let state = state(&sockets, client);
            // An HTTP/2 connection may outlive its sessions.
            let is_http2 = matches!(protocol, Protocol::Http2 | Protocol::Http2Tls);
            *has_ended |= is_http2 || state.as_deref() == Some(FIN_WAIT_1);
            if !*has_ended || state.is_some() {
                left.push((*protocol, state));
            }
        }
        if left.is_empty() {
            return;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "TCP_USER_TIMEOUT is ten seconds: {left:?}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_endless_head_is_refused_at_its_size_limit_before_its_deadline() {
    let server = Server::start(&[]);
    let begin = Instant::now();
    let mut client = Client::connect(server.address);
    client.send(b"GET /ws/status HTTP/1.1\r\n");
    while begin.elapsed() < Duration::from_secs(5) {
        if client.0.write_all(b"X: endless\r\n").is_err() {
            return;
        }
    }
    panic!("the head is still read after {:?}", begin.elapsed());
}

#[test]
fn an_address_at_its_limit_delays_no_other_client() {
    let server = Server::start(&["--max-connections-per-address", "1"]);
    let _session = Client::open(server.address);
    // More connections than can be refused at once, all without a request.
    let silent: Vec<TcpStream> =
        (0..1000).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let begin = Instant::now();
    let mut other = Client::connect_from([127, 0, 0, 5].into(), server.address);
    assert_eq!(other.request(UPGRADE).0, 101);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    drop(silent);
}

#[test]
fn a_connection_is_closed_after_20_refusals() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.address);
    let request = "GET /else HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..19 {
        let (status, head, _) = client.request(request);
        assert_eq!((status, header(&head, "connection")), (404, None));
    }
    let (status, head, _) = client.request(request);
    assert_eq!((status, header(&head, "connection")), (404, Some("close")));
    client.expect_end();
}

#[test]
fn an_address_has_a_connection_limit_and_its_permits_are_released() {
    let server = Server::start(&["--max-connections-per-address", "2"]);
    let mut first = Client::open(server.address);
    let _second = Client::open(server.address);
    let (status, head, body) = Client::connect(server.address).request(UPGRADE);
    assert_eq!(status, 429);
    assert_eq!(header(&head, "retry-after"), Some("5"));
    assert!(body.starts_with("address_limit: "), "{body}");

    first.send(&close(1000, ""));
    first.frame();
    first.expect_end();
    let until = Instant::now() + Duration::from_secs(5);
    while Client::connect(server.address).request(UPGRADE).0 != 101 {
        assert!(Instant::now() < until, "the permit is not released");
    }
}

#[test]
fn each_flood_is_closed_with_1008() {
    let flags = ["messages-per-second", "control-frames-per-second"].map(|it| format!("--{it}=1"));
    let bursts = ["message-burst", "control-frame-burst"].map(|it| format!("--{it}=3"));
    let flags: Vec<&str> = flags.iter().chain(&bursts).map(String::as_str).collect();
    let server = protocols::start(&flags);
    for flood in [frame(TEXT, b"x"), frame(PING, b""), frame(PONG, b"unasked")] {
        for (protocol, mut client) in protocols::open_all(&server) {
            client.send(&flood.repeat(4));
            let last = loop {
                match client.frame() {
                    (PONG, _) => {}
                    other => break other,
                }
            };
            assert_eq!(last, (CLOSE, close_payload(1008, "rate_limited")), "{protocol:?}");
            client.send(&close(1008, ""));
            client.expect_end();
        }
    }
}

#[test]
fn a_rate_limit_of_0_is_disabled() {
    let server = protocols::start(&["--messages-per-second=0", "--control-frames-per-second=0"]);
    for (protocol, mut client) in protocols::open_all(&server) {
        client.send(&frame(TEXT, b"x").repeat(1000));
        client.send(&frame(PING, b"!").repeat(100));
        for _ in 0..100 {
            assert_eq!(client.frame(), (PONG, b"!".to_vec()), "{protocol:?}");
        }
    }
}

#[test]
fn an_unfinished_message_is_closed_at_the_message_timeout() {
    let beginnings = [
        vec![TEXT],
        head(TEXT, 100),
        frame(TEXT, &[b'x'; 100])[..50].to_vec(),
        frame(TEXT & 0x7f, b"a part of it"),
    ];
    let server = protocols::start(&["--message-timeout-secs=0.3", "--close-timeout-secs=0.3"]);
    for beginning in beginnings {
        let mut clients = protocols::open_all(&server);
        let begin = Instant::now();
        for (_, client) in &mut clients {
            client.send(&beginning);
        }
        for (protocol, client) in &mut clients {
            let expected = (CLOSE, close_payload(1008, "message_timeout"));
            assert_eq!(client.frame(), expected, "{protocol:?}, {beginning:?}");
            assert!((0.3..3.0).contains(&begin.elapsed().as_secs_f64()), "{:?}", begin.elapsed());
            // Any input would belong to the unfinished message, so only the timeout can end the session.
            client.expect_end();
        }
    }
}

#[test]
fn a_message_that_arrives_byte_by_byte_gets_no_longer_deadline() {
    let server = protocols::start(&["--message-timeout-secs=0.3"]);
    for (protocol, mut client) in protocols::open_all(&server) {
        let begin = Instant::now();
        client.send(&head(TEXT, 1000));
        // The read timeout paces the bytes.
        client.0.socket().set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let mut output = [0; 19];
        while client.0.read(&mut output[..1]).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(5), "{protocol:?} is read forever");
            client.send(b"x");
        }
        client.0.read_exact(&mut output[1..]).unwrap();
        let expected = [&[CLOSE, 17][..], &close_payload(1008, "message_timeout")].concat();
        assert_eq!(&output[..], expected, "{protocol:?}");
        assert!(
            begin.elapsed() >= Duration::from_millis(300),
            "{protocol:?}: {:?}",
            begin.elapsed()
        );
    }
}

#[test]
fn the_size_limit_applies_to_all_fragments_of_a_message_together() {
    let server = protocols::start(&["--max-message-bytes=1000"]);
    let first = frame(TEXT & 0x7f, b"");
    let empty = [first.clone(), frame(0, b"").repeat(400)].concat();
    let full = [first, frame(0, &[b'x'; 100]).repeat(11)].concat();
    for sent in [empty, full] {
        for (protocol, mut client) in protocols::open_all(&server) {
            client.send(&sent);
            assert_eq!(client.frame(), (CLOSE, close_payload(1009, "too_big")), "{protocol:?}");
            client.expect_end();
        }
    }
}

#[test]
fn huge_declared_lengths_are_closed_from_the_frame_header_alone() {
    let server = protocols::start(&[]);
    let too_big = close_payload(1009, "too_big");
    // RFC 6455, section 5.2: the first bit is 0.
    let invalid = close_payload(1002, "protocol_error");
    for (length, close) in [
        ([0, 0, 0, 0, 1, 0, 0, 0], &too_big),
        ([0, 0, 0, 0, 0x80, 0, 0, 0], &too_big),
        ([0x40, 0, 0, 0, 0, 0, 0, 0], &too_big),
        ([0x80, 0, 0, 0, 0, 0, 0, 1], &invalid),
        ([0xff; 8], &invalid),
    ] {
        for (protocol, mut client) in protocols::open_all(&server) {
            client.send(&[&[0x82, 0xff][..], &length, &[1, 2, 3, 4]].concat());
            assert_eq!(client.frame(), (CLOSE, close.clone()), "{protocol:?}, {length:?}");
        }
    }
}

#[test]
fn a_client_that_pings_and_never_reads_is_disconnected() {
    let flags = ["--control-frames-per-second", "0", "--write-timeout-secs", "0.5"];
    let server = protocols::start(&flags);
    let pings = frame(PING, &[7; 125]).repeat(100);
    for (protocol, mut client) in protocols::open_all(&server) {
        client.0.socket().set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        let begin = Instant::now();
        while client.0.write_all(&pings).is_ok() {
            let elapsed = begin.elapsed();
            assert!(elapsed < Duration::from_secs(10), "{protocol:?}: the server still reads");
        }
        // A reset or an end of the stream ended the loop, and not the write timeout of the client.
        assert!(begin.elapsed() < Duration::from_secs(5), "{protocol:?}: {:?}", begin.elapsed());
        let mut rest = Vec::new();
        let end = client.0.read_to_end(&mut rest);
        // Plain TCP may hide that pongs are missing; TLS and HTTP/2 report it.
        assert!(end.is_err() || matches!(protocol, Protocol::Http1), "{protocol:?}");
    }
}

#[test]
fn a_client_that_reads_byte_by_byte_receives_everything_in_order() {
    const BYTES: usize = 20_000;
    let flags = ["--write-timeout-secs=2", "--max-queued-bytes=4096"];
    let server = protocols::start_with(FloodingHandler::default(), &flags);
    let message = [&[BINARY, 126, 4, 0][..], &[0; 1024]].concat();
    for (protocol, mut client) in protocols::open_all(&server) {
        for expected in message.iter().cycle().take(BYTES) {
            let mut byte = [0xaa];
            client.0.read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], *expected, "{protocol:?}");
        }
    }
}

#[test]
fn a_client_that_resets_or_disconnects_within_a_frame_releases_its_permit() {
    let server = protocols::start(&["--max-connections=1"]);
    let open = |protocol: Protocol| {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(client) = protocol.try_open(&server) {
                return client;
            }
            assert!(Instant::now() < until, "{protocol:?}: the permit is not released");
        }
    };
    for protocol in Protocol::ALL {
        for is_reset in [true, false] {
            let mut client = open(protocol);
            client.send(&[&frame(TEXT, b"whole")[..], &frame(TEXT, b"half")[..4]].concat());
            if is_reset {
                client.0.reset();
            }
        }
    }
    // The last client of the loop has released its permit, too.
    open(Protocol::Http1);
}

#[test]
fn silent_clients_at_the_limit_do_not_delay_the_refusal_of_others() {
    let server = Server::start(&["--max-connections", "1"]);
    let _session = Client::open(server.address);
    let _silent: Vec<Client> = (0..200).map(|_| Client::connect(server.address)).collect();
    // Without a permit, a connection has one second to send its request instead of ten.
    let begin = Instant::now();
    let (status, head, _) = Client::connect(server.address).request(UPGRADE);
    assert_eq!(status, 503);
    assert_eq!(header(&head, "retry-after"), Some("5"));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn silent_clients_at_the_limit_do_not_prolong_a_shutdown() {
    let mut server = Server::start(&["--max-connections", "1", "--close-timeout-secs", "0.5"]);
    let mut session = Client::open(server.address);
    let _silent: Vec<Client> = (0..300).map(|_| Client::connect(server.address)).collect();
    server.begin_shutdown();
    session.answer_drain();
    let summary = server.join();
    assert_eq!((summary.clean, summary.aborted), (1, 0));
    assert!(summary.duration < Duration::from_secs(4), "{:?}", summary.duration);
}
