//! Cycles among the dependencies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::dependencies::Dependency;

/// Returns all cycles of minimal length, mostly pairs, so that they can be fixed one by one.
pub(super) fn shortest(dependencies: &[Dependency]) -> Vec<Vec<Dependency>> {
    let starts: BTreeSet<usize> = dependencies.iter().map(|dependency| dependency.from).collect();
    let mut cycles: BTreeMap<BTreeSet<usize>, Vec<Dependency>> = BTreeMap::new();
    for cycle in starts.into_iter().filter_map(|start| shortest_cycle_through(start, dependencies))
    {
        cycles.entry(cycle.iter().map(|dependency| dependency.from).collect()).or_insert(cycle);
    }
    let shortest = cycles.keys().map(BTreeSet::len).min();
    cycles.into_values().filter(|cycle| Some(cycle.len()) == shortest).collect()
}

/// Returns the shortest cycle through a file (breadth-first search).
fn shortest_cycle_through(start: usize, dependencies: &[Dependency]) -> Option<Vec<Dependency>> {
    let mut predecessors: BTreeMap<usize, &Dependency> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for dependency in dependencies.iter().filter(|dependency| dependency.from == file) {
            if predecessors.contains_key(&dependency.to) {
                continue;
            }
            predecessors.insert(dependency.to, dependency);
            if dependency.to == start {
                return Some(path_to(start, &predecessors));
            }
            queue.push_back(dependency.to);
        }
    }
    None
}

fn path_to(start: usize, predecessors: &BTreeMap<usize, &Dependency>) -> Vec<Dependency> {
    let mut cycle = Vec::new();
    let mut current = start;
    while let Some(dependency) = predecessors.get(&current) {
        cycle.push((*dependency).clone());
        current = dependency.from;
        if current == start {
            break;
        }
    }
    cycle.reverse();
    cycle
}
