//! Any history under any rules, held against what always holds.
#![no_main]

#[path = "../../crates/ws-core/tests/support/watched.rs"]
mod watched;

use std::time::Duration;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use watched::{Often, Step, Watched};
use ws_core::{Limits, Timing, Violation};

const MOST_STEPS: usize = 300;

/// No step takes longer, so that the end of time is not reached.
const LONGEST: Duration = Duration::from_secs(10_000_000);

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    let Ok(mut watched) = watched(&mut input) else { return };
    for _ in 0..MOST_STEPS {
        // Behind its end, the input would be zeros for ever.
        if input.is_empty() {
            break;
        }
        let Ok(step) = step(&mut input) else { break };
        let Ok(now) = time(&watched, &mut input) else { break };
        watched.step(step, now);
    }
    // Until a far deadline there may be more pings to leave out than can be waited for here.
    let _ = watched.fall_silent(MOST_STEPS);
});

fn watched(input: &mut Unstructured<'_>) -> Result<Watched> {
    let mut some = || Ok(Some(duration(input)?).filter(|time| !time.is_zero()));
    let (max_age, message_timeout, write_timeout) = (some()?, some()?, some()?);
    let timing = Timing {
        ping_interval: duration(input)?,
        pong_timeout: duration(input)?,
        close_timeout: duration(input)?,
        max_age,
    };
    let mut often =
        || Ok(Often(u32::from(input.arbitrary::<u8>()?), input.arbitrary::<u8>()?.into()));
    let (messages, control_frames) = (often()?, often()?);
    let limits = Limits { message_timeout, write_timeout, ..Limits::default() };
    Ok(Watched::new(timing, messages, control_frames, limits, input.arbitrary()?))
}

fn step(input: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match input.arbitrary::<u8>()? % 28 {
        0..=4 => Step::Tick,
        5 | 6 => Step::Message,
        7 => Step::Ping,
        8 | 9 => Step::Pong,
        10 => Step::StrayPong,
        11 => Step::Sent,
        12 => Step::PeerClose(false),
        13 => Step::PeerClose(true),
        14 => Step::Drain(duration(input)?),
        15 => Step::HandlerClosed,
        16 => Step::Panicked,
        17 => Step::Violation(Violation::InvalidUtf8),
        18 => Step::Violation(Violation::ProtocolError),
        19 => Step::Violation(Violation::TooBig),
        20 => Step::Finished,
        21 => Step::Disconnected,
        22 => Step::Blocked,
        23 => Step::Written,
        24 => Step::Partial,
        25 => Step::Complete,
        _ => Step::Stalled(duration(input)?),
    })
}

/// When the next step happens: at the deadline, before it, after it, or whenever.
fn time(watched: &Watched, input: &mut Unstructured<'_>) -> Result<Duration> {
    let (now, deadline) = (watched.now, watched.deadline());
    let time = match input.arbitrary::<u8>()? % 5 {
        0 => now,
        1 => deadline,
        2 => deadline.saturating_sub(duration(input)?),
        3 => deadline.saturating_add(duration(input)?),
        _ => now.saturating_add(duration(input)?),
    };
    Ok(time.clamp(now, now + LONGEST))
}

/// From nothing to for ever.
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
