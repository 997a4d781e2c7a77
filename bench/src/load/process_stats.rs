//! CPU time and memory of a process, as the kernel counts them.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// Returns the CPU time that a process has used, user and system together.
///
/// The process's CPU-time clock has a resolution of nanoseconds, where `/proc/PID/stat` has ticks of 10
/// ms, and includes threads that have ended, which the `schedstat` of each thread does not.
///
/// # Errors
///
/// The process does not exist.
pub fn cpu_time(process: Pid) -> io::Result<Duration> {
    Ok(ClockId::pid_cpu_clock_id(process)?.now()?.into())
}

/// Returns the private memory of a process, in bytes.
///
/// # Errors
///
/// The process does not exist.
pub fn private_memory(process: Pid) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    Ok(kib(&rollup, "Private_Dirty:") * 1024 + kib(&rollup, "Swap:") * 1024)
}

/// Returns the memory that the kernel uses for sockets, files and page tables of all processes, in
/// bytes.
///
/// # Errors
///
/// A file in `/proc` cannot be read.
pub fn kernel_memory() -> io::Result<u64> {
    let all = fs::read_to_string("/proc/meminfo")?;
    let kib = ["Slab:", "KernelStack:", "PageTables:"].map(|name| kib(&all, name));
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let pages = tcp.rsplit(' ').next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    Ok(kib.iter().sum::<u64>() * 1024 + pages * 4096)
}

/// Returns a line of a table like `/proc/meminfo` in KiB; 0 if it is missing.
pub(crate) fn kib(table: &str, name: &str) -> u64 {
    let line = table.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// Returns the properties of the machine, the date, and the commit of the repository, as names and values.
#[must_use]
pub fn run_info(repository: &Path) -> Vec<(&'static str, String)> {
    let git = ["describe", "--always", "--dirty", "--exclude=*"];
    let mut info = machine_info();
    info.push(("date", output_of(Command::new("date").arg("--iso-8601=seconds"))));
    info.push(("commit", output_of(Command::new("git").args(git).current_dir(repository))));
    info
}

fn machine_info() -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown");
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let memory = kib(&read("/proc/meminfo"), "MemTotal:") / (1 << 20);
    vec![
        ("processor", model.to_owned()),
        ("cores", cores.to_string()),
        ("memory", format!("{memory} GiB")),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
    ]
}

fn output_of(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
