//! Metrics of the process, with the names that Prometheus client libraries use.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the values at each scrape. Values that the system does not provide are omitted.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(stats) = read_stats() else { return Ok(()) };
        let cpu = ConstCounter::new(stats.cpu_seconds);
        let help = "User and system CPU time of the process";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            help,
            None,
            cpu.metric_type(),
        )?)?;
        for (name, help, value) in [
            ("process_open_fds", "Open files, including sockets", stats.open_files),
            ("process_max_fds", "Limit of open files", stats.max_open_files),
            (
                "process_resident_memory_bytes",
                "Resident memory of the process",
                stats.resident_bytes,
            ),
            ("process_virtual_memory_bytes", "Virtual memory of the process", stats.virtual_bytes),
        ] {
            let gauge = ConstGauge::new(value);
            let metric = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, None, metric)?)?;
        }
        let Some(started_at) = stats.started_at else { return Ok(()) };
        let started = ConstGauge::new(started_at);
        let help = "Start time of the process, in seconds since the Unix epoch";
        started.encode(encoder.encode_descriptor(
            "process_start_time_seconds",
            help,
            None,
            started.metric_type(),
        )?)
    }
}

struct ProcessStats {
    cpu_seconds: f64,
    open_files: i64,
    max_open_files: i64,
    resident_bytes: i64,
    virtual_bytes: i64,
    /// `None` if `/proc` shows processes only (mount option `subset=pid`).
    started_at: Option<f64>,
}

#[cfg(target_os = "linux")]
fn read_stats() -> Option<ProcessStats> {
    use std::time::Duration;

    use procfs::process::{LimitValue, Process};

    let process = Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let seconds = |ticks: u64| {
        let milliseconds = ticks.saturating_mul(1000) / procfs::ticks_per_second().max(1);
        Duration::from_millis(milliseconds).as_secs_f64()
    };
    let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let max_open_files = match process.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Unlimited => i64::MAX,
        LimitValue::Value(files) => integer(files),
    };
    let booted_at = procfs::boot_time_secs().ok().map(Duration::from_secs);
    Some(ProcessStats {
        cpu_seconds: seconds(stat.utime + stat.stime),
        open_files: i64::try_from(process.fd_count().ok()?).ok()?,
        max_open_files,
        resident_bytes: integer(stat.rss.saturating_mul(procfs::page_size())),
        virtual_bytes: integer(stat.vsize),
        started_at: booted_at.map(|time| time.as_secs_f64() + seconds(stat.starttime)),
    })
}

#[cfg(not(target_os = "linux"))]
fn read_stats() -> Option<ProcessStats> {
    None
}
