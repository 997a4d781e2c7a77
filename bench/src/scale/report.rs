//! The report: what a session takes, and from that what a million would take.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::kernel::Share;
use super::slope::Line;
use super::steps::{Delivery, Measured, PING_INTERVAL, Point};
use crate::load::report::figure;

const MILLION: f64 = 1e6;
/// The time in which all clients come back after all have lost their session.
const STORM: Duration = Duration::from_secs(60);

/// Objects for each session above which a slab cache counts: fewer are those of something else.
const SIGNIFICANT: f64 = 0.5;

/// The figures of a run.
pub struct Report<'a> {
    about: &'a [(&'static str, String)],
    measured: &'a Measured,
    figures: Figures,
}

/// What one session takes.
struct Figures {
    /// Private memory of the servers, in bytes: for each session, and without any.
    user: Line,
    /// The same after pings.
    user_after_pings: f64,
    /// The kernel's objects for the server's end.
    server_end: f64,
    /// Growth of all slab caches, and of all memory of the machine, for both ends.
    slab: f64,
    available: f64,
    clients: f64,
    /// Processor time, in microseconds.
    opening: f64,
    ping: f64,
    message: f64,
    drain: f64,
}

impl<'a> Report<'a> {
    /// Calculates the figures.
    #[must_use]
    pub fn of(about: &'a [(&'static str, String)], measured: &'a Measured) -> Self {
        let Measured { points, kernel_objects, .. } = measured;
        let sessions = points.last().map_or(1, |point| point.sessions).max(1) as f64;
        let line = |of: fn(&Point) -> u64| fit(points, |point| of(point) as f64);
        let user = line(|point| point.servers.iter().sum());
        let states = &measured.states;
        let state_cpu: Duration = states.iter().map(|state| state.cpu).sum();
        let each = |cpu: Duration, count: f64| cpu.as_secs_f64() * 1e6 / count;
        let figures = Figures {
            user,
            user_after_pings: (measured.memory_after_pings as f64 - user.intercept) / sessions,
            server_end: kernel_objects
                .iter()
                .filter(|share| share.objects > SIGNIFICANT)
                .map(|share| share.objects * share.bytes_each)
                .sum(),
            slab: line(|point| point.kernel.slab).slope,
            available: -line(|point| point.kernel.available).slope,
            clients: line(|point| point.clients).slope,
            opening: each(measured.opening.cpu, sessions),
            ping: each(measured.keep_alive.cpu, measured.keep_alive.pings as f64),
            message: each(state_cpu, states.len() as f64 * sessions),
            drain: each(measured.drain.cpu, sessions),
        };
        Self { about, measured, figures }
    }

    /// Renders the report as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.about {
            let _ = writeln!(text, "- {name}: {value}");
        }
        text.push_str("\n## What happened\n\n| check | found | required |\n|---|---:|---:|\n");
        for check in self.measured.checks.all() {
            let failed = if check.holds { "" } else { " FAILED" };
            let (name, found, required) = (check.name, &check.found, &check.required);
            let _ = writeln!(text, "| {name} | {found}{failed} | {required} |");
        }
        text.push_str("\n## Memory\n\n");
        self.write_points(&mut text);
        text.push_str("\n## Objects of the kernel for a session\n\n");
        self.write_kernel_objects(&mut text);
        text.push_str("\n## What one session takes\n\n| | |\n|---|---:|\n");
        for (name, unit, value) in self.rows() {
            let _ = writeln!(text, "| {name} | {} {unit} |", figure(value));
        }
        text.push_str("\n## What a million sessions would take\n\n");
        text.push_str("| | a million | from |\n|---|---:|---|\n");
        for (name, value, from) in self.extrapolation() {
            let _ = writeln!(text, "| {name} | {value} | {from} |");
        }
        text
    }

    /// Serializes what was measured.
    #[must_use]
    pub fn json(&self) -> String {
        let about: serde_json::Map<String, Value> =
            self.about.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let Measured { points, spread, keep_alive, states, drain, .. } = self.measured;
        let rows = self.rows();
        let checks = self.measured.checks.all();
        let all = json!({
            "about": about,
            "checks": checks.iter().map(|check| json!({
                "name": check.name, "found": check.found, "required": check.required, "holds": check.holds,
            })).collect::<Vec<_>>(),
            "points": points.iter().map(|point| json!({
                "sessions": point.sessions, "servers": point.servers, "clients": point.clients,
                "slab": point.kernel.slab, "available": point.kernel.available,
                "sockets": point.kernel.sockets, "buffers": point.kernel.buffers,
            })).collect::<Vec<_>>(),
            "kernel_objects": self.kernel_objects().map(|(share, both)| json!({
                "cache": share.cache, "bytes_each": share.bytes_each,
                "server_end": share.objects, "both_ends": both,
            })).collect::<Vec<_>>(),
            "sessions_of_each_process": spread,
            "pings": keep_alive.pings,
            "states": states.iter().map(|state| json!({
                "cpu_ms": millis(state.cpu), "last_ms": millis(state.last),
            })).collect::<Vec<_>>(),
            "drain": { "cpu_ms": millis(drain.cpu), "last_ms": millis(drain.last),
                "ended_ms": millis(drain.ended) },
            "measures": rows.iter().map(|(name, unit, value)| json!({
                "name": name, "unit": unit, "value": value,
            })).collect::<Vec<_>>(),
        });
        serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
    }

    fn write_points(&self, text: &mut String) {
        text.push_str(
            "| sessions | servers, MB | least and most of one | clients, MB | slab caches, MB \
             | available, MB | sockets | data in buffers, MB |\n|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        let mb = |bytes: u64| figure(bytes as f64 / 1e6);
        for point in &self.measured.points {
            let Point { sessions, servers, clients, kernel } = point;
            let all = servers.iter().sum();
            let [least, most] = [servers.iter().min(), servers.iter().max()]
                .map(|bytes| mb(bytes.copied().unwrap_or_default()));
            let _ = writeln!(
                text,
                "| {sessions} | {} | {least}, {most} | {} | {} | {} | {} | {} |",
                mb(all),
                mb(*clients),
                mb(kernel.slab),
                mb(kernel.available),
                kernel.sockets,
                mb(kernel.buffers),
            );
        }
        let spread = &self.measured.spread;
        let most = spread.iter().max().copied().unwrap_or_default();
        let least = spread.iter().min().copied().unwrap_or_default();
        let _ = writeln!(text, "\nA process has {least} to {most} sessions.");
    }

    fn write_kernel_objects(&self, text: &mut String) {
        text.push_str(
            "| slab cache | bytes of an object | of the server's end | of both ends |\n\
             |---|---:|---:|---:|\n",
        );
        let mut bytes = [0.0; 2];
        for (share, both) in self.kernel_objects() {
            let Share { cache, bytes_each, objects } = share;
            bytes[0] += objects * bytes_each;
            bytes[1] += both * bytes_each;
            let each = figure(*bytes_each);
            let _ = writeln!(text, "| {cache} | {each} | {objects:.2} | {both:.2} |");
        }
        let [server_end, both_ends] = bytes.map(figure);
        let _ = writeln!(text, "| bytes | | {server_end} | {both_ends} |");
    }

    /// Returns the caches that grow with the sessions, and their objects for each, both ends together.
    fn kernel_objects(&self) -> impl Iterator<Item = (&Share, f64)> {
        let all =
            self.measured.kernel_objects.iter().map(|share| (share, self.objects(&share.cache)));
        all.filter(|(share, both)| share.objects.max(*both) > SIGNIFICANT)
    }

    /// Returns the objects of a cache for each session, both ends together, as the sessions open.
    fn objects(&self, cache: &str) -> f64 {
        fit(&self.measured.points, |point| point.kernel.objects(cache)).slope
    }

    /// What a session takes: a name, a unit and a value.
    fn rows(&self) -> Vec<(&'static str, &'static str, f64)> {
        let Measured { opening, keep_alive, states, drain, points, .. } = self.measured;
        let figures = &self.figures;
        let sessions = points.last().map_or(0, |point| point.sessions) as f64;
        vec![
            ("memory of the server process", "bytes", figures.user.slope),
            ("the same after two pings", "bytes", figures.user_after_pings),
            ("all server processes without a session", "MB", figures.user.intercept / 1e6),
            ("kernel, the server's end, by its objects", "bytes", figures.server_end),
            ("kernel, both ends, growth of all slab caches", "bytes", figures.slab),
            ("memory of the client process", "bytes", figures.clients),
            ("decrease of what the machine has available", "bytes", figures.available),
            ("opening, processor time of the servers", "µs", figures.opening),
            (
                "opened in a second, with the clients on the machine",
                "",
                sessions / opening.time.as_secs_f64(),
            ),
            ("keep-alive, processor time for a ping and its pong", "µs", figures.ping),
            (
                "keep-alive, of all sessions",
                "ms in a second",
                millis(keep_alive.cpu) / keep_alive.time.as_secs_f64(),
            ),
            ("a state of 200 bytes, processor time for each session", "µs", figures.message),
            (
                "a state of 200 bytes, until the last of all has it, median",
                "ms",
                median_last(states),
            ),
            ("drain, processor time", "µs", figures.drain),
            ("drain, until the last of all has its Close frame", "ms", millis(drain.last)),
            ("drain, sockets in TIME_WAIT after it", "", drain.time_wait as f64),
            ("drain, until the last process has ended", "ms", millis(drain.ended)),
        ]
    }

    /// What a million sessions would take: a name, a value, and what it is calculated from.
    fn extrapolation(&self) -> Vec<(&'static str, String, String)> {
        let Figures { user, user_after_pings, server_end, opening, ping, message, drain, .. } =
            self.figures;
        let bytes = user.slope.max(user_after_pings);
        let gb = |bytes: f64| format!("{} GB", figure(bytes * MILLION / 1e9));
        let core_seconds =
            |micros: f64| format!("{} s of one core", figure(micros * MILLION / 1e6));
        let micros = |micros: f64| format!("{} µs each", figure(micros));
        let cores = |rate: f64, micros: f64| format!("{} of one core", figure(rate * micros / 1e6));
        let pings = MILLION / PING_INTERVAL.as_secs_f64();
        let storm = MILLION / STORM.as_secs_f64();
        vec![
            ("memory of the processes", gb(bytes), format!("{} bytes each", figure(bytes))),
            (
                "memory of the kernel, server's end",
                gb(server_end),
                format!("{} bytes each", figure(server_end)),
            ),
            (
                "pings at 25 s",
                cores(pings, ping),
                format!("{} a second, {}", figure(pings), micros(ping)),
            ),
            (
                "all come back within 60 s",
                cores(storm, opening),
                format!("{} a second, {}", figure(storm), micros(opening)),
            ),
            ("a state of 200 bytes to all", core_seconds(message), micros(message)),
            ("a drain", core_seconds(drain), micros(drain)),
        ]
    }
}

/// Fits a line to the points that have sessions: the first ones allocate what is not for one session.
fn fit(points: &[Point], of: impl Fn(&Point) -> f64) -> Line {
    let with_sessions = points.iter().filter(|point| point.sessions > 0);
    let points: Vec<_> = with_sessions.map(|point| (point.sessions as f64, of(point))).collect();
    Line::fit(&points)
}

fn median_last(states: &[Delivery]) -> f64 {
    let mut times: Vec<f64> = states.iter().map(|state| millis(state.last)).collect();
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
