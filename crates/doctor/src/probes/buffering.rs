//! Is data held back on the way?

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{MAX_CONTROL_BYTES, PING, Received, Stop};
use crate::context::{Context, time};
use crate::finding::{Finding, Question};
use crate::probes::ping::Pings;
use crate::remedies::Remedy;

const QUESTION: Question = Question::Buffering;

/// A frame that takes longer than the handshake by this is held back: the handshake took the same way, and
/// the server had more to do for it.
const DELAY: Duration = Duration::from_millis(150);

/// Pings that fill a buffer. With those of the probe before, they are below the burst of 20 that servers
/// allow.
const FILL: usize = 12;

/// Compares the pings with the handshake; if none came back, finds out whether more bytes push them out.
pub(crate) async fn buffering(context: &Context<'_>, pings: Pings) -> Option<Finding> {
    let Pings { mut session, handshake, round_trips, stop } = pings;
    if let Some(least) = round_trips.first() {
        if *least > 2 * handshake + DELAY {
            let sentence = format!(
                "a ping takes {}, where the handshake took {}: frames are held back on the way",
                time(*least),
                time(handshake)
            );
            return Some(Finding::warning(QUESTION, "frames_delayed", sentence, [Remedy::ForwardAtOnce]));
        }
        let sentence = format!("a frame takes no longer than the handshake ({})", time(handshake));
        return Some(Finding::ok(QUESTION, "forwarded_at_once", sentence));
    }
    if stop != Some(Stop::TimedOut) {
        return None;
    }
    for _ in 0..FILL {
        session.send(PING, &[b'x'; MAX_CONTROL_BYTES]).await.ok()?;
    }
    let until = Instant::now() + context.limit();
    while let Ok(received) = session.next(until).await {
        if matches!(received, Received::Pong(_)) {
            let sentence = "a ping came back only after many more bytes were sent: frames are collected on \
                            the way until a buffer is full";
            return Some(Finding::failure(QUESTION, "frames_collected", sentence, [Remedy::ForwardAtOnce]));
        }
    }
    None
}
