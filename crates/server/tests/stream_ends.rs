//! What the log says of how a connection ended, by real sockets and each of the four ways.
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
use support::tls::{self, Files};
use support::ways::{Session, Wire};
use support::{Client, PING, PONG, close, document, frame, table, word};
use transport::StreamEnd;

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// Its side of the session's stream is ended in order.
    InOrder,
    /// The TCP connection ends without a word of what is above it.
    WithTcp,
    /// The session's stream is reset.
    ByReset,
    /// The TCP connection is reset.
    ByResetOfTcp,
    /// With a closing handshake.
    Closing,
}

/// A session by each way: two in the clear, and two within TLS.
fn sessions(plain: &Process, encrypted: &Process, files: &Files) -> [Session; 4] {
    let within_tls = |protocol: &[u8]| {
        let mut config = tls::trusting(&files.cert, rustls::ALL_VERSIONS);
        config.alpn_protocols = vec![protocol.to_vec()];
        tls::connect(encrypted.address, config)
    };
    let mut http1 = within_tls(b"http/1.1");
    tls::upgrade(&mut http1);
    let wires: [Box<dyn Wire>; 4] = [
        Box::new(Client::open(plain.address).0),
        Box::new(Http2::open(Client::connect(plain.address).0).unwrap()),
        Box::new(http1),
        Box::new(Http2::open(within_tls(b"h2")).unwrap()),
    ];
    let mut sessions = wires.map(Client);
    for session in &mut sessions {
        // The session is there, and nothing is left unread.
        session.send(&frame(PING, b""));
        assert_eq!(session.frame(), (PONG, vec![]));
    }
    sessions
}

fn reset_tcp(socket: &TcpStream) {
    set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
}

#[test]
fn each_end_has_its_word_whichever_way_the_client_came() {
    let files = Files::new("stream-ends");
    let (plain, encrypted) = (Process::start(&[]), files.start(&[]));
    for (leaving, cause, error) in [
        (Leaving::InOrder, "disconnected", "eof"),
        (Leaving::WithTcp, "disconnected", "eof"),
        (Leaving::ByReset, "disconnected", "reset"),
        (Leaving::ByResetOfTcp, "disconnected", "reset"),
        (Leaving::Closing, "peer_closed", ""),
    ] {
        for (index, mut session) in sessions(&plain, &encrypted, &files).into_iter().enumerate() {
            match leaving {
                Leaving::InOrder => session.0.end(),
                Leaving::WithTcp => {
                    session.0.socket().shutdown(Shutdown::Write).unwrap();
                }
                Leaving::ByReset => session.0.reset(),
                Leaving::ByResetOfTcp => reset_tcp(session.0.socket()),
                Leaving::Closing => session.send(&close(1000, "")),
            }
            if matches!(leaving, Leaving::ByReset | Leaving::ByResetOfTcp) {
                drop(session);
            }
            let process = if index < 2 { &plain } else { &encrypted };
            let line = process.event("closed");
            let told = (&line["cause"], &line["error"]);
            assert_eq!(told, (&cause.into(), &error.into()), "{leaving:?} {index}: {line}");
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
