//! The report: Markdown tables with one column for each peer.

use std::fmt::Write;

use super::modes::{Better, COMPRESSION, Mode};
use super::peer::{OURS, Peer};
use super::results::Results;

/// Renders the report.
#[must_use]
pub fn markdown(
    about: &[(&'static str, String)],
    peers: &[Peer],
    modes: &[&'static Mode],
    results: &Results,
) -> String {
    let mut text = String::new();
    for (name, value) in about {
        let _ = writeln!(text, "- {name}: {value}");
    }
    let (variants, others): (Vec<&Peer>, Vec<&Peer>) =
        peers.iter().partition(|peer| peer.is_protocol_variant());
    for peer in &others {
        let _ = writeln!(text, "- {}: {}", peer.name, peer.version);
    }
    let _ = writeln!(text, "\nIn parentheses: the ratio to {OURS}.\n");
    for mode in modes {
        let _ = writeln!(text, "- {}: {}", mode.name, mode.meaning);
    }
    text.push('\n');
    let (compression, plain): (Vec<&Mode>, Vec<&Mode>) =
        modes.iter().partition(|mode| mode.name == COMPRESSION);
    let only_compresses = |peer: &&&Peer| peer.modes.is_some_and(|modes| modes == [COMPRESSION]);
    let alone: Vec<&Peer> = others.iter().filter(|peer| !only_compresses(peer)).copied().collect();
    if !plain.is_empty() && (alone.len() > 1 || variants.is_empty()) {
        text.push_str(&table(&alone, &plain, results));
    }
    if let [mode] = *compression {
        text.push_str("\n## Compression\n\n");
        let measured: Vec<&Peer> = others.iter().filter(|it| mode.is_for(it)).copied().collect();
        text.push_str(&table(&measured, &compression, results));
    }
    let is_theirs = |mode: &&&Mode| variants.iter().any(|protocol| mode.is_for(protocol));
    let theirs: Vec<&Mode> = modes.iter().filter(is_theirs).copied().collect();
    if !theirs.is_empty() {
        text.push_str("\n## The four variants\n\n");
        text.push_str(
            "A session on an HTTP/2 stream counts as a connection. Each HTTP/2 connection has ",
        );
        text.push_str("64 sessions, or one where the name ends in -1.\n\n");
        let ours = others.into_iter().filter(|peer| peer.name == OURS);
        let all: Vec<&Peer> = ours.chain(variants).collect();
        text.push_str(&table(&all, &theirs, results));
    }
    for failure in results.failures() {
        let _ = writeln!(text, "\nFAILED: {failure}");
    }
    text
}

fn table(peers: &[&Peer], modes: &[&'static Mode], results: &Results) -> String {
    let names = peers.iter().map(|peer| peer.name.to_owned());
    let head = ["mode", "measure", "better"].map(str::to_owned).into_iter();
    let mut rows: Vec<Vec<String>> = vec![head.chain(names).collect()];
    for mode in modes {
        for (index, measure) in mode.measures.iter().enumerate() {
            let better = if measure.better == Better::Less { "less" } else { "more" };
            let title = format!("{}, {}", measure.name, measure.unit);
            let cells = peers.iter().map(|peer| cell(results, mode.name, index, peer.name));
            let head = [mode.name.to_owned(), title, better.to_owned()].into_iter();
            rows.push(head.chain(cells).collect());
        }
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Text is left-aligned, numbers are right-aligned.
            let _ = match column {
                0..3 => write!(text, "| {cell:width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let line = "-".repeat(*width);
                let _ = write!(text, "| {line}{}", if column < 3 { " " } else { ":" });
            }
            text.push_str("|\n");
        }
    }
    text
}

fn cell(results: &Results, mode: &str, measure: usize, peer: &str) -> String {
    let Some(value) = results.median(mode, measure, peer) else { return "-".to_owned() };
    let ours = results.median(mode, measure, OURS).filter(|ours| *ours > 0.0 && peer != OURS);
    match ours {
        Some(ours) => format!("{} ({})", figure(value), figure(value / ours)),
        None => figure(value),
    }
}

/// Formats a number with three significant digits, and with thousands separators.
#[must_use]
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => {
            let digits = format!("{:.0}", value.abs());
            let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index) % 3 == 0 {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
    }
}
