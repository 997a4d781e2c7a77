//! Do pings come back, and how fast?

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Attempt, Opened, PING, Received, Session, Stop};
use crate::context::{Context, time};
use crate::finding::{Finding, Question};
use crate::remedies::Remedy;

const QUESTION: Question = Question::Ping;

/// Few enough for the rate of every server.
const COUNT: u8 = 5;

/// The least time between pings that are sent on and on: servers allow ten in a second.
pub(super) const PAUSE: Duration = Duration::from_millis(125);

/// What pings showed.
pub(crate) struct Pings {
    /// The session is still open.
    pub(crate) session: Session,
    /// The time to open the connection to what is next on the way.
    pub(crate) dialed: Duration,
    /// The time of the handshake, which took the same way as the pings.
    pub(crate) handshake: Duration,
    /// In ascending order.
    pub(crate) round_trips: Vec<Duration>,
    /// Why there are no more.
    pub(crate) stop: Option<Stop>,
}

/// Sends pings one after the other on a session.
pub(crate) async fn ping(context: &Context<'_>) -> (Finding, Option<Pings>) {
    let Attempt::Open(Opened { mut session, dialed, took: handshake, .. }) = context.open().await
    else {
        let sentence = "a further handshake was refused, so no ping was sent";
        return (Finding::warning(QUESTION, "no_session", sentence, [Remedy::RateLimit]), None);
    };
    let mut round_trips = Vec::new();
    let mut stop = None;
    for number in 0..COUNT {
        match round_trip(&mut session, number, context.limit()).await {
            Ok(took) => round_trips.push(took),
            Err(reason) => {
                stop = Some(reason);
                break;
            }
        }
    }
    round_trips.sort_unstable();
    let finding = judge(&round_trips, stop.as_ref());
    (finding, Some(Pings { session, dialed, handshake, round_trips, stop }))
}

async fn round_trip(session: &mut Session, number: u8, limit: Duration) -> Result<Duration, Stop> {
    let payload = [b"doctor", [number].as_slice()].concat();
    let began = Instant::now();
    session.send(PING, &payload).await?;
    loop {
        match session.next(began + limit).await? {
            Received::Pong(pong) if pong == payload => return Ok(began.elapsed()),
            Received::Pong(_) | Received::Data | Received::Ping => {}
            Received::Close(..) => return Err(Stop::Ended(None)),
        }
    }
}

fn judge(round_trips: &[Duration], stop: Option<&Stop>) -> Finding {
    let (Some(least), Some(median)) = (round_trips.first(), round_trips.get(round_trips.len() / 2))
    else {
        return unanswered(stop);
    };
    if let Some(stop) = stop {
        let sentence = format!("after {} pings {}", round_trips.len(), describe(stop));
        let remedies = [Remedy::PassFrames, Remedy::TotalLimit];
        return Finding::failure(QUESTION, "pings_stopped", sentence, remedies);
    }
    let sentence = format!(
        "{} pings came back: the fastest in {}, the median in {}",
        round_trips.len(),
        time(*least),
        time(*median)
    );
    Finding::ok(QUESTION, "pings_answered", sentence)
        .measuring("ping_min_ms", *least)
        .measuring("ping_median_ms", *median)
}

fn unanswered(stop: Option<&Stop>) -> Finding {
    let stop = stop.unwrap_or(&Stop::TimedOut);
    let sentence = format!("a ping does not come back: {}", describe(stop));
    let word = match stop {
        Stop::Ended(_) => "session_cut",
        Stop::NotAFrame(_) => "not_a_frame",
        Stop::TimedOut => "pings_swallowed",
    };
    Finding::failure(QUESTION, word, sentence, [Remedy::PassFrames, Remedy::ForwardAtOnce])
}

/// What ended the wait for a frame.
pub(super) fn describe(stop: &Stop) -> String {
    match stop {
        Stop::Ended(None) => "the connection ended".to_owned(),
        Stop::Ended(Some(kind)) => format!("the connection ended ({kind})"),
        Stop::NotAFrame(why) => format!("what arrives is not a frame of a server: {why}"),
        Stop::TimedOut => "nothing arrived in time".to_owned(),
    }
}
