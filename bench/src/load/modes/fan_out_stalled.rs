//! Readers that stand still while states are published: what the server keeps for them, and what
//! they get when they read again.

use std::io;
use std::time::{Duration, Instant};

use super::states::States;
use super::{LIMIT, Mode, Outcome, Size, check, less, middle, millis};
use crate::load::fleet::Fleet;
use crate::load::link::Event;
use crate::load::peer::Peer;
use crate::load::running::Running;
use crate::load::vitals::private_memory;

pub(super) const MODE: Mode = Mode {
    name: "fan-out-stalled",
    meaning: "100 states of 64 KiB for 1,000 sessions (quick: 40 for 300), a tenth of which does \
        not read until the end",
    measures: &[
        less("growth of the server's memory", "MiB"),
        less("stalled readers that were cut", "sessions"),
        less("others without the newest state", "sessions"),
        less("newest state after reading again, median", "ms"),
        less("old states before it, median", "states"),
    ],
    run,
};

const LENGTH: usize = 64 << 10;
/// One of so many does not read.
const SHARE: usize = 10;
/// States before that, which all read, for buffers that are made once.
const WARM_UP: usize = 2;
/// How long nothing may come before nothing is expected any more.
const PATIENCE: Duration = Duration::from_secs(3);

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let (count, states) = (size.pick(300, 1_000), size.pick(40, 100));
    let running = Running::start_publisher(peer)?;
    let mut fleet = Fleet::new(running.address, &running.way, LIMIT)?;
    fleet.open(count)?;

    fleet.may_be_sent = true;
    let texts = States::new(WARM_UP + states, LENGTH);
    for number in 0..WARM_UP {
        texts.deliver(number, &mut fleet, &running, &vec![true; count])?;
    }
    fleet.rest(Duration::from_millis(500))?;
    let before = private_memory(running.process)?;
    let readers: Vec<bool> = (0..count).map(|slot| slot % SHARE != 0).collect();
    let is_stalled = |slot: &usize| !readers[*slot];
    for slot in (0..count).filter(is_stalled) {
        fleet.pause(slot)?;
    }
    for number in WARM_UP..WARM_UP + states {
        texts.deliver(number, &mut fleet, &running, &readers)?;
    }
    let growth = private_memory(running.process)? as f64 - before as f64;

    let woken = wake(&mut fleet, &texts, &readers)?;
    let is_lost = |slot: &usize| !fleet.link(*slot).is_ok_and(|link| link.is_open());
    let (lost, kept): (Vec<usize>, Vec<usize>) = (0..count).partition(is_lost);
    check(lost.iter().all(is_stalled), || "a session was cut that has read all".to_owned())?;
    let without = kept.iter().filter(|slot| is_stalled(slot) && woken[**slot].at.is_none()).count();

    let mut outcome = Outcome::of([growth / f64::from(1 << 20), lost.len() as f64, without as f64]);
    let had: Vec<&Woken> = woken.iter().filter(|woken| woken.at.is_some()).collect();
    if !had.is_empty() {
        let wait = middle(had.iter().filter_map(|woken| woken.at.map(millis)).collect());
        outcome.values.extend([wait, middle(had.iter().map(|woken| woken.old as f64).collect())]);
    }
    Ok(outcome)
}

/// What a reader got that read again.
#[derive(Clone, Default)]
struct Woken {
    /// How many states that were not the newest.
    old: usize,
    last: Option<usize>,
    /// After which time it had the newest.
    at: Option<Duration>,
}

/// Lets the stalled readers read, until all have the newest state or nothing comes any more.
fn wake(fleet: &mut Fleet, texts: &States, readers: &[bool]) -> io::Result<Vec<Woken>> {
    let mut woken = vec![Woken::default(); readers.len()];
    let mut left = readers.iter().filter(|reads| !**reads).count();
    let (began, mut heard) = (Instant::now(), Instant::now());
    fleet.resume_all()?;
    while left > 0 && heard.elapsed() < PATIENCE {
        fleet.turn(Duration::from_millis(100), &mut |link, event| {
            let woken = &mut woken[link.slot];
            heard = Instant::now();
            let payload = match event {
                Event::Message(payload) => payload,
                Event::Close | Event::Cut if woken.at.is_none() => {
                    left -= 1;
                    return Ok(());
                }
                _ => return Ok(()),
            };
            let number = texts.number(payload)?;
            let is_newer = woken.last.replace(number).is_none_or(|last| last < number);
            check(is_newer, || "a session got an older state after a newer one".to_owned())?;
            if texts.is_newest(number) {
                woken.at = Some(began.elapsed());
                left -= 1;
            } else {
                woken.old += 1;
            }
            Ok(())
        })?;
    }
    Ok(woken)
}
