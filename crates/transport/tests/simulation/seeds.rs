//! Runs the seeds of a simulation. A failing seed prints its history.
//!
//! `SIMULATION_SEED=n` runs one seed and prints its history; `SIMULATION_SEEDS=n` runs the first `n` seeds, and
//! `SIMULATION_SEEDS=n..m` those of a range.

use std::env;
use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::history::{History, Lines};

/// Runs the first `seeds` seeds, and those that have found a defect before. `simulate` returns the failures of a
/// scenario; a panic is one, too. Returns how many seeds ran.
pub(crate) fn run_seeds<F: Future<Output = Vec<String>>>(
    seeds: u64,
    regressions: &[u64],
    simulate: impl Fn(u64, History) -> F + Sync,
) -> usize {
    let run = |seed: u64, lines: Lines| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let scenario = async { simulate(seed, History::new(lines)).await };
        catch_unwind(AssertUnwindSafe(|| runtime.block_on(scenario)))
            .unwrap_or_else(|_| vec!["it panicked, as the message above says".to_owned()])
    };
    if let Ok(seed) = env::var("SIMULATION_SEED") {
        report(seed.parse().expect("a number"), run);
        return 1;
    }
    let seeds = chosen(seeds, regressions);
    let next = AtomicUsize::new(0);
    let worker = || {
        let indices = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let claimed = indices.map_while(|index| seeds.get(index).copied());
        claimed.filter(|seed| !run(*seed, None).is_empty()).collect::<Vec<_>>()
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let failed: Vec<u64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    if let Some(first) = failed.iter().min() {
        println!("{} of {} seeds failed: {failed:?}", failed.len(), seeds.len());
        report(*first, run);
        panic!("seed {first} failed once and passed once: it depends on more than its seed");
    }
    seeds.len()
}

/// Runs a seed alone, prints its history, and fails if it does.
fn report(seed: u64, run: impl Fn(u64, Lines) -> Vec<String>) {
    let lines = Lines::Some(Arc::default());
    let failures = run(seed, lines.clone());
    for line in lines.iter().flat_map(|lines| lines.lock().unwrap().clone()) {
        println!("{line}");
    }
    let (package, test) = (env!("CARGO_PKG_NAME"), env!("CARGO_CRATE_NAME"));
    assert!(
        failures.is_empty(),
        "{failures:#?}\n\
         This is SIMULATION_SEED={seed} cargo test -p {package} --test {test} -- --nocapture"
    );
}

fn chosen(seeds: u64, regressions: &[u64]) -> Vec<u64> {
    let Ok(text) = env::var("SIMULATION_SEEDS") else {
        return with_regressions(0..seeds, regressions);
    };
    let number = |text: &str| text.parse().expect("a number");
    match text.split_once("..") {
        Some((first, end)) => (number(first)..number(end)).collect(),
        None => with_regressions(0..number(&text), regressions),
    }
}

fn with_regressions(seeds: Range<u64>, regressions: &[u64]) -> Vec<u64> {
    let others = regressions.iter().copied().filter(|seed| !seeds.contains(seed));
    seeds.clone().chain(others).collect()
}
