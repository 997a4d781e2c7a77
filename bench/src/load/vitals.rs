//! What a process and its connections cost, as the system counts it.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// The processor time that a process has used so far, user and system together.
///
/// It is the process's own clock: in nanoseconds, where `/proc/PID/stat` has ticks of 10 ms, and
/// with the time of threads that have ended, which the `schedstat` of each takes away.
///
/// # Errors
///
/// It is gone.
pub fn processor_time(process: Pid) -> io::Result<Duration> {
    Ok(ClockId::pid_cpu_clock_id(process)?.now()?.into())
}

/// The memory in bytes that only this process uses.
///
/// # Errors
///
/// It is gone.
pub fn private_memory(process: Pid) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    Ok(kib(&rollup, "Private_Dirty:") * 1024 + kib(&rollup, "Swap:") * 1024)
}

/// The memory in bytes that the system itself uses for sockets, files and pages, of all processes.
///
/// # Errors
///
/// What the system says.
pub fn kernel_memory() -> io::Result<u64> {
    let all = fs::read_to_string("/proc/meminfo")?;
    let kib = ["Slab:", "KernelStack:", "PageTables:"].map(|name| kib(&all, name));
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let pages = tcp.rsplit(' ').next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    Ok(kib.iter().sum::<u64>() * 1024 + pages * 4096)
}

fn kib(table: &str, name: &str) -> u64 {
    let line = table.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// One line each of what the figures depend on.
#[must_use]
pub fn machine() -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown");
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = kib(&read("/proc/meminfo"), "MemTotal:") / (1 << 20);
    vec![
        ("processor", model.to_owned()),
        ("cores", cores.to_string()),
        ("memory", format!("{memory} GiB")),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
    ]
}
