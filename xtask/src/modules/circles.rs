//! Circles among arrows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::arrows::Arrow;

/// All circles of the shortest length that there is: mostly pairs, which are mended one by one.
pub(super) fn shortest(arrows: &[Arrow]) -> Vec<Vec<Arrow>> {
    let starts: BTreeSet<usize> = arrows.iter().map(|arrow| arrow.from).collect();
    let mut circles: BTreeMap<BTreeSet<usize>, Vec<Arrow>> = BTreeMap::new();
    for circle in starts.into_iter().filter_map(|start| through(start, arrows)) {
        circles.entry(circle.iter().map(|arrow| arrow.from).collect()).or_insert(circle);
    }
    let shortest = circles.keys().map(BTreeSet::len).min();
    circles.into_values().filter(|circle| Some(circle.len()) == shortest).collect()
}

/// The shortest way from a file back to it.
fn through(start: usize, arrows: &[Arrow]) -> Option<Vec<Arrow>> {
    let mut came_by: BTreeMap<usize, &Arrow> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(file) = open.pop_front() {
        for arrow in arrows.iter().filter(|arrow| arrow.from == file) {
            if came_by.contains_key(&arrow.to) {
                continue;
            }
            came_by.insert(arrow.to, arrow);
            if arrow.to == start {
                return Some(way_back(start, &came_by));
            }
            open.push_back(arrow.to);
        }
    }
    None
}

fn way_back(start: usize, came_by: &BTreeMap<usize, &Arrow>) -> Vec<Arrow> {
    let mut circle = Vec::new();
    let mut at = start;
    while let Some(arrow) = came_by.get(&at) {
        circle.push((*arrow).clone());
        at = arrow.from;
        if at == start {
            break;
        }
    }
    circle.reverse();
    circle
}
