//! The points of rest: what a process has while only a known number of clients is connected, and whether
//! its memory grows from one to the next.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::handover::admin;
use crate::load::process_stats::private_memory;

/// Limit for gauges and descriptors to be right.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for which they have to be right before the memory is measured, so that the allocator has given back
/// what it gives back; the samples of the memory, of which the least counts, and the time between them.
const QUIET: Duration = Duration::from_millis(1000);
const MEMORY_SAMPLES: usize = 5;
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
/// Threads that may be there for some seconds after they were used: for files and for names.
const SPARE_THREADS: usize = 4;
/// The growth for each session that is not yet a leak, in bytes.
const MAX_GROWTH: f64 = 16.0;
/// How many standard errors the growth has to be above that: chance alone is so far off in one of 40 runs.
const CERTAINTY: f64 = 2.0;

/// What the clients and an idle process say that a process must have.
#[derive(Clone, Copy)]
pub struct Truth {
    /// Open sessions.
    pub sessions: usize,
    /// Connections of the clients.
    pub connections: usize,
    /// The descriptors and the threads of an idle process.
    pub idle: Idle,
}

/// The first process before any client had connected.
#[derive(Clone, Copy)]
pub struct Idle {
    files: usize,
    threads: usize,
}

impl Idle {
    /// Measures it.
    ///
    /// # Errors
    ///
    /// The process does not exist.
    pub fn measure(pid: Pid) -> io::Result<Self> {
        Ok(Self { files: files(pid)?, threads: threads(pid)? })
    }
}

/// A process at a point of rest.
pub struct Rest {
    /// The sessions that it has opened so far.
    pub opened: f64,
    /// Its private memory, in bytes.
    pub memory: u64,
    metrics: HashMap<String, f64>,
    files: usize,
    threads: usize,
    /// What is not as it must be.
    pub wrong: Vec<String>,
}

impl Rest {
    /// The head of the table.
    pub const HEAD: &str = "| minute | process | sessions opened by it | private memory | resident | \
        descriptors | threads | sessions | connections | subscriptions |\n\
        |---|---|---|---|---|---|---|---|---|---|";

    /// Waits until the process has what it must have, for a limited time, and measures it.
    ///
    /// # Errors
    ///
    /// The process does not exist, or does not answer.
    pub fn measure(pid: Pid, admin: SocketAddr, truth: Truth) -> io::Result<Self> {
        let started = Instant::now();
        let mut right_since = None;
        let mut rest = loop {
            let rest = Self::look(pid, admin, truth)?;
            if !rest.wrong.is_empty() {
                right_since = None;
                if started.elapsed() > SETTLE_TIMEOUT {
                    break rest;
                }
            } else if right_since.get_or_insert_with(Instant::now).elapsed() > QUIET {
                break rest;
            }
            sleep(Duration::from_millis(100));
        };
        rest.memory = private_memory(pid)?;
        for _ in 1..MEMORY_SAMPLES {
            sleep(MEMORY_INTERVAL);
            rest.memory = rest.memory.min(private_memory(pid)?);
        }
        Ok(rest)
    }

    /// Returns its row of the table.
    #[must_use]
    pub fn row(&self, time: Duration, process: Pid) -> String {
        let minute = time.as_secs_f64() / 60.0;
        let kib = |bytes: f64| format!("{:.0} KiB", bytes / 1024.0);
        let [sessions, connections, subscriptions, resident] = [
            "ws_status_sessions",
            "ws_status_connections",
            "ws_status_subscriptions",
            "process_resident_memory_bytes",
        ]
        .map(|name| self.metric(name));
        let (opened, files, threads) = (self.opened, self.files, self.threads);
        let (memory, resident) = (kib(self.memory as f64), kib(resident));
        format!(
            "| {minute:.1} | {process} | {opened} | {memory} | {resident} | {files} | {threads} \
             | {sessions} | {connections} | {subscriptions} |"
        )
    }

    fn look(pid: Pid, admin: SocketAddr, truth: Truth) -> io::Result<Self> {
        // Before the request, whose connection is a descriptor of the process as well.
        let (files, threads) = (files(pid)?, threads(pid)?);
        let metrics = admin::metrics(admin)?;
        let mut rest = Self { opened: 0.0, memory: 0, metrics, files, threads, wrong: Vec::new() };
        rest.opened = rest.metric("ws_status_sessions_opened_total");
        let Truth { sessions, connections, idle } = truth;
        // Each session holds a permit, and so does each connection without one, of which there is none.
        for (name, value) in [
            ("ws_status_sessions", sessions),
            ("ws_status_connections", sessions),
            ("ws_status_subscriptions", sessions),
            ("ws_status_subscriptions_behind", 0),
            ("ws_status_drain_remaining", 0),
            ("ws_status_panics_total", 0),
            ("ws_status_log_lines_dropped_total", 0),
            ("ws_status_accept_failures_total", 0),
            ("ws_status_ready", 1),
            ("ws_status_config_reload_ok", 1),
        ] {
            rest.require(name, rest.metric(name) == value as f64, rest.metric(name), value);
        }
        let files = idle.files + connections;
        rest.require("descriptors", rest.files == files, rest.files, files);
        let threads = idle.threads + SPARE_THREADS;
        rest.require("threads, at most", rest.threads <= threads, rest.threads, threads);
        Ok(rest)
    }

    fn metric(&self, name: &str) -> f64 {
        // A metric that is missing is never right.
        self.metrics.get(name).copied().unwrap_or(f64::NAN)
    }

    fn require(&mut self, name: &str, holds: bool, found: impl std::fmt::Display, required: usize) {
        if !holds {
            self.wrong.push(format!("{name}: {found}, required: {required}"));
        }
    }
}

/// How the memory of a process depends on the sessions that it has opened: a line through the points of
/// rest, by least squares.
pub struct Growth {
    /// The slope, in bytes for each session.
    pub bytes: f64,
    /// Its standard error.
    pub error: f64,
}

impl Growth {
    /// Computes it. `None` for fewer than three points, or if no sessions were opened.
    #[must_use]
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        if points.len() < 3 || spread == 0.0 {
            return None;
        }
        let bytes = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
        let rest = |point: &(f64, f64)| (point.1 - y - bytes * (point.0 - x)).powi(2);
        let variance = points.iter().map(rest).sum::<f64>() / (count - 2.0);
        Some(Self { bytes, error: (variance / spread).sqrt() })
    }

    /// Whether it is a leak: more than chance and more than what is allowed.
    #[must_use]
    pub fn is_leak(&self) -> bool {
        self.bytes - CERTAINTY * self.error > MAX_GROWTH
    }

    /// Returns the least leak that is found in all but one of 40 runs, in bytes for each session.
    #[must_use]
    pub fn found_from(&self) -> f64 {
        MAX_GROWTH + 2.0 * CERTAINTY * self.error
    }
}

fn files(pid: Pid) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn threads(pid: Pid) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}
