//! Counts the instructions of a session: `cargo xtask instructions`. It measures no time, so it needs no
//! idle machine.

use crate::tools::{Failure, cargo, command, output, target};

/// What a read brings: the name of the frames for the program, how many are in a read, and what one is.
const INPUTS: &[(&str, u64, &str)] = &[
    ("ping", 1, "a ping of 8 bytes, alone in a read"),
    ("pings", 16, "a ping of 8 bytes, of sixteen in a read"),
    ("messages", 1170, "a message of 8 bytes, of 1,170 in a read"),
];

/// Numbers of reads. The difference of two runs leaves out what the process takes to start and to end.
const READS: [u64; 2] = [100, 300];

/// Runs the program `instructions` of `bench` under callgrind.
pub(crate) fn run() -> Result<(), Failure> {
    let build =
        ["build", "--release", "--locked", "--quiet", "--manifest-path", "bench/Cargo.toml"];
    let target = target();
    let folder = target.to_string_lossy();
    let options = ["--bin", "instructions", "--target-dir", &folder];
    cargo(&[&build[..], &options].concat(), "fix the build")?;
    let program = target.join("release/instructions").to_string_lossy().into_owned();
    for (frames, in_a_read, meaning) in INPUTS {
        let [few, many] = READS;
        let count = |reads| instructions(&program, frames, reads);
        let each = count(many)?.saturating_sub(count(few)?) / ((many - few) * in_a_read);
        println!("{each:>6} instructions: {meaning}");
    }
    Ok(())
}

/// Returns the instructions of a run, which callgrind prints in a line `Collected : N`.
fn instructions(program: &str, frames: &str, reads: u64) -> Result<u64, Failure> {
    let remedy = "run it by hand to see what failed";
    let mut run = command(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    run.args(["--log-fd=1", program, frames, &reads.to_string()]);
    let text = output(&mut run, remedy)?;
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, count)| count.trim().parse().ok())
        .ok_or_else(|| Failure::new("callgrind has counted nothing", remedy))
}
