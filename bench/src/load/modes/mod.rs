//! The measurements. Each mode starts a new process of the peer, and fails if the peer does not do what
//! the mode measures.

mod absorb;
mod connect;
mod drain;
mod fan_out;
mod fan_out_json;
mod fan_out_stalled;
mod keep_alive;
mod memory;
mod ping;
mod stall;
mod states;

use std::io;
use std::time::Duration;

use super::peer::Peer;

/// The time after which a mode fails.
const TIME_LIMIT: Duration = Duration::from_secs(90);
/// The payload of most messages, as short as a real status.
const PAYLOAD: &[u8; 8] = b"a status";

/// The mode that compressed peers are for.
pub const COMPRESSION: &str = fan_out_json::MODE.name;

/// The number of connections and the duration of a run.
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

/// One figure of a mode, a row of the table.
pub struct Measure {
    pub name: &'static str,
    pub unit: &'static str,
    pub better: Better,
}

pub struct Mode {
    pub name: &'static str,
    pub meaning: &'static str,
    /// The first is the main figure.
    pub measures: &'static [Measure],
    pub run: fn(&Peer, Size) -> io::Result<Outcome>,
}

impl Mode {
    /// Whether a peer is measured in this mode.
    #[must_use]
    pub fn is_for(&self, peer: &Peer) -> bool {
        let can = !self.name.starts_with(fan_out::MODE.name) || peer.can_publish;
        can && peer.modes.is_none_or(|modes| modes.contains(&self.name))
    }
}

pub struct Outcome {
    /// One value for each measure of the mode; the last ones may be missing.
    pub values: Vec<f64>,
    /// The points of a chart, if the mode has one.
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
    fan_out::WOKEN,
    fan_out_json::MODE,
    fan_out_stalled::MODE,
];

const fn less(name: &'static str, unit: &'static str) -> Measure {
    Measure { name, unit, better: Better::Less }
}

const fn more(name: &'static str, unit: &'static str) -> Measure {
    Measure { name, unit, better: Better::More }
}

/// Returns an error if the condition does not hold.
fn ensure(holds: bool, message: impl FnOnce() -> String) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::other(message())) }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns a percentile.
fn percentile(round_trips: &mut [Duration], percent: usize) -> Duration {
    round_trips.sort_unstable();
    let index = (round_trips.len() * percent / 100).min(round_trips.len().saturating_sub(1));
    round_trips.get(index).copied().unwrap_or_default()
}

/// Returns the median.
fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Counts the times in each millisecond.
fn histogram(times: &[f64]) -> Vec<(f64, f64)> {
    let mut histogram: Vec<(f64, f64)> = Vec::new();
    for time in times {
        let bin = *time as usize;
        while histogram.len() <= bin {
            histogram.push((histogram.len() as f64, 0.0));
        }
        histogram[bin].1 += 1.0;
    }
    histogram
}
