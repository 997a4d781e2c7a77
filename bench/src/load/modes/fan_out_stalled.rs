//! Broadcast with stalled readers: how much the server buffers for them, and what they receive when they
//! resume reading.

use std::io;
use std::time::{Duration, Instant};

use super::states::{States, Wait};
use super::{Mode, Outcome, Size, TIME_LIMIT, ensure, less, median_of, millis};
use crate::load::clients::Clients;
use crate::load::peer::Peer;
use crate::load::peer_process::PeerProcess;
use crate::load::process_stats::private_memory;
use crate::load::session::Event;

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
/// One in this many sessions does not read.
const STALLED_ONE_IN: usize = 10;
/// States that all sessions read before the measured ones, so that buffers are allocated.
const WARM_UP: usize = 2;
/// Time without an event after which no further event is expected.
const TIMEOUT: Duration = Duration::from_secs(3);

fn run(peer: &Peer, size: Size) -> io::Result<Outcome> {
    let (count, states) = (size.pick(300, 1_000), size.pick(40, 100));
    let peer_process = PeerProcess::start_publisher(peer)?;
    let mut clients = Clients::new(peer_process.address, &peer_process.protocol, TIME_LIMIT)?;
    clients.open(count)?;

    clients.expects_messages = true;
    let mut texts = States::numbered(WARM_UP + states, LENGTH);
    for number in 0..WARM_UP {
        texts.deliver(number, &mut clients, &peer_process, &vec![true; count], Wait::Pause)?;
    }
    clients.idle_for(Duration::from_millis(500))?;
    let before = private_memory(peer_process.process)?;
    let readers: Vec<bool> = (0..count).map(|key| key % STALLED_ONE_IN != 0).collect();
    let is_stalled = |key: &usize| !readers[*key];
    for key in (0..count).filter(is_stalled) {
        clients.pause(key)?;
    }
    for number in WARM_UP..WARM_UP + states {
        texts.deliver(number, &mut clients, &peer_process, &readers, Wait::Pause)?;
    }
    let growth = private_memory(peer_process.process)? as f64 - before as f64;

    let resumed = resume_readers(&mut clients, &texts, &readers)?;
    let is_lost = |key: &usize| !clients.session(*key).is_ok_and(|session| session.is_open());
    let (lost, kept): (Vec<usize>, Vec<usize>) = (0..count).partition(is_lost);
    ensure(lost.iter().all(is_stalled), || "the server closed a session that reads".to_owned())?;
    let without = kept.iter().filter(|key| is_stalled(key) && resumed[**key].at.is_none()).count();

    let mut outcome = Outcome::of([growth / f64::from(1 << 20), lost.len() as f64, without as f64]);
    let had: Vec<&Resumed> = resumed.iter().filter(|resumed| resumed.at.is_some()).collect();
    if !had.is_empty() {
        let wait = median_of(had.iter().filter_map(|resumed| resumed.at.map(millis)).collect());
        outcome
            .values
            .extend([wait, median_of(had.iter().map(|resumed| resumed.old as f64).collect())]);
    }
    Ok(outcome)
}

/// The states that a reader received after it resumed.
#[derive(Clone, Default)]
struct Resumed {
    /// Number of states before the newest.
    old: usize,
    last: Option<usize>,
    /// Time until it received the newest state.
    at: Option<Duration>,
}

/// Resumes the stalled readers, and polls until all have the newest state or no event arrives any more.
fn resume_readers(
    clients: &mut Clients,
    texts: &States,
    readers: &[bool],
) -> io::Result<Vec<Resumed>> {
    let mut resumed = vec![Resumed::default(); readers.len()];
    let mut left = readers.iter().filter(|reads| !**reads).count();
    let (started_at, mut last_event) = (Instant::now(), Instant::now());
    clients.resume_all()?;
    while left > 0 && last_event.elapsed() < TIMEOUT {
        clients.poll(Duration::from_millis(100), &mut |session, event| {
            let resumed = &mut resumed[session.key];
            last_event = Instant::now();
            let payload = match event {
                Event::Message(payload) => payload,
                Event::Close | Event::Disconnected if resumed.at.is_none() => {
                    left -= 1;
                    return Ok(());
                }
                _ => return Ok(()),
            };
            let number = texts.number(payload)?;
            let is_newer = resumed.last.replace(number).is_none_or(|last| last < number);
            ensure(is_newer, || "a session got an older state after a newer one".to_owned())?;
            if texts.is_newest(number) {
                resumed.at = Some(started_at.elapsed());
                left -= 1;
            } else {
                resumed.old += 1;
            }
            Ok(())
        })?;
    }
    Ok(resumed)
}
