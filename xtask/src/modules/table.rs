//! Compares the table of floors with the existing files.

use std::collections::{BTreeMap, BTreeSet};

use super::{Problem, TABLE};
use crate::floors::{Entry, Floor};

/// The floor of a file.
pub(super) struct Position {
    /// Counted from the top.
    pub(super) floor: usize,
    pub(super) entry: &'static Entry,
}

/// Returns the position of each file. A folder's entry applies to its files that have no entry of their
/// own.
pub(super) fn positions<'a>(
    src: &str,
    floors: &[Floor],
    files: impl Iterator<Item = &'a str>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'a str, Position> {
    let mut refuse = |path: &str, why: &str| {
        problems.push(Problem { message: format!("{src}/{path} {why}"), remedy: TABLE });
    };
    let mut entries: BTreeMap<&str, (usize, &'static Entry)> = BTreeMap::new();
    for (floor, of_floor) in floors.iter().enumerate() {
        for entry @ Entry(path, _) in *of_floor {
            if entries.insert(path, (floor, entry)).is_some() {
                refuse(path, "has two entries");
            }
        }
    }
    let mut without_files: BTreeSet<&str> = entries.keys().copied().collect();
    let mut positions = BTreeMap::new();
    for path in files {
        let folders = path.rmatch_indices('/').filter_map(|(at, _)| path.get(..=at));
        match std::iter::once(path).chain(folders).find_map(|entry| entries.get(entry)) {
            Some((floor, entry)) => {
                without_files.remove(entry.0);
                positions.insert(path, Position { floor: *floor, entry });
            }
            None => refuse(path, "is on no floor"),
        }
    }
    for path in without_files {
        refuse(
            path,
            "is on a floor, but it does not exist, or all its files have their own entries",
        );
    }
    positions
}
