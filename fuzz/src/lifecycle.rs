//! Runs any sequence of events with any session configuration, and checks the invariants.

#[path = "../../crates/ws-core/tests/support/checker.rs"]
mod checker;

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use checker::{Checker, RateSpec, Step};
use ws_core::{Limits, Timing, Violation};

const MAX_STEPS: usize = 300;

/// The longest step, so that the total time does not overflow.
const MAX_STEP: Duration = Duration::from_secs(10_000_000);

/// Checks one input.
///
/// # Panics
///
/// If a property does not hold for it.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(mut checker) = checker(&mut input) else { return };
    for _ in 0..MAX_STEPS {
        // After its end, the input would yield zeros without limit.
        if input.is_empty() {
            break;
        }
        let Ok(step) = step(&mut input) else { break };
        let Ok(now) = time(&checker, &mut input) else { break };
        checker.step(step, now);
    }
    // Before a distant deadline there may be more pings than the step limit permits.
    let _ = checker.ends_with_silent_peer(MAX_STEPS);
}

fn checker(input: &mut Unstructured<'_>) -> Result<Checker> {
    let mut some = || Ok(Some(duration(input)?).filter(|time| !time.is_zero()));
    let (max_age, message_timeout, write_timeout) = (some()?, some()?, some()?);
    let timing = Timing {
        ping_interval: duration(input)?,
        pong_timeout: duration(input)?,
        close_timeout: duration(input)?,
        max_age,
        reconnect_spread: Duration::ZERO,
    };
    let mut rate = || {
        let (per_second, burst) = (input.arbitrary::<u8>()?, input.arbitrary::<u8>()?);
        Ok(RateSpec { per_second: per_second.into(), burst: burst.into() })
    };
    let (messages, control_frames) = (rate()?, rate()?);
    let limits = Limits { message_timeout, write_timeout, ..Limits::default() };
    let jitter = input.arbitrary()?;
    let checker = Checker::new(timing, messages, control_frames, limits, jitter);
    let expires = input.arbitrary()?;
    Ok(if expires { checker.expiring_at(duration(input)?) } else { checker })
}

fn step(input: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match input.arbitrary::<u8>()? % 28 {
        0..=4 => Step::Tick,
        5 | 6 => Step::Message,
        7 => Step::Ping,
        8 | 9 => Step::Pong,
        10 => Step::UnsolicitedPong,
        11 => Step::Sent,
        12 => Step::PeerClose { has_body: false },
        13 => Step::PeerClose { has_body: true },
        14 => Step::Drain(duration(input)?),
        15 => Step::HandlerClosed,
        16 => Step::Panicked,
        17 => Step::Violation(Violation::InvalidUtf8),
        18 => Step::Violation(Violation::ProtocolError),
        19 => Step::Violation(Violation::TooBig),
        20 => Step::Finished,
        21 => Step::Disconnected,
        22 => Step::WriteBlocked,
        23 => Step::WriteProgressed,
        24 => Step::MessageBegan,
        25 => Step::MessageEnded,
        26 => Step::PingRequested,
        _ => Step::Stalled(duration(input)?),
    })
}

/// The time of the next step: now, at the deadline, before it, after it, or at any time.
fn time(checker: &Checker, input: &mut Unstructured<'_>) -> Result<Duration> {
    let (now, deadline) = (checker.now, checker.deadline());
    let time = match input.arbitrary::<u8>()? % 5 {
        0 => now,
        1 => deadline,
        2 => deadline.saturating_sub(duration(input)?),
        3 => deadline.saturating_add(duration(input)?),
        _ => now.saturating_add(duration(input)?),
    };
    Ok(time.clamp(now, now + MAX_STEP))
}

/// A duration, from zero to `Duration::MAX`.
fn duration(input: &mut Unstructured<'_>) -> Result<Duration> {
    let count = u32::from(input.arbitrary::<u8>()?);
    let unit = match count % 8 {
        0 => Duration::from_nanos(1),
        1 => Duration::from_micros(100),
        2 | 3 => Duration::from_millis(10),
        4 | 5 => Duration::from_millis(500),
        6 => Duration::from_secs(600),
        _ if count == 255 => return Ok(Duration::MAX),
        _ => Duration::from_secs(1),
    };
    Ok(unit * (count / 8))
}
