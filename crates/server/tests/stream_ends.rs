//! The stream end in the log of a closed session, over each protocol.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use support::http2::Http2;
use support::process::Process;
use support::protocols::{Session, SessionStream};
use support::tls::{self, Files};
use support::{Client, PING, PONG, close, document, frame, table, word};
use transport::StreamEnd;

/// How a client ends its session.
#[derive(Clone, Copy, Debug)]
enum Exit {
    /// An orderly end of the client's side of the stream.
    Orderly,
    /// A TCP FIN without `close_notify` or `END_STREAM`.
    TcpFin,
    /// A reset of the stream.
    StreamReset,
    /// A reset of the TCP connection.
    TcpReset,
    /// A closing handshake.
    Close,
}

/// Opens a session over each protocol: two in plaintext, then two over TLS.
fn sessions(plain: &Process, encrypted: &Process, files: &Files) -> [Session; 4] {
    let over_tls = |alpn: &[u8]| {
        let mut config = tls::client_config(&files.cert, rustls::ALL_VERSIONS);
        config.alpn_protocols = vec![alpn.to_vec()];
        tls::connect(encrypted.address, config)
    };
    let mut http1 = over_tls(b"http/1.1");
    tls::upgrade(&mut http1);
    let streams: [Box<dyn SessionStream>; 4] = [
        Box::new(Client::open(plain.address).0),
        Box::new(Http2::open(Client::connect(plain.address).0).unwrap()),
        Box::new(http1),
        Box::new(Http2::open(over_tls(b"h2")).unwrap()),
    ];
    let mut sessions = streams.map(Client);
    for session in &mut sessions {
        // The session is open, and all its output is read.
        session.send(&frame(PING, b""));
        assert_eq!(session.frame(), (PONG, vec![]));
    }
    sessions
}

fn reset_tcp(socket: &TcpStream) {
    set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
}

//= rfc8441#5-8 test
#[test]
fn each_stream_end_is_logged_with_its_word_over_every_protocol() {
    let files = Files::new("stream-ends");
    let (plain, encrypted) = (Process::start(&[]), files.start(&[]));
    for (exit, cause, error) in [
        (Exit::Orderly, "disconnected", "eof"),
        (Exit::TcpFin, "disconnected", "eof"),
        (Exit::StreamReset, "disconnected", "reset"),
        (Exit::TcpReset, "disconnected", "reset"),
        (Exit::Close, "peer_closed", ""),
    ] {
        for (index, mut session) in sessions(&plain, &encrypted, &files).into_iter().enumerate() {
            match exit {
                Exit::Orderly => session.0.end(),
                Exit::TcpFin => {
                    session.0.socket().shutdown(Shutdown::Write).unwrap();
                }
                Exit::StreamReset => session.0.reset(),
                Exit::TcpReset => reset_tcp(session.0.socket()),
                Exit::Close => session.send(&close(1000, "")),
            }
            if matches!(exit, Exit::StreamReset | Exit::TcpReset) {
                drop(session);
            }
            let process = if index < 2 { &plain } else { &encrypted };
            let line = process.event("closed");
            let logged = (&line["cause"], &line["error"]);
            assert_eq!(logged, (&cause.into(), &error.into()), "{exit:?} {index}: {line}");
        }
    }
}

#[test]
fn the_words_in_the_manual_are_those_of_the_code() {
    let rows = table(&document("operations.md"), "### Ends of a connection");
    let documented: Vec<String> = rows.iter().map(|row| word(&row[0])).collect();
    let words: Vec<&str> = StreamEnd::ALL.iter().map(|end| end.as_str()).collect();
    assert_eq!(documented, words);
}
