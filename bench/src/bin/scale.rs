//! A hundred thousand sessions on one machine: `scale PUBLISH FOLDER [--sessions N] [--processes K] [--one-socket]
//! [--out FOLDER]`.
//!
//! PUBLISH is the example `publish`, FOLDER is for the logs and, without `--out`, for the report. K processes share an address, by SO_REUSEPORT or
//! with `--one-socket` by one listening socket; K other processes have the clients. It needs root, because
//! `/proc/slabinfo` does. `cargo xtask scale` runs it.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bench::load::process_stats::run_info;
use bench::process::allow_many_files;
use bench::scale::client_processes::ARGUMENT;
use bench::scale::clients;
use bench::scale::report::Report;
use bench::scale::servers::Sharing;
use bench::scale::steps::{self, Plan};

const USAGE: &str = "usage: scale PUBLISH FOLDER [--sessions N] [--processes K] [--one-socket] \
    [--out FOLDER]";

struct Arguments {
    publish: PathBuf,
    folder: PathBuf,
    plan: Plan,
    out: PathBuf,
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let outcome = match words.as_slice() {
        [argument, server] if argument == ARGUMENT => be_clients(server),
        words => match arguments(words) {
            Some(arguments) => run(&arguments),
            None => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(words: &[String]) -> Option<Arguments> {
    let mut words = words.iter();
    let mut path = || words.next().filter(|word| !word.starts_with("--")).map(PathBuf::from);
    let (publish, folder) = (path()?, path()?);
    let mut plan = Plan { sessions: 100_000, processes: 6, sharing: Sharing::ReusePort };
    let mut out = folder.clone();
    while let Some(name) = words.next() {
        match name.as_str() {
            "--sessions" => {
                plan.sessions = words.next()?.parse().ok().filter(|it| *it >= steps::PARTS)?;
            }
            "--processes" => plan.processes = words.next()?.parse().ok().filter(|it| *it > 0)?,
            "--one-socket" => plan.sharing = Sharing::OneSocket,
            "--out" => out = words.next()?.into(),
            _ => return None,
        }
    }
    Some(Arguments { publish, folder, plan, out })
}

fn be_clients(server: &str) -> Result<(), Box<dyn Error>> {
    Ok(clients::run(server.parse()?)?)
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { publish, folder, plan, out } = arguments;
    allow_many_files()?;
    let measured = steps::run(plan, publish, folder)?;
    let mut about = run_info(Path::new("."));
    about.push(("sessions", plan.sessions.to_string()));
    let processes = format!("{} with servers, {0} with clients", plan.processes);
    about.push(("processes", processes));
    let sharing = match plan.sharing {
        Sharing::OneSocket => "one socket that all have",
        Sharing::ReusePort => "a socket for each, with SO_REUSEPORT",
    };
    about.push(("listening", sharing.to_owned()));
    about.push(("settings", steps::FLAGS.join(" ")));
    let report = Report::of(&about, &measured);
    let markdown = report.markdown();
    println!("{markdown}");
    fs::create_dir_all(out)?;
    fs::write(out.join("report.md"), markdown)?;
    fs::write(out.join("results.json"), report.json())?;
    eprintln!("report and results written to {}", out.display());
    let failed = measured.checks.all().iter().filter(|check| !check.holds);
    match failed.count() {
        0 => Ok(()),
        count => Err(format!("{count} checks failed; the logs are in {}", folder.display()).into()),
    }
}
