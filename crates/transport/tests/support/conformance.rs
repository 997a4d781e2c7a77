//! Conformance cases: input in segments, the expected output, and the expected state afterwards.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::Instant;
use transport::ws_core::Cause;

use super::{CLOSE, Echo, PING, PONG, TestSession, close_payload, frame, head, in_time, open};

/// The output of a session with the handler [`Echo`], and its state afterwards.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// It stays open.
    Open(Vec<u8>),
    /// It ends after a complete closing handshake.
    Closed(Vec<u8>),
    /// It ends at once and not clean.
    Failed(Vec<u8>),
}

/// Runs one case. The session processes each segment before the next arrives.
pub(crate) async fn check(section: &str, what: &str, segments: &[&[u8]], outcome: Outcome) {
    let mut session = open(Echo::default(), 64 * 1024);
    let start = Instant::now();
    for segment in segments {
        session.peer.send(segment).await;
        yield_now().await;
    }
    // An open session answers this, a failed one discards it, and an ended one does not read it.
    let _ = in_time(session.peer.0.write_all(&frame(PING, b"alive?"))).await;
    let (expected, clean) = match outcome {
        Outcome::Closed(output) => (output, true),
        Outcome::Failed(output) => (output, false),
        Outcome::Open(output) => {
            session.peer.0.shutdown().await.unwrap();
            ([output, server_frame(PONG, b"alive?")].concat(), false)
        }
    };
    assert_eq!(rest(&mut session).await, expected, "RFC 6455 {section}, {what}");
    assert_eq!(start.elapsed(), Duration::ZERO, "RFC 6455 {section}, {what}");
    session.peer.0.shutdown().await.unwrap();
    assert_eq!(session.end().await.clean, clean, "RFC 6455 {section}, {what}");
}

/// The rest of the session's output.
pub(crate) async fn rest(session: &mut TestSession) -> Vec<u8> {
    let mut output = Vec::new();
    in_time(session.peer.0.read_to_end(&mut output)).await.unwrap();
    output
}

/// A server frame: not masked (section 5.1), with the minimal length encoding (section 5.2).
pub(crate) fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len());
    frame[1] &= 0x7f;
    frame.extend(payload);
    frame
}

/// A fragmented message.
pub(crate) fn fragments(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let frames = parts.iter().enumerate().map(|(number, part)| {
        let first = if number == 0 { first & 0x0f } else { 0 };
        frame(if number + 1 == parts.len() { 0x80 | first } else { first }, part)
    });
    frames.collect::<Vec<_>>().concat()
}

pub(crate) fn echoed(first: u8, payload: &[u8]) -> Outcome {
    Outcome::Open(server_frame(first, payload))
}

pub(crate) fn failed(code: u16) -> Outcome {
    let reason = match code {
        1002 => Cause::ProtocolError,
        1007 => Cause::InvalidUtf8,
        1009 => Cause::TooBig,
        other => panic!("{other}"),
    };
    Outcome::Failed(server_frame(CLOSE, &close_payload(code, reason.as_str())))
}
