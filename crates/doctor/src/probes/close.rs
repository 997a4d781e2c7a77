//! Do close codes and reasons arrive?

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Attempt, CLOSE, Opened, RESERVED, Received, Session, Stop};
use crate::context::{Context, time};
use crate::escape::escape;
use crate::finding::{Finding, Question};
use crate::probes::ping::describe;
use crate::remedies::Remedy;

const QUESTION: Question = Question::Close;

/// A normal end, and an error of the protocol (RFC 6455, section 7.4.1).
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;

/// Closes a session, and provokes the server to close another one.
pub(crate) async fn close(context: &Context<'_>) -> Vec<Finding> {
    let Attempt::Open(Opened { mut session, took: handshake, .. }) = context.open().await else {
        return Vec::new();
    };
    let payload = [&NORMAL.to_be_bytes()[..], b"doctor"].concat();
    let echo = closed(&mut session, CLOSE, &payload, context.limit()).await;
    let mut findings = vec![echoed(&echo, handshake)];
    if echo.is_ok() {
        findings.extend(end(&mut session, context.limit()).await);
    }
    let Attempt::Open(Opened { mut session, .. }) = context.open().await else { return findings };
    let answer = closed(&mut session, RESERVED, b"", context.limit()).await;
    findings.push(provoked(&answer));
    findings
}

struct Closed {
    code: Option<u16>,
    reason: Vec<u8>,
    took: Duration,
}

/// Sends a frame, and waits for the Close frame of the server.
async fn closed(
    session: &mut Session,
    first: u8,
    payload: &[u8],
    limit: Duration,
) -> Result<Closed, Stop> {
    let began = Instant::now();
    session.send(first, payload).await?;
    loop {
        if let Received::Close(code, reason) = session.next(began + limit).await? {
            return Ok(Closed { code, reason, took: began.elapsed() });
        }
    }
}

fn echoed(echo: &Result<Closed, Stop>, handshake: Duration) -> Finding {
    match echo {
        Ok(Closed { code: Some(NORMAL), took, .. }) => {
            let sentence = format!("our Close frame with 1000 is echoed in {}", time(*took));
            if *took > 2 * handshake + Duration::from_millis(150) {
                let sentence =
                    format!("{sentence}, which is late: frames are held back on the way");
                return Finding::warning(
                    QUESTION,
                    "close_delayed",
                    sentence,
                    [Remedy::ForwardAtOnce],
                );
            }
            Finding::ok(QUESTION, "close_echoed", sentence).measuring("close_ms", *took)
        }
        Ok(Closed { code, .. }) => {
            let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
            let sentence = format!("our Close frame with 1000 is answered with {code}");
            Finding::warning(QUESTION, "close_code_changed", sentence, [Remedy::PassFrames])
        }
        Err(stop) => {
            let sentence =
                format!("our Close frame is not echoed: {}; clients see 1006", describe(stop));
            Finding::warning(QUESTION, "close_not_echoed", sentence, [Remedy::PassFrames])
        }
    }
}

/// After both Close frames the server closes the connection (RFC 6455, section 7.1.1).
async fn end(session: &mut Session, limit: Duration) -> Option<Finding> {
    let until = Instant::now() + limit;
    loop {
        match session.next(until).await {
            Ok(_) => {}
            Err(Stop::TimedOut) => {
                let sentence = "the connection stays open after both Close frames: the end of the server's is \
                                not passed on";
                let remedy = Remedy::Network(
                    "a gateway that keeps connections after their other side has ended".to_owned(),
                );
                return Some(Finding::warning(QUESTION, "end_not_passed_on", sentence, [remedy]));
            }
            Err(Stop::Ended(_) | Stop::NotAFrame(_)) => return None,
        }
    }
}

fn provoked(answer: &Result<Closed, Stop>) -> Finding {
    match answer {
        Ok(Closed { code: Some(PROTOCOL_ERROR), reason, .. }) if !reason.is_empty() => {
            let sentence = format!(
                "a reserved opcode is answered with 1002 and the reason \"{}\"",
                escape(reason)
            );
            Finding::ok(QUESTION, "close_reason_arrives", sentence)
        }
        Ok(Closed { code, reason, .. }) => {
            let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
            let sentence = format!(
                "a reserved opcode is answered with {code} and the reason \"{}\", where the server says 1002 \
                 with a reason",
                escape(reason)
            );
            Finding::warning(QUESTION, "close_reason_changed", sentence, [Remedy::PassFrames])
        }
        Err(stop) => {
            let sentence = format!(
                "the server's Close frame with 1002 does not arrive: {}; clients see 1006 and not why",
                describe(stop)
            );
            Finding::warning(QUESTION, "close_lost", sentence, [Remedy::PassFrames])
        }
    }
}
