//! A status node, `nats-status [OPTION]... [the server's options]`, and what puts states into the bucket,
//! `nats-status put [OPTION]...`.

use std::env;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use nats_status::{Arguments, Broker, Node, Place, Problem, USAGE};
use server::ConfigError;
use tokio::runtime::Builder;
use tokio::time::sleep;

/// From one attempt to put a state to the next.
const AGAIN: Duration = Duration::from_millis(250);

/// docs/performance.md has the figures for which it is here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let environment = |name: &str| env::var_os(name);
    let arguments = match Arguments::parse(env::args_os().skip(1), environment) {
        Ok(arguments) => arguments,
        Err(ConfigError(problem)) => {
            eprintln!("nats-status: {problem}");
            return ExitCode::from(2);
        }
    };
    match arguments {
        Arguments::Put(place) => put(place).unwrap_or_else(|error| {
            eprintln!("nats-status: {error}");
            ExitCode::FAILURE
        }),
        Arguments::Serve { place, patience, asks_for_help, server } => {
            if asks_for_help {
                print!("{USAGE}");
            }
            server::main(server, || {
                let (node, handler) = Node::new(patience);
                tokio::spawn(node.follow(place));
                handler
            })
        }
    }
}

/// Puts each line of standard input into the bucket, and prints its revision.
///
/// It tries for as long as it takes, and takes no line before the one before is stored.
/// A line whose answer got lost is stored twice, which changes no state.
fn put(place: Place) -> io::Result<ExitCode> {
    // The client's tasks have a thread of their own, so this one can wait for a line.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let broker = runtime.block_on(Broker::connect(place));
    for line in io::stdin().lock().lines() {
        let revision = runtime.block_on(put_for_sure(&broker, &line?));
        writeln!(io::stdout(), "{revision}")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn put_for_sure(broker: &Broker, value: &str) -> u64 {
    let mut is_away = false;
    loop {
        match broker.put(value).await {
            Ok(revision) => return revision,
            Err(Problem(problem)) if !is_away => {
                eprintln!("nats-status: {problem}; it is tried until it succeeds");
                is_away = true;
            }
            Err(_) => {}
        }
        sleep(AGAIN).await;
    }
}
