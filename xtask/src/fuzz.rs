//! Runs the fuzz targets: `cargo xtask fuzz --seconds N`. The targets are in `fuzz/`, a separate
//! workspace that needs the nightly compiler.

use std::fs;
use std::time::Instant;

use crate::tools::{self, Failure, command, root, succeed};

/// The targets, and the maximum length of their inputs in bytes. Longer inputs are slower and reach no
/// further code.
const TARGETS: &[(&str, usize)] = &[
    ("client", 256),
    ("configuration", 1024),
    ("extensions", 512),
    ("lifecycle", 512),
    ("origins", 256),
    ("session", 1024),
    ("upgrade", 1024),
];

/// cargo through rustup: the cargo that started this program does not accept `+nightly`.
const CARGO_FUZZ: &[&str] = &["rustup", "run", "nightly", "cargo", "fuzz"];

/// No address sanitizer: the code of the project is safe Rust, and the sanitizer halves the number of
/// runs.
const OPTIONS: &[&str] =
    &["--fuzz-dir", "fuzz", "--target-dir", "target/fuzz", "--sanitizer", "none"];

/// Runs all targets, for `seconds` in total.
pub(crate) fn run(seconds: u64) -> Result<(), Failure> {
    let tool = tools::CARGO_FUZZ;
    if !tool.is_installed() {
        return Err(Failure::new(format!("fuzz needs {}", tool.name), tool.install));
    }
    let build = [CARGO_FUZZ, &["build"], OPTIONS].concat();
    succeed(&mut command(&build), "fix the errors that the compiler reports above")?;

    let each = (seconds / u64::try_from(TARGETS.len()).unwrap_or(1)).max(1);
    let mut total = 0;
    for (target, max_len) in TARGETS {
        let began = Instant::now();
        let runs = run_target(target, *max_len, each)?;
        println!("{target:16} {runs:>12} runs in {} s", began.elapsed().as_secs());
        total += runs;
    }
    println!("{:16} {total:>12} runs, no failure", "all");
    Ok(())
}

/// Runs a target, and returns the number of runs.
fn run_target(target: &str, max_len: usize, seconds: u64) -> Result<u64, Failure> {
    let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
    fs::create_dir_all(root().join(&corpus))
        .map_err(|error| Failure::new(format!("{corpus}: {error}"), "create that folder"))?;
    let limits = [
        format!("-max_total_time={seconds}"),
        format!("-max_len={max_len}"),
        // A run takes less than a millisecond; one that takes 10 s hangs.
        "-timeout=10".to_owned(),
        "-rss_limit_mb=2048".to_owned(),
        "-print_final_stats=1".to_owned(),
    ];
    let mut fuzz = command(&[CARGO_FUZZ, &["run"], OPTIONS, &[target, &corpus, &seeds]].concat());
    fuzz.arg("--").args(&limits);

    let output = fuzz.output().map_err(|error| {
        Failure::new(
            format!("cargo fuzz did not start: {error}"),
            "rustup toolchain install nightly",
        )
    })?;
    let log = String::from_utf8_lossy(&output.stderr);
    let after = |word: &str| log.lines().find_map(|line| Some(line.split_once(word)?.1.trim()));
    if output.status.success() {
        let runs = after("stat::number_of_executed_units:").and_then(|runs| runs.parse().ok());
        return runs
            .ok_or_else(|| Failure::new(format!("{target} printed no number of runs"), &*log));
    }
    let Some(artifact) = after("Test unit written to ") else {
        return Err(Failure::new(format!("{target} failed without an artifact"), &*log));
    };
    // The panic message, without the stack trace.
    let message: Vec<&str> =
        log.lines().skip_while(|line| !line.contains("panicked at")).take(4).collect();
    let reproduce = [CARGO_FUZZ, &["run"], OPTIONS, &[target, artifact]].concat().join(" ");
    let message = format!("{target} found a failing input: {artifact}\n{}", message.join("\n"));
    Err(Failure::new(
        message,
        format!("reproduce it with `{reproduce}`; `cargo fuzz tmin` minimizes the input"),
    ))
}
