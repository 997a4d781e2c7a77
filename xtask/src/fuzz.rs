//! Runs the fuzz targets: `cargo xtask fuzz --seconds N`, and keeps what they have found:
//! `cargo xtask fuzz --minimize`. The targets are in `fuzz/`, a separate workspace that needs the nightly
//! compiler.
//!
//! | folder | in the repository | |
//! |---|---|---|
//! | `fuzz/seeds` | yes | inputs that were written by hand |
//! | `fuzz/kept` | yes | inputs of the fuzzer, as few as reach every edge that it has ever reached: one in hexadecimal on each line, because they are thousands |
//! | `fuzz/corpus` | no | all inputs of the fuzzer on this machine |
//! | `fuzz/dictionaries` | yes | words for targets whose inputs have some |
//! | `fuzz/options` | yes | the largest input; longer ones are slower and reach no further code |

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use crate::files;
use crate::tools::{self, Failure, command, root, succeed, target};

/// cargo through rustup: the cargo that started this program does not accept `+nightly`.
const CARGO_FUZZ: &[&str] = &["rustup", "run", "nightly", "cargo", "fuzz"];

/// No address sanitizer: the code of the project is safe Rust, and the sanitizer halves the number of
/// runs. `--release` leaves the assertions to the profile in `fuzz/Cargo.toml`.
const OPTIONS: &[&str] =
    &["--release", "--fuzz-dir", "fuzz", "--target-dir", "target/fuzz", "--sanitizer", "none"];

/// Runs all targets, for `seconds` in total.
pub(crate) fn run(seconds: u64) -> Result<(), Failure> {
    let targets = build()?;
    let each = (seconds / u64::try_from(targets.len()).unwrap_or(1)).max(1);
    let mut total = 0;
    for target in targets {
        let began = Instant::now();
        let Statistics { runs, edges } = target.run(each)?;
        let seconds = began.elapsed().as_secs();
        println!("{:16} {runs:>12} runs in {seconds:>5} s, {edges:>6} edges", target.name);
        total += runs;
    }
    println!("{:16} {total:>12} runs, no failure", "all");
    Ok(())
}

/// Replaces the kept inputs of all targets by as few as reach the same edges, together with the seeds.
pub(crate) fn minimize() -> Result<(), Failure> {
    for target in build()? {
        let (files, bytes) = target.minimize()?;
        println!("{:16} {files:>4} inputs of {bytes:>7} bytes", target.name);
    }
    Ok(())
}

/// Builds all targets.
fn build() -> Result<Vec<Target>, Failure> {
    let tool = tools::CARGO_FUZZ;
    if !tool.is_installed() {
        return Err(Failure::new(format!("fuzz needs {}", tool.name), tool.install));
    }
    let build = [CARGO_FUZZ, &["build"], OPTIONS].concat();
    succeed(&mut command(&build), "fix the errors that the compiler reports above")?;
    let entry_points = files::tree("fuzz/fuzz_targets")?;
    let names = entry_points.iter().filter_map(|file| file.strip_suffix(".rs"));
    Ok(names.map(|name| Target { name: name.to_owned() }).collect())
}

struct Target {
    name: String,
}

struct Statistics {
    runs: u64,
    /// The edges of the control flow that all inputs together reach.
    edges: u64,
}

impl Target {
    /// Runs the target, with everything that is known of its inputs.
    fn run(&self, seconds: u64) -> Result<Statistics, Failure> {
        let name = &self.name;
        create(&root().join(self.corpus()))?;
        let mut limits = vec![
            format!("-max_total_time={seconds}"),
            self.max_len()?,
            // A run takes some milliseconds; one that takes 10 s hangs.
            "-timeout=10".to_owned(),
            "-rss_limit_mb=2048".to_owned(),
            "-print_final_stats=1".to_owned(),
        ];
        let dictionary = format!("fuzz/dictionaries/{name}.dict");
        if root().join(&dictionary).exists() {
            limits.push(format!("-dict={dictionary}"));
        }
        let kept = self.unpack_kept()?;
        let log = self.fuzz(&[&self.corpus(), &kept, &self.seeds()], &limits)?;
        let after = |word: &str| log.lines().rev().find_map(|line| line.split_once(word));
        let runs = after("stat::number_of_executed_units:").map(|(_, runs)| runs.trim());
        let edges = after(" cov: ").and_then(|(_, rest)| rest.split_whitespace().next());
        match (runs.and_then(|it| it.parse().ok()), edges.and_then(|it| it.parse().ok())) {
            (Some(runs), Some(edges)) => Ok(Statistics { runs, edges }),
            _ => Err(Failure::new(format!("{name} printed no statistics"), log)),
        }
    }

    /// Returns the number of inputs that are kept, and their size.
    fn minimize(&self) -> Result<(usize, usize), Failure> {
        let kept = self.unpack_kept()?;
        let seeds = read_all(&root().join(self.seeds()))?;
        // The fuzzer adds to the first folder what reaches further edges.
        let merged = target().join("fuzz/merged").join(&self.name);
        write_all(&merged, &seeds)?;
        create(&root().join(self.corpus()))?;
        let limits =
            [self.max_len()?, "-set_cover_merge=1".to_owned(), "-use_counters=0".to_owned()];
        self.fuzz(&[&merged.to_string_lossy(), &self.corpus(), &kept], &limits)?;

        let inputs: BTreeSet<Input> = read_all(&merged)?.difference(&seeds).cloned().collect();
        let mut lines: Vec<String> = inputs.iter().map(|input| to_hex(input)).collect();
        // Short ones first, which say most to a reader.
        lines.sort_by_key(|line| (line.len(), line.clone()));
        let file = root().join(self.kept_file());
        fs::write(&file, lines.concat()).map_err(|error| failure(&file, &error))?;
        Ok((inputs.len(), inputs.iter().map(Vec::len).sum()))
    }

    /// Writes each kept input to a file of its own, as the fuzzer reads them, and returns their folder.
    fn unpack_kept(&self) -> Result<String, Failure> {
        let file = root().join(self.kept_file());
        let text = if file.exists() { files::read(&file)? } else { String::new() };
        let inputs = text.lines().map(|line| {
            of_hex(line).ok_or_else(|| {
                let problem = format!("{} has a line that is not hexadecimal", file.display());
                Failure::new(problem, "remove it, and run `cargo xtask fuzz --minimize`")
            })
        });
        let folder = target().join("fuzz/kept").join(&self.name);
        write_all(&folder, &inputs.collect::<Result<_, _>>()?)?;
        Ok(folder.to_string_lossy().into_owned())
    }

    /// Runs the fuzzer, and returns its log.
    fn fuzz(&self, folders: &[&str], limits: &[String]) -> Result<String, Failure> {
        let name = self.name.as_str();
        let mut fuzz = command(&[CARGO_FUZZ, &["run"], OPTIONS, &[name], folders].concat());
        fuzz.arg("--").args(limits);
        let output = fuzz.output().map_err(|error| {
            Failure::new(
                format!("cargo fuzz did not start: {error}"),
                "rustup toolchain install nightly",
            )
        })?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(log);
        }
        let artifact = log.lines().find_map(|line| line.split_once("Test unit written to "));
        let Some((_, artifact)) = artifact else {
            return Err(Failure::new(format!("{name} failed without an artifact"), log));
        };
        // The panic message, without the stack trace.
        let message: Vec<&str> =
            log.lines().skip_while(|line| !line.contains("panicked at")).take(4).collect();
        let reproduce = [CARGO_FUZZ, &["run"], OPTIONS, &[name, artifact]].concat().join(" ");
        Err(Failure::new(
            format!("{name} found a failing input: {artifact}\n{}", message.join("\n")),
            format!("reproduce it with `{reproduce}`; `cargo fuzz tmin` minimizes the input"),
        ))
    }

    /// Returns the option that limits the inputs, from the file that OSS-Fuzz reads as well.
    fn max_len(&self) -> Result<String, Failure> {
        let file = format!("fuzz/options/{}.options", self.name);
        let text = files::read(&root().join(&file))?;
        let max_len = text.lines().find_map(|line| line.strip_prefix("max_len = "));
        let max_len = max_len.ok_or_else(|| {
            Failure::new(format!("{file} has no line `max_len = N`"), "add it below [libfuzzer]")
        })?;
        Ok(format!("-max_len={max_len}"))
    }

    fn corpus(&self) -> String {
        format!("fuzz/corpus/{}", self.name)
    }

    fn kept_file(&self) -> String {
        format!("fuzz/kept/{}.hex", self.name)
    }

    fn seeds(&self) -> String {
        format!("fuzz/seeds/{}", self.name)
    }
}

/// An input of a target.
type Input = Vec<u8>;

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| failure(folder, &error))
}

/// Reads all files of a folder.
fn read_all(folder: &Path) -> Result<BTreeSet<Input>, Failure> {
    let read = || -> io::Result<BTreeSet<Input>> {
        fs::read_dir(folder)?.map(|entry| fs::read(entry?.path())).collect()
    };
    read().map_err(|error| failure(folder, &error))
}

/// Replaces a folder by one with a file for each input.
fn write_all(folder: &Path, inputs: &BTreeSet<Input>) -> Result<(), Failure> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| failure(folder, &error))?;
    }
    create(folder)?;
    for (number, input) in inputs.iter().enumerate() {
        let file = folder.join(format!("{number:04}"));
        fs::write(&file, input).map_err(|error| failure(&file, &error))?;
    }
    Ok(())
}

/// Returns a line.
fn to_hex(input: &[u8]) -> String {
    let digits: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
    digits + "\n"
}

fn of_hex(line: &str) -> Option<Input> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (pairs, []) = line.as_bytes().as_chunks() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "make that folder readable and writable")
}
