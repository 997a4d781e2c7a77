//! Random inputs against what always holds: `cargo xtask fuzz --seconds N`. The targets stand in
//! `fuzz/`, a workspace of its own that only the nightly compiler builds.

use std::fs;
use std::time::Instant;

use crate::tools::{self, Failure, command, root, succeed};

/// What is fuzzed, and how long an input may get: a longer one finds nothing that a short one does
/// not, and takes its time.
const TARGETS: &[(&str, usize)] = &[
    ("client", 256),
    ("configuration", 1024),
    ("lifecycle", 512),
    ("origins", 256),
    ("session", 1024),
    ("upgrade", 1024),
];

/// cargo under rustup. The cargo that started us knows no `+nightly`.
const CARGO_FUZZ: &[&str] = &["rustup", "run", "nightly", "cargo", "fuzz"];

/// No address sanitizer: all our code is safe, and it would halve the number of runs.
const OPTIONS: &[&str] =
    &["--fuzz-dir", "fuzz", "--target-dir", "target/fuzz", "--sanitizer", "none"];

/// Runs all targets, for so many seconds in all.
pub(crate) fn run(seconds: u64) -> Result<(), Failure> {
    let tool = tools::CARGO_FUZZ;
    if !tool.is_there() {
        return Err(Failure::new(format!("fuzz needs {}", tool.name), tool.install));
    }
    let build = [CARGO_FUZZ, &["build"], OPTIONS].concat();
    succeed(&mut command(&build), "mend what the compiler names above")?;

    let each = (seconds / u64::try_from(TARGETS.len()).unwrap_or(1)).max(1);
    let mut total = 0;
    for (target, longest) in TARGETS {
        let began = Instant::now();
        let runs = run_target(target, *longest, each)?;
        println!("{target:16} {runs:>12} runs in {} s", began.elapsed().as_secs());
        total += runs;
    }
    println!("{:16} {total:>12} runs, and nothing was found", "all");
    Ok(())
}

/// How often the target was run.
fn run_target(target: &str, longest: usize, seconds: u64) -> Result<u64, Failure> {
    let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
    fs::create_dir_all(root().join(&corpus))
        .map_err(|error| Failure::new(format!("{corpus}: {error}"), "make that folder"))?;
    let limits = [
        format!("-max_total_time={seconds}"),
        format!("-max_len={longest}"),
        // Each run takes less than a millisecond, so this one hangs.
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
        return runs.ok_or_else(|| Failure::new(format!("{target} has counted nothing"), &*log));
    }
    let Some(artifact) = after("Test unit written to ") else {
        return Err(Failure::new(format!("{target} failed before it found anything"), &*log));
    };
    // What the panic says, without the stack behind it.
    let what: Vec<&str> =
        log.lines().skip_while(|line| !line.contains("panicked at")).take(4).collect();
    let again = [CARGO_FUZZ, &["run"], OPTIONS, &[target, artifact]].concat().join(" ");
    let what = format!("{target} has found something: {artifact}\n{}", what.join("\n"));
    Err(Failure::new(
        what,
        format!("see it again with `{again}`; `cargo fuzz tmin` makes it short"),
    ))
}
