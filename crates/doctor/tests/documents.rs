//! The table of findings in `docs/doctor.md` matches the code.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use server::transport::Rejection;

/// The Rust files of a folder and of the folders in it, joined.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = entries.map(|path| match path.is_dir() {
        true => sources(&path),
        false => fs::read_to_string(&path).unwrap(),
    });
    texts.collect()
}

/// Literals of the form of a finding's word that are something else.
const OTHERS: &[&str] = &[
    "allowed_origins",
    "current_thread",
    "exit_code",
    "forwarded_header",
    "keep_alive",
    "not_examined",
    "ping_interval_secs",
    "proxy_protocol",
    "trusted_proxies",
    "ws_status_sessions_opened_total",
];

/// Whether a literal is the word of a finding; those of one word are known by the table only.
fn is_word(literal: &str) -> bool {
    let is_lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    literal.contains('_')
        && literal.chars().all(is_lower)
        && !literal.ends_with("_ms")
        && !OTHERS.contains(&literal)
        && !Rejection::ALL.iter().any(|rejection| rejection.as_str() == literal)
}

#[test]
fn the_findings_in_the_manual_are_those_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = sources(&root.join("src"));
    let literals: BTreeSet<&str> = text.split('"').collect();
    let manual = fs::read_to_string(root.join("../../docs/doctor.md")).unwrap();
    let (_, table) = manual.split_once("\n## Findings\n").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<&str> = rows.map(|(word, _)| word).collect();
    let unknown: Vec<_> = documented.difference(&literals).collect();
    assert!(unknown.is_empty(), "not in the code: {unknown:?}");
    let used = literals.iter().filter(|literal| is_word(literal));
    let missing: Vec<_> = used.filter(|word| !documented.contains(*word)).collect();
    assert!(missing.is_empty(), "not in the manual: {missing:?}");
}
