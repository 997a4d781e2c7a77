//! Which charts there are.

use super::chart::{Axis, Bars, Lines, Look, Panel};
use super::modes::{self, Mode};
use super::peer::{OURS, Peer};
use super::results::Results;

const OUR_COLOUR: &str = "#c2410c";
const FLOOR_COLOUR: &str = "#9ca3af";
const COLOURS: [&str; 7] =
    ["#2563eb", "#059669", "#7c3aed", "#0891b2", "#db2777", "#a16207", "#475569"];

/// The names of the files and what is in them.
#[must_use]
pub fn all(peers: &[Peer], results: &Results) -> Vec<(&'static str, String)> {
    let looks = looks(peers);
    let cpu = [("connect", 0), ("ping-1", 0), ("ping-16", 0), ("absorb", 0), ("keep-alive", 0)];
    let waits = [("ping-1", 2), ("ping-1", 3), ("ping-16", 3), ("stall", 0), ("stall", 2)];
    vec![
        ("cpu.svg", bars("What each operation costs the server", &cpu, &looks, results)),
        ("round-trip.svg", bars("How long a pong takes", &waits, &looks, results)),
        ("memory.svg", memory(&looks, results)),
        ("drain.svg", drain(&looks, results)),
        ("fan-out.svg", fan_out(&looks, results)),
    ]
}

fn looks(peers: &[Peer]) -> Vec<Look> {
    let mut colours = COLOURS.iter().cycle();
    let mut colour = |name| match name {
        OURS => OUR_COLOUR,
        "floor" => FLOOR_COLOUR,
        _ => colours.next().copied().unwrap_or(FLOOR_COLOUR),
    };
    let peers = peers.iter().filter(|peer| !peer.is_another_way());
    peers.map(|peer| Look { name: peer.name, colour: colour(peer.name) }).collect()
}

fn bars(
    title: &'static str,
    measures: &[(&str, usize)],
    looks: &[Look],
    results: &Results,
) -> String {
    let modes = measures.iter().filter_map(|(name, place)| {
        let mode: &Mode = modes::ALL.iter().find(|mode| mode.name == *name)?;
        Some((mode, *place, mode.measures.get(*place)?))
    });
    let panels = modes.map(|(mode, place, measure)| {
        let values: Vec<_> =
            looks.iter().map(|look| results.median(mode.name, place, look.name)).collect();
        // So that one slow peer does not make the others look alike.
        let ours = results.median(mode.name, place, OURS).unwrap_or(f64::MAX);
        let most = values.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
        let longest = most.min(ours * 5.0);
        let measure = format!("{}, {}", measure.name, measure.unit);
        Panel { title: mode.name, measure, values, longest }
    });
    Bars { title, looks: looks.to_vec(), panels: panels.collect() }.draw()
}

fn memory(looks: &[Look], results: &Results) -> String {
    let lines: Vec<(Look, Vec<(f64, f64)>)> = looks
        .iter()
        .filter_map(|look| {
            let points = results.series("memory", look.name)?;
            // What is lost in the noise has no logarithm.
            let points = points.iter().filter(|(_, bytes)| *bytes > 1.0);
            Some((*look, points.map(|(count, bytes)| (*count, bytes / 1024.0)).collect()))
        })
        .collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let [least, most] = [f64::min, f64::max].map(|pick| all().map(|it| it.1).reduce(pick));
    let to = all().map(|it| it.0).fold(1000.0, f64::max);
    // Whole powers of two.
    let from = least.unwrap_or(1.0).log2().floor().exp2();
    let most = most.unwrap_or(2.0).log2().ceil().exp2().max(from * 2.0);
    let x = Axis { title: "connections", is_logarithmic: false, from: 0.0, to };
    let y = Axis { title: "KiB for each connection", is_logarithmic: true, from, to: most };
    let title = "Memory of idle connections, after each has sent 64 messages at once";
    Lines { title, x, y, lines }.draw()
}

fn drain(looks: &[Look], results: &Results) -> String {
    let lines: Vec<_> = looks
        .iter()
        .filter_map(|look| Some((*look, told_by(results.series("drain", look.name)?))))
        .collect();
    let last = lines.iter().filter_map(|(_, points)| points.last()).map(|it| it.0);
    let to = last.fold(20.0, f64::max);
    let x = Axis { title: "milliseconds since SIGTERM", is_logarithmic: true, from: 1.0, to };
    let y = Axis { title: "% told", is_logarithmic: false, from: 0.0, to: 100.0 };
    Lines { title: "How fast clients are told that the server stops", x, y, lines }.draw()
}

fn fan_out(looks: &[Look], results: &Results) -> String {
    let lines: Vec<_> = looks
        .iter()
        .filter_map(|look| Some((*look, told_by(results.series("fan-out", look.name)?))))
        .collect();
    let last = lines.iter().filter_map(|(_, points)| points.last()).map(|it| it.0);
    let to = last.fold(20.0, f64::max);
    let x = Axis { title: "milliseconds since POST", is_logarithmic: false, from: 0.0, to };
    let y = Axis { title: "% have it", is_logarithmic: false, from: 0.0, to: 100.0 };
    Lines { title: "How fast a state comes to all sessions", x, y, lines }.draw()
}

/// From how many were told in each millisecond to the share that was told by then.
fn told_by(steps: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let all: f64 = steps.iter().map(|step| step.1).sum();
    let mut told = 0.0;
    let share = steps.iter().map(|(from, count)| {
        told += count;
        (from + 1.0, 100.0 * told / all)
    });
    share.collect()
}
