//! The charts of the report.

use super::chart::{Axis, Bars, Lines, Panel, Style};
use super::modes::{self, Mode};
use super::peer::{OURS, Peer};
use super::results::Results;

const OUR_COLOUR: &str = "#c2410c";
const FLOOR_COLOUR: &str = "#9ca3af";
const COLOURS: [&str; 15] = [
    "#2563eb", "#059669", "#7c3aed", "#0891b2", "#db2777", "#a16207", "#475569", "#1e3a8a",
    "#84cc16", "#c084fc", "#14b8a6", "#9f1239", "#eab308", "#000000", "#60a5fa",
];

/// Returns the file name and the SVG of each chart.
#[must_use]
pub fn all(peers: &[Peer], results: &Results) -> Vec<(&'static str, String)> {
    let styles = styles(peers);
    let cpu = [("connect", 0), ("ping-1", 0), ("ping-16", 0), ("absorb", 0), ("keep-alive", 0)];
    let waits = [("ping-1", 2), ("ping-1", 3), ("ping-16", 3), ("stall", 0), ("stall", 2)];
    vec![
        ("cpu.svg", bars("What each operation costs the server", &cpu, &styles, results)),
        ("round-trip.svg", bars("Round-trip time of a ping", &waits, &styles, results)),
        ("memory.svg", memory(&styles, results)),
        ("drain.svg", drain(&styles, results)),
        ("fan-out.svg", fan_out(&styles, results)),
    ]
}

fn styles(peers: &[Peer]) -> Vec<Style> {
    let mut colours = COLOURS.iter().cycle();
    let mut colour = |name| match name {
        OURS => OUR_COLOUR,
        "floor" => FLOOR_COLOUR,
        _ => colours.next().copied().unwrap_or(FLOOR_COLOUR),
    };
    let peers = peers.iter().filter(|peer| peer.modes.is_none());
    peers.map(|peer| Style { name: peer.name, colour: colour(peer.name) }).collect()
}

fn bars(
    title: &'static str,
    measures: &[(&str, usize)],
    styles: &[Style],
    results: &Results,
) -> String {
    let modes = measures.iter().filter_map(|(name, index)| {
        let mode: &Mode = modes::ALL.iter().find(|mode| mode.name == *name)?;
        Some((mode, *index, mode.measures.get(*index)?))
    });
    let panels = modes.map(|(mode, index, measure)| {
        let values: Vec<_> =
            styles.iter().map(|style| results.median(mode.name, index, style.name)).collect();
        // Limit the scale, so that one slow peer does not make the others indistinguishable.
        let ours = results.median(mode.name, index, OURS).unwrap_or(f64::MAX);
        let most = values.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
        let full_scale = most.min(ours * 5.0);
        let measure = format!("{}, {}", measure.name, measure.unit);
        Panel { title: mode.name, measure, values, full_scale }
    });
    Bars { title, styles: styles.to_vec(), panels: panels.collect() }.draw()
}

fn memory(styles: &[Style], results: &Results) -> String {
    let lines: Vec<(Style, Vec<(f64, f64)>)> = styles
        .iter()
        .filter_map(|style| {
            let points = results.series("memory", style.name)?;
            // Values below the noise may be zero or negative, which a logarithmic axis cannot show.
            let points = points.iter().filter(|(_, bytes)| *bytes > 1.0);
            Some((*style, points.map(|(count, bytes)| (*count, bytes / 1024.0)).collect()))
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

fn drain(styles: &[Style], results: &Results) -> String {
    let lines: Vec<_> = styles
        .iter()
        .filter_map(|style| Some((*style, cumulative(results.series("drain", style.name)?))))
        .collect();
    let last = lines.iter().filter_map(|(_, points)| points.last()).map(|it| it.0);
    let to = last.fold(20.0, f64::max);
    let x = Axis { title: "milliseconds since SIGTERM", is_logarithmic: true, from: 1.0, to };
    let y = Axis { title: "% of clients", is_logarithmic: false, from: 0.0, to: 100.0 };
    Lines { title: "Time until clients receive the Close frame of a shutdown", x, y, lines }.draw()
}

fn fan_out(styles: &[Style], results: &Results) -> String {
    let lines: Vec<_> = styles
        .iter()
        .filter_map(|style| Some((*style, cumulative(results.series("fan-out", style.name)?))))
        .collect();
    let last = lines.iter().filter_map(|(_, points)| points.last()).map(|it| it.0);
    let to = last.fold(20.0, f64::max);
    let x = Axis { title: "milliseconds since POST", is_logarithmic: false, from: 0.0, to };
    let y = Axis { title: "% of sessions", is_logarithmic: false, from: 0.0, to: 100.0 };
    Lines { title: "Time until sessions receive a published state", x, y, lines }.draw()
}

/// Converts counts per millisecond to the cumulative percentage.
fn cumulative(steps: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let all: f64 = steps.iter().map(|step| step.1).sum();
    let mut reached = 0.0;
    let share = steps.iter().map(|(from, count)| {
        reached += count;
        (from + 1.0, 100.0 * reached / all)
    });
    share.collect()
}
