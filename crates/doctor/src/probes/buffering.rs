//! Is data held back on the way?

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{MAX_CONTROL_BYTES, PING, Received, Stop};
use crate::context::{Context, time};
use crate::finding::{Finding, Question};
use crate::probes::ping::{PAUSE, Pings};
use crate::remedies::Remedy;

const QUESTION: Question = Question::Buffering;

/// A frame that takes longer than the handshake by this is held back: the handshake took the same way, and
/// the server had more to do for it.
const DELAY: Duration = Duration::from_millis(150);

/// A path that is slower than this, and much slower than its first hop, is worth a look.
const SLOW: Duration = Duration::from_millis(300);

/// Pings that fill a buffer: at first a burst, then one after each pause.
const BURST: usize = 12;

/// Compares the pings with the handshake; if none came back, finds out whether more bytes push them out.
pub(crate) async fn buffering(context: &Context<'_>, pings: Pings) -> Option<Finding> {
    let Some(least) = pings.round_trips.first().copied() else {
        return collected(context, pings).await;
    };
    let Pings { dialed, handshake, .. } = pings;
    Some(if least > 2 * handshake + DELAY {
        let sentence = format!(
            "a ping takes {}, where the handshake took {}: frames are held back on the way",
            time(least),
            time(handshake)
        );
        Finding::warning(QUESTION, "frames_delayed", sentence, [Remedy::ForwardAtOnce])
    } else if least > SLOW && least > 10 * dialed {
        let sentence = format!(
            "a ping takes {}, as the handshake does, where the next hop was connected in {}: the server is far \
             away from it, or all data is held back on the way",
            time(least),
            time(dialed)
        );
        Finding::note(QUESTION, "slow_path", sentence, [Remedy::ForwardAtOnce])
    } else {
        let sentence = format!("a frame takes no longer than the handshake ({})", time(handshake));
        Finding::ok(QUESTION, "forwarded_at_once", sentence)
    })
}

/// Sends pings until one comes back, for the time of a step.
async fn collected(context: &Context<'_>, pings: Pings) -> Option<Finding> {
    let Pings { mut session, stop, .. } = pings;
    if stop != Some(Stop::TimedOut) {
        return None;
    }
    (context.progress)("no ping came back; sending more bytes");
    let until = Instant::now() + context.limit();
    let mut sent = 0;
    while Instant::now() < until {
        for _ in 0..if sent == 0 { BURST } else { 1 } {
            session.send(PING, &[b'x'; MAX_CONTROL_BYTES]).await.ok()?;
            sent += 1;
        }
        match session.next(Instant::now() + PAUSE).await {
            Ok(Received::Pong(_)) => {
                let bytes = sent * (MAX_CONTROL_BYTES + 2);
                let sentence = format!(
                    "a ping came back only after some {bytes} further bytes: frames are collected on the way \
                     until a buffer is full"
                );
                let remedies = [Remedy::ForwardAtOnce];
                return Some(Finding::failure(QUESTION, "frames_collected", sentence, remedies));
            }
            Ok(Received::Data | Received::Ping) | Err(Stop::TimedOut) => {}
            Ok(Received::Close(..)) | Err(Stop::Ended(_) | Stop::NotAFrame(_)) => return None,
        }
    }
    None
}
