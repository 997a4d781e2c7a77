//! The table of floors against the files that are there.

use std::collections::{BTreeMap, BTreeSet};

use super::{Problem, TABLE};
use crate::floors::{Floor, Room};

/// Where a file stands.
pub(super) struct Place {
    /// Counted from the top.
    pub(super) floor: usize,
    pub(super) room: &'static Room,
}

/// The place of each file. A folder's entry is for those of its files that have none of their own.
pub(super) fn places<'a>(
    src: &str,
    floors: &[Floor],
    files: impl Iterator<Item = &'a str>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'a str, Place> {
    let mut refuse = |path: &str, why: &str| {
        problems.push(Problem { what: format!("{src}/{path} {why}"), remedy: TABLE });
    };
    let mut rooms: BTreeMap<&str, (usize, &'static Room)> = BTreeMap::new();
    for (floor, of_floor) in floors.iter().enumerate() {
        for room @ Room(path, _) in *of_floor {
            if rooms.insert(path, (floor, room)).is_some() {
                refuse(path, "has two entries");
            }
        }
    }
    let mut without_files: BTreeSet<&str> = rooms.keys().copied().collect();
    let mut places = BTreeMap::new();
    for path in files {
        let folders = path.rmatch_indices('/').filter_map(|(at, _)| path.get(..=at));
        match std::iter::once(path).chain(folders).find_map(|entry| rooms.get(entry)) {
            Some((floor, room)) => {
                without_files.remove(room.0);
                places.insert(path, Place { floor: *floor, room });
            }
            None => refuse(path, "is on no floor"),
        }
    }
    for path in without_files {
        refuse(
            path,
            "is on a floor, and there is no such file, or all in it have their own entries",
        );
    }
    places
}
