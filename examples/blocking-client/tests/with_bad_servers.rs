//! The client with servers that do what a server should not.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::Duration;

use support::{Client, End, misbehaving, misbehaving_at_once, read_to_end, write};
use tungstenite::{Bytes, Message};

const SHORT: [&str; 6] =
    ["--ping-interval", "0.2", "--pong-timeout", "0.3", "--close-timeout", "0.3"];

/// The client never stays longer in a read or a write.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Expects an end after so many seconds, or later if the machine is busy with other tests.
#[track_caller]
fn expect_after(seconds: f64, end: &End) {
    let least = Duration::from_secs_f64(seconds);
    assert!(least <= end.lifetime && end.lifetime < least + Duration::from_secs(2), "{end:?}");
}

#[test]
fn a_silent_server_is_given_up_after_the_interval_and_the_pong_timeout() {
    let (url, _serving) = misbehaving(|mut socket| read_to_end(&mut socket));
    let end = Client::start(&url, &SHORT).end();
    end.expect(1, "closed cause=pong_timeout code=1006 reason=\"\" clean=false");
    // The first ping comes at 0.9 to 1.0 of the interval.
    expect_after(0.18 + 0.3, &end);
}

#[test]
fn a_server_that_trickles_is_given_up_like_a_silent_one() {
    let (url, serving) = misbehaving(|mut socket| {
        // The head of a long frame, and then each byte well before a timeout of the client's socket.
        write(&mut socket, &[0x81, 126, 0xff, 0xff]);
        while socket.get_mut().write_all(b"a").is_ok() {
            sleep(LOOK_AROUND / 10);
        }
    });
    let end = Client::start(&url, &SHORT).end();
    end.expect(1, "closed cause=pong_timeout");
    expect_after(0.18 + 0.3, &end);
    serving.join().unwrap();
}

#[test]
fn a_frame_in_pieces_with_long_pauses_is_not_lost() {
    let (url, serving) = misbehaving(|mut socket| {
        let frame = [&[0x81, 11][..], b"whole again"].concat();
        let (first, rest) = frame.split_at(1);
        write(&mut socket, first);
        // The machine's deadline passes in the middle of the frame.
        assert!(matches!(socket.read(), Ok(Message::Ping(_))));
        for piece in rest.chunks(4) {
            sleep(LOOK_AROUND * 3 / 2);
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
fn a_server_that_sends_pings_and_reads_nothing_is_given_up() {
    let (url, serving) = misbehaving(|mut socket| {
        let ping = [&[0x89, 125][..], &[b'p'; 125]].concat().repeat(1000);
        while socket.get_mut().write_all(&ping).is_ok() {}
    });
    let end = Client::start(&url, &["--ping-interval", "60", "--pong-timeout", "0.3"]).end();
    end.expect(1, "closed cause=write_timeout code=1006");
    serving.join().unwrap();
}

#[test]
fn a_server_that_breaks_the_rules_is_told_so_and_waited_for() {
    // A masked text, and a head that announces too much; a reset would lose what is said of them.
    let faults: [(&[u8], u16, &str); 2] = [
        (&[0x81, 0x81, 1, 2, 3, 4, 5], 1002, "protocol_error"),
        (&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0], 1009, "too_big"),
    ];
    for (fault, code, cause) in faults {
        let (url, serving) = misbehaving(move |mut socket| {
            write(&mut socket, fault);
            let Ok(Message::Close(Some(frame))) = socket.read() else { panic!() };
            write(&mut socket, b"what is not understood any more");
            sleep(LOOK_AROUND * 3 / 2);
            write(&mut socket, b"and is read away");
            (u16::from(frame.code), frame.reason.to_string())
        });
        let client = Client::start(&url, &[]);
        assert_eq!(serving.join().unwrap(), (code, cause.to_owned()));
        let record = format!("closed cause={cause} code={code} reason={cause:?} clean=false");
        client.end().expect(1, &record);
    }
}

#[test]
fn a_server_that_does_not_answer_a_close_is_waited_for_and_not_forever() {
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
fn a_server_that_answers_a_close_and_does_not_hang_up_is_waited_for_and_not_forever() {
    let (url, serving) = misbehaving(|mut socket| {
        socket.send("hello".into()).unwrap();
        assert!(matches!(socket.read(), Ok(Message::Close(Some(_)))));
        // A close frame with 1000.
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
fn a_server_that_vanishes_is_reported_with_1006() {
    let (url, serving) = misbehaving(drop);
    Client::start(&url, &[]).end().expect(1, "closed cause=disconnected code=1006");
    serving.join().unwrap();
}

#[test]
fn a_server_that_trickles_its_answer_is_given_up() {
    let (url, serving) = misbehaving_at_once(|mut stream| {
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nX: ").unwrap();
        // tungstenite gives up by itself after 64 pieces, which is later.
        while stream.write_all(b"a").is_ok() {
            sleep(LOOK_AROUND);
        }
    });
    let end = Client::start(&url, &["--open-timeout", "0.3"]).end();
    end.expect(2, "no session was opened: IO error: timed out");
    expect_after(0.3, &end);
    serving.join().unwrap();
}

#[test]
fn what_is_no_session_ends_with_2() {
    let (url, serving) = misbehaving_at_once(|mut stream| {
        stream.write_all(b"I am no HTTP server\r\n\r\n").unwrap();
    });
    Client::start(&url, &[]).end().expect(2, "no session was opened: ");
    serving.join().unwrap();

    let vacant = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = vacant.local_addr().unwrap();
    drop(vacant);
    Client::start(&format!("ws://{address}/"), &[]).end().expect(2, "cannot be connected to");
    Client::start("wss://127.0.0.1/", &[]).end().expect(2, "is not one of ws://");
    Client::start("ws://127.0.0.1/", &["--ping-interval", "-1"]).end().expect(2, "usage: ");
}
