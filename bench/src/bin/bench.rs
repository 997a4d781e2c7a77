//! Benchmarks the server against other servers: `bench ROOT TARGET [--quick] [--peers a,b] [--modes m,n]
//! [--rounds N] [--out FOLDER]`, where ROOT is the repository and TARGET is cargo's target folder.
//!
//! `cargo xtask bench` builds the servers and runs this program.

use std::collections::HashSet;
use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bench::load::modes::{self, Mode, Size};
use bench::load::peer::{self, Paths, Peer};
use bench::load::results::{Reading, Results};
use bench::load::{plots, process_stats, report};
use bench::process::allow_many_files;

struct Arguments {
    paths: Paths,
    size: Size,
    peers: Option<HashSet<String>>,
    modes: Option<HashSet<String>>,
    rounds: usize,
    out: PathBuf,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!(
            "usage: bench ROOT TARGET [--quick] [--peers a,b] [--modes m,n] [--rounds N] \
             [--out FOLDER]"
        );
        return ExitCode::from(2);
    };
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Option<Arguments> {
    let mut words = env::args().skip(1);
    let paths = Paths { root: words.next()?.into(), target: words.next()?.into() };
    let mut size = Size::Full;
    let (mut peers, mut modes, mut rounds, mut out) = (None, None, None, None);
    while let Some(name) = words.next() {
        match name.as_str() {
            "--quick" => size = Size::Quick,
            "--peers" => peers = Some(words.next()?.split(',').map(str::to_owned).collect()),
            "--modes" => modes = Some(words.next()?.split(',').map(str::to_owned).collect()),
            "--rounds" => rounds = Some(words.next()?.parse().ok().filter(|it| *it > 0)?),
            "--out" => out = Some(words.next()?.into()),
            _ => return None,
        }
    }
    let rounds = rounds.unwrap_or(size.pick(1, 3));
    let out = out.unwrap_or_else(|| paths.target.join("bench"));
    Some(Arguments { paths, size, peers, modes, rounds, out })
}

/// Returns whether every measurement succeeded.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let Arguments { paths, size, rounds, out, .. } = arguments;
    allow_many_files()?;
    let (mut peers, missing) = peer::all(paths, *size);
    for sentence in missing {
        eprintln!("{sentence}");
    }
    let is_wanted = |wanted: &Option<HashSet<String>>, name: &str| {
        wanted.as_ref().is_none_or(|it| it.contains(name))
    };
    peers.retain(|peer| is_wanted(&arguments.peers, peer.name));
    let all = modes::ALL.iter();
    let modes: Vec<&Mode> = all.filter(|mode| is_wanted(&arguments.modes, mode.name)).collect();
    if peers.is_empty() || modes.is_empty() {
        return Err("no peer or no mode has that name".into());
    }

    let results = measure(&peers, &modes, *size, *rounds);
    let metadata = metadata(paths, *size, *rounds);
    let report = report::markdown(&metadata, &peers, &modes, &results);
    println!("{report}");
    fs::create_dir_all(out)?;
    fs::write(out.join("report.md"), &report)?;
    fs::write(out.join("results.json"), results.json(&metadata, &peers))?;
    for (name, svg) in plots::all(&peers, &results) {
        fs::write(out.join(name), svg)?;
    }
    eprintln!("report, results and plots written to {}", out.display());
    Ok(results.failures().next().is_none())
}

/// Measures every peer in every mode once a round, so that a drift of the machine affects all peers
/// alike.
fn measure(peers: &[Peer], modes: &[&'static Mode], size: Size, rounds: usize) -> Results {
    let mut results = Results::default();
    for round in 1..=rounds {
        for mode in modes {
            for peer in peers.iter().filter(|peer| mode.is_for(peer)) {
                let began = Instant::now();
                let outcome = (mode.run)(peer, size).map_err(|error| error.to_string());
                let main = match &outcome {
                    Ok(outcome) => outcome.values.first().map(|value| report::figure(*value)),
                    Err(error) => Some(format!("FAILED: {error}")),
                };
                let main = main.unwrap_or_default();
                let (mode_name, peer_name) = (mode.name, peer.name);
                let time = began.elapsed().as_secs_f64();
                eprintln!("round {round}: {mode_name:15} {peer_name:18} {time:5.1} s  {main}");
                results.0.push(Reading { mode, peer: peer.name, round, outcome });
            }
        }
    }
    results
}

/// The conditions of the run: machine, date, commit and size.
fn metadata(paths: &Paths, size: Size, rounds: usize) -> Vec<(&'static str, String)> {
    let mut metadata = process_stats::run_info(&paths.root);
    metadata.push(("size", size.pick("quick", "full").to_owned()));
    metadata.push(("rounds", rounds.to_string()));
    metadata
}
