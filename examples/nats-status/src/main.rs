//! A status node, `nats-status [OPTION]... [OPTION of the server]...`, and a program that puts states into
//! the bucket, `nats-status put [OPTION]...`.

use std::env;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use nats_status::{Arguments, Broker, BrokerError, KeyLocation, Node, USAGE};
use server::{Program, Server};
use tokio::runtime::Builder;
use tokio::time::sleep;

/// Delay between attempts to put a state.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// See docs/performance.md for the measurements.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let environment = |name: &str| env::var_os(name);
    let arguments = match Arguments::parse(env::args_os().skip(1), environment) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("nats-status: {error}");
            return ExitCode::from(2);
        }
    };
    match arguments {
        Arguments::Put(location) => put(location).unwrap_or_else(|error| {
            eprintln!("nats-status: {error}");
            ExitCode::FAILURE
        }),
        Arguments::Serve { location, max_wait, heartbeat, prints_help, server } => {
            if prints_help {
                print!("{USAGE}");
            }
            Program::new("nats-status", env!("CARGO_PKG_VERSION")).main(server, |_| {
                let (node, sessions) = Node::new(max_wait, heartbeat);
                let publisher = node.publisher();
                tokio::spawn(node.follow(location));
                Server::status(sessions).metrics(|registry| {
                    publisher.register(registry.sub_registry_with_prefix("ws_status"));
                })
            })
        }
    }
}

/// Puts each line of standard input into the bucket, and prints its revision.
///
/// Retries without limit, and reads a line only after the previous one is stored.
/// A line whose answer was lost is stored twice, which does not change the state.
fn put(location: KeyLocation) -> io::Result<ExitCode> {
    // The NATS client's tasks run on a thread of their own, because this one blocks on stdin.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let broker = runtime.block_on(Broker::connect(location));
    for line in io::stdin().lock().lines() {
        let revision = runtime.block_on(put_with_retry(&broker, &line?));
        writeln!(io::stdout(), "{revision}")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn put_with_retry(broker: &Broker, value: &str) -> u64 {
    let mut is_reported = false;
    loop {
        match broker.put(value).await {
            Ok(revision) => return revision,
            Err(BrokerError(error)) if !is_reported => {
                eprintln!("nats-status: {error}; retrying until it succeeds");
                is_reported = true;
            }
            Err(_) => {}
        }
        sleep(RETRY_INTERVAL).await;
    }
}
