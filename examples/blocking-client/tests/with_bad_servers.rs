//! The client with servers that violate the protocol or stop responding.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::Duration;

use support::{Client, End, misbehaving, misbehaving_from_the_first_byte, read_to_end, write};
use tungstenite::{Bytes, Message};

const SHORT: [&str; 6] =
    ["--ping-interval", "0.2", "--pong-timeout", "0.3", "--close-timeout", "0.3"];

/// The longest time that the client blocks in one read or write.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Expects an end after `seconds`, or up to 2 s later on a loaded machine.
#[track_caller]
fn expect_after(seconds: f64, end: &End) {
    let least = Duration::from_secs_f64(seconds);
    assert!(least <= end.lifetime && end.lifetime < least + Duration::from_secs(2), "{end:?}");
}

#[test]
fn a_silent_server_times_out_after_the_ping_interval_and_the_pong_timeout() {
    let (url, _serving) = misbehaving(|mut socket| read_to_end(&mut socket));
    let end = Client::start(&url, &SHORT).end();
    end.expect(1, "closed cause=pong_timeout code=1006 reason=\"\" clean=false");
    // The first ping is sent after 0.9 to 1.0 of the interval.
    expect_after(0.18 + 0.3, &end);
}

#[test]
fn a_partial_frame_that_arrives_slowly_does_not_delay_the_pong_timeout() {
    let (url, serving) = misbehaving(|mut socket| {
        // The header of a long frame, then single bytes at intervals well below the socket timeout.
        write(&mut socket, &[0x81, 126, 0xff, 0xff]);
        while socket.get_mut().write_all(b"a").is_ok() {
            sleep(POLL_INTERVAL / 10);
        }
    });
    let end = Client::start(&url, &SHORT).end();
    end.expect(1, "closed cause=pong_timeout");
    expect_after(0.18 + 0.3, &end);
    serving.join().unwrap();
}

#[test]
fn a_frame_that_arrives_in_parts_with_long_pauses_is_not_lost() {
    let (url, serving) = misbehaving(|mut socket| {
        let frame = [&[0x81, 11][..], b"whole again"].concat();
        let (first, rest) = frame.split_at(1);
        write(&mut socket, first);
        // The state machine's deadline passes in the middle of the frame.
        assert!(matches!(socket.read(), Ok(Message::Ping(_))));
        for piece in rest.chunks(4) {
            sleep(POLL_INTERVAL * 3 / 2);
            write(&mut socket, piece);
        }
        socket.close(None).unwrap();
        read_to_end(&mut socket);
    });
    let client = Client::start(&url, &["--ping-interval", "0.05"]);
    assert_eq!(client.line(), "whole again");
    client.end().expect(0, "closed cause=peer_closed code=1005 reason=\"\" clean=true");
    serving.join().unwrap();
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let (url, serving) = misbehaving(|mut socket| {
        socket.send(Message::Ping(Bytes::from_static(b"are you there"))).unwrap();
        socket.read().unwrap()
    });
    let client = Client::start(&url, &[]);
    assert_eq!(serving.join().unwrap(), Message::Pong(Bytes::from_static(b"are you there")));
    client.end().expect(1, "closed cause=disconnected code=1006");
}

#[test]
fn a_server_that_sends_pings_and_reads_nothing_times_out() {
    let (url, serving) = misbehaving(|mut socket| {
        let ping = [&[0x89, 125][..], &[b'p'; 125]].concat().repeat(1000);
        while socket.get_mut().write_all(&ping).is_ok() {}
    });
    let end = Client::start(&url, &["--ping-interval", "60", "--pong-timeout", "0.3"]).end();
    end.expect(1, "closed cause=write_timeout code=1006");
    serving.join().unwrap();
}

#[test]
fn a_protocol_violation_is_answered_with_a_close_frame_and_without_a_reset() {
    // A masked text frame, and a header that announces a frame above the limit. A reset would lose the
    // Close frame.
    let faults: [(&[u8], u16, &str); 2] = [
        (&[0x81, 0x81, 1, 2, 3, 4, 5], 1002, "protocol_error"),
        (&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0], 1009, "too_big"),
    ];
    for (fault, code, cause) in faults {
        let (url, serving) = misbehaving(move |mut socket| {
            write(&mut socket, fault);
            let Ok(Message::Close(Some(frame))) = socket.read() else { panic!() };
            write(&mut socket, b"input after the violation");
            sleep(POLL_INTERVAL * 3 / 2);
            write(&mut socket, b"is discarded");
            (u16::from(frame.code), frame.reason.to_string())
        });
        let client = Client::start(&url, &[]);
        assert_eq!(serving.join().unwrap(), (code, cause.to_owned()));
        let record = format!("closed cause={cause} code={code} reason={cause:?} clean=false");
        client.end().expect(1, &record);
    }
}

#[test]
fn the_wait_for_the_servers_close_frame_is_bounded() {
    let (url, serving) = misbehaving(|mut socket| {
        socket.send("hello".into()).unwrap();
        read_to_end(&mut socket)
    });
    let mut client = Client::start(&url, &["--close-timeout", "0.3"]);
    assert_eq!(client.line(), "hello");
    client.close_stdin();
    let end = client.end();
    end.expect(1, "closed cause=handler_closed code=1000 reason=\"\" clean=false");
    expect_after(0.3, &end);
    serving.join().unwrap();
}

#[test]
fn the_wait_for_the_servers_tcp_close_is_bounded() {
    let (url, serving) = misbehaving(|mut socket| {
        socket.send("hello".into()).unwrap();
        assert!(matches!(socket.read(), Ok(Message::Close(Some(_)))));
        // A Close frame with code 1000.
        write(&mut socket, &[0x88, 2, 3, 0xe8]);
        read_to_end(&mut socket)
    });
    let mut client = Client::start(&url, &["--close-timeout", "0.3"]);
    assert_eq!(client.line(), "hello");
    client.close_stdin();
    let end = client.end();
    end.expect(0, "closed cause=handler_closed code=1000 reason=\"\" clean=true");
    expect_after(0.3, &end);
    serving.join().unwrap();
}

#[test]
fn a_lost_connection_is_reported_with_1006() {
    let (url, serving) = misbehaving(drop);
    Client::start(&url, &[]).end().expect(1, "closed cause=disconnected code=1006");
    serving.join().unwrap();
}

#[test]
fn a_handshake_response_that_arrives_slowly_times_out() {
    let (url, serving) = misbehaving_from_the_first_byte(|mut stream| {
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nX: ").unwrap();
        // tungstenite's own limit, 64 reads, takes longer than the open timeout.
        while stream.write_all(b"a").is_ok() {
            sleep(POLL_INTERVAL);
        }
    });
    let end = Client::start(&url, &["--open-timeout", "0.3"]).end();
    end.expect(2, "no session was opened: IO error: timed out");
    expect_after(0.3, &end);
    serving.join().unwrap();
}

#[test]
fn a_failure_before_a_session_opens_exits_with_2() {
    let (url, serving) = misbehaving_from_the_first_byte(|mut stream| {
        stream.write_all(b"I am no HTTP server\r\n\r\n").unwrap();
    });
    Client::start(&url, &[]).end().expect(2, "no session was opened: ");
    serving.join().unwrap();

    let vacant = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = vacant.local_addr().unwrap();
    drop(vacant);
    Client::start(&format!("ws://{address}/"), &[]).end().expect(2, "cannot connect to");
    Client::start("wss://127.0.0.1/", &[]).end().expect(2, "only the scheme ws:// is supported");
    Client::start("ws://127.0.0.1/", &["--ping-interval", "-1"]).end().expect(2, "usage: ");
}
