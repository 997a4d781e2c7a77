//! What is measured. Each mode has a fresh process of the peer, and fails where the peer does not
//! do what is measured.

mod absorb;
mod connect;
mod drain;
mod fan_out;
mod fan_out_stalled;
mod keep_alive;
mod memory;
mod ping;
mod stall;
mod states;

use std::io;
use std::time::Duration;

use super::peer::Peer;

/// How long a mode may take before it fails.
const LIMIT: Duration = Duration::from_secs(90);
/// What is exchanged most: as short as a real one.
const PAYLOAD: &[u8; 8] = b"a status";

/// How much is done.
#[derive(Clone, Copy)]
pub enum Size {
    Quick,
    Full,
}

impl Size {
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Better {
    Less,
    More,
}

/// One figure of a mode, which is a row of the table.
pub struct Measure {
    pub name: &'static str,
    pub unit: &'static str,
    pub better: Better,
}

pub struct Mode {
    pub name: &'static str,
    pub meaning: &'static str,
    /// The first is what the mode is for.
    pub measures: &'static [Measure],
    pub run: fn(&Peer, Size) -> io::Result<Outcome>,
}

impl Mode {
    /// Whether a peer is measured in it.
    #[must_use]
    pub fn is_for(&self, peer: &Peer) -> bool {
        let is_broadcast = [fan_out::MODE.name, fan_out_stalled::MODE.name].contains(&self.name);
        let can = !is_broadcast || peer.can_publish;
        can && peer.modes.is_none_or(|modes| modes.contains(&self.name))
    }
}

pub struct Outcome {
    /// One for each of the mode's measures; the last ones may be missing where there is nothing to
    /// measure.
    pub values: Vec<f64>,
    /// Points for a plot, where there is one.
    pub series: Vec<(f64, f64)>,
}

impl Outcome {
    fn of(values: impl Into<Vec<f64>>) -> Self {
        Self { values: values.into(), series: Vec::new() }
    }
}

pub const ALL: &[Mode] = &[
    memory::MODE,
    connect::MODE,
    ping::ONE,
    ping::SIXTEEN,
    absorb::MODE,
    drain::MODE,
    keep_alive::MODE,
    stall::MODE,
    fan_out::MODE,
    fan_out_stalled::MODE,
];

const fn less(name: &'static str, unit: &'static str) -> Measure {
    Measure { name, unit, better: Better::Less }
}

const fn more(name: &'static str, unit: &'static str) -> Measure {
    Measure { name, unit, better: Better::More }
}

/// An error if what is measured has not happened.
fn check(is_so: bool, what: impl FnOnce() -> String) -> io::Result<()> {
    if is_so { Ok(()) } else { Err(io::Error::other(what())) }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The time that so many hundredths of all do not exceed.
fn percentile(waits: &mut [Duration], percent: usize) -> Duration {
    waits.sort_unstable();
    let place = (waits.len() * percent / 100).min(waits.len().saturating_sub(1));
    waits.get(place).copied().unwrap_or_default()
}

/// The middle one.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// How many times are in each millisecond.
fn steps(times: &[f64]) -> Vec<(f64, f64)> {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for time in times {
        let step = *time as usize;
        while steps.len() <= step {
            steps.push((steps.len() as f64, 0.0));
        }
        steps[step].1 += 1.0;
    }
    steps
}
