//! The tables, and the checks that failed.

use std::error::Error;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::clients::Pong;
use super::upgrade::{Kill, Side, Transfer, Upgrade};

/// Limit of a pong while sessions are handed over.
pub const SLOWEST_PONG: Duration = Duration::from_millis(250);
/// Limit from the Hello to the end of the transfer.
pub const LONGEST_TRANSFER: Duration = Duration::from_secs(2);

/// How many examples of a failure are printed.
const EXAMPLES: usize = 8;

/// Prints a table of checks, and keeps those that failed.
#[derive(Default)]
pub struct Report {
    /// The checks that failed.
    pub failures: Vec<String>,
}

impl Report {
    /// Prints the head of the table.
    pub fn begin(&self) {
        println!("\n| check | found | required |\n|---|---|---|");
    }

    /// Prints a row, and fails if it does not hold.
    pub fn check(&mut self, name: &str, found: impl Display, required: impl Display, holds: bool) {
        println!("| {name} | {found}{} | {required} |", if holds { "" } else { " **FAILED**" });
        if !holds {
            self.failures.push(format!("{name}: {found}, required: {required}"));
        }
    }

    /// Prints a row for what there must not be, and keeps the first ones.
    pub fn check_none(&mut self, name: &str, found: &[String]) {
        self.check(name, found.len(), 0, found.is_empty());
        self.failures.extend(found.iter().take(EXAMPLES).map(|text| format!("    {text}")));
    }

    /// Prints a row without a requirement.
    pub fn figure(&self, name: &str, found: impl Display) {
        println!("| {name} | {found} | |");
    }
}

/// Prints the failures of a run, and returns the exit code. `folder` has the logs.
#[must_use]
pub fn conclude(outcome: Result<Vec<String>, Box<dyn Error>>, folder: &Path) -> ExitCode {
    let failures = outcome.unwrap_or_else(|error| vec![error.to_string()]);
    println!();
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    if failures.is_empty() {
        println!("no failures");
        return ExitCode::SUCCESS;
    }
    println!("the logs of the processes are in {}", folder.display());
    ExitCode::FAILURE
}

/// The distribution of round trips.
pub struct Percentiles {
    /// The number of round trips.
    pub count: usize,
    /// The median.
    pub p50: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The greatest.
    pub slowest: Duration,
}

impl Percentiles {
    /// Returns the distribution of these times; zeros if there are none.
    #[must_use]
    pub fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.collect();
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).copied().unwrap_or_default()
        };
        Self { count: times.len(), p50: at(50), p99: at(99), slowest: at(100) }
    }

    /// Returns the distribution for the pings that had no pong yet at some moment within a time.
    #[must_use]
    pub fn within(pongs: &[Pong], time: &RangeInclusive<Duration>) -> Self {
        let is_within = |pong: &&Pong| {
            pong.sent() <= *time.end() && pong.sent() + pong.round_trip() >= *time.start()
        };
        Self::of(pongs.iter().filter(is_within).map(|pong| pong.round_trip()))
    }
}

/// Prints a row for each upgrade, and one for the time in between. Adds the goals that were missed.
pub fn print_upgrades(report: &mut Report, upgrades: &[Upgrade], pongs: &[Pong]) {
    println!(
        "| upgrade | at | outcome | killed | ready | predecessor ended | handed over | taken over \
         | pong p50 | p99 | slowest |\n|---|---|---|---|---|---|---|---|---|---|---|"
    );
    let undisturbed = pongs.iter().filter(|pong| {
        let sent = pong.sent();
        !upgrades.iter().any(|upgrade| {
            sent <= *upgrade.time.end() && sent + pong.round_trip() >= *upgrade.time.start()
        })
    });
    let Percentiles { count, p50, p99, slowest } =
        Percentiles::of(undisturbed.map(|pong| pong.round_trip()));
    println!(
        "| none | | {count} pings | | | | | | {} | {} | {} |",
        millis(p50),
        millis(p99),
        millis(slowest)
    );
    for (number, upgrade) in (1..).zip(upgrades) {
        let Percentiles { p50, p99, slowest, .. } = Percentiles::within(pongs, &upgrade.time);
        println!(
            "| {number} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            millis(*upgrade.time.start()),
            upgrade.outcome.name(),
            upgrade.kill.map(kill).unwrap_or_default(),
            upgrade.ready.map(millis).unwrap_or_default(),
            upgrade.predecessor_ended.map(millis).unwrap_or_default(),
            upgrade.handed_over.map(transfer).unwrap_or_default(),
            upgrade.taken_over.map(transfer).unwrap_or_default(),
            millis(p50),
            millis(p99),
            millis(slowest),
        );
        if slowest > SLOWEST_PONG {
            report.failures.push(format!(
                "upgrade {number}: a pong took {}, the goal is {}",
                millis(slowest),
                millis(SLOWEST_PONG)
            ));
        }
        for transfer in upgrade.handed_over.iter().chain(&upgrade.taken_over) {
            if transfer.duration > LONGEST_TRANSFER {
                report.failures.push(format!(
                    "upgrade {number}: the transfer took {}, the goal is {}",
                    millis(transfer.duration),
                    millis(LONGEST_TRANSFER)
                ));
            }
        }
        report
            .failures
            .extend(upgrade.failures.iter().map(|failure| format!("upgrade {number}: {failure}")));
    }
}

/// Formats a time in milliseconds.
#[must_use]
pub fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn kill(kill: Kill) -> String {
    let side = match kill.side {
        Side::Predecessor => "predecessor",
        Side::Successor => "successor",
    };
    format!("{side} at {}", millis(kill.after))
}

fn transfer(transfer: Transfer) -> String {
    let Transfer { sessions, duration, pause } = transfer;
    format!("{sessions} in {}, paused for {}", millis(duration), millis(pause))
}
