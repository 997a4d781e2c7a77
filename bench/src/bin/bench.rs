//! Our server beside others: `bench ROOT TARGET [--quick] [--peers a,b] [--modes m,n] [--rounds N]
//! [--out FOLDER]`, where ROOT is the repository and TARGET is cargo's target folder.
//!
//! `cargo xtask bench` builds what is to be measured and starts this.

use std::collections::HashSet;
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use bench::load::modes::{self, Mode, Size};
use bench::load::peer::{self, Peer, Places};
use bench::load::results::{Reading, Results};
use bench::load::{plots, report, vitals};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

struct Arguments {
    places: Places,
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
    let places = Places { root: words.next()?.into(), target: words.next()?.into() };
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
    let out = out.unwrap_or_else(|| places.target.join("bench"));
    Some(Arguments { places, size, peers, modes, rounds, out })
}

/// Gives back whether every reading came about.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let Arguments { places, size, rounds, out, .. } = arguments;
    allow_many_files()?;
    let (mut peers, missing) = peer::all(places, *size);
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
        return Err("there is no such peer or mode".into());
    }

    let results = measure(&peers, &modes, *size, *rounds);
    let about = about(places, *size, *rounds);
    let report = report::markdown(&about, &peers, &modes, &results);
    println!("{report}");
    fs::create_dir_all(out)?;
    fs::write(out.join("report.md"), &report)?;
    fs::write(out.join("results.json"), results.json(&about, &peers))?;
    for (name, svg) in plots::all(&peers, &results) {
        fs::write(out.join(name), svg)?;
    }
    eprintln!("the report, the figures and the plots are in {}", out.display());
    Ok(results.failures().next().is_none())
}

/// In each round every peer has its turn in every mode, so that what changes on the machine in the
/// course of time hits all alike.
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

/// Both ends of 19,000 connections need a file each; a child inherits the limit.
fn allow_many_files() -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
}

/// What somebody needs to know in order to compare these figures with others.
fn about(places: &Places, size: Size, rounds: usize) -> Vec<(&'static str, String)> {
    let mut about = vitals::machine();
    about.push(("date", said(Command::new("date").arg("--iso-8601=seconds"))));
    about.push(("commit", commit(&places.root)));
    about.push(("size", size.pick("quick", "full").to_owned()));
    about.push(("rounds", rounds.to_string()));
    about
}

fn commit(root: &Path) -> String {
    let git = ["describe", "--always", "--dirty", "--exclude=*"];
    said(Command::new("git").args(git).current_dir(root))
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
