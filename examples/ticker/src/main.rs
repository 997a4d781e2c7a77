//! A complete status server: it sends the time to every client, once a second.
//!
//! It is the server, with its settings, signals, limits, log and metrics, and a handler of its own.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broadcast::Publisher;
use serde_json::json;
use server::{Program, Server};
use tokio::time::interval;

/// See docs/performance.md for the measurements.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Program::new("ticker", env!("CARGO_PKG_VERSION")).main(env::args_os().skip(1), |_| {
        let publisher = Publisher::new();
        let states = publisher.clone();
        tokio::spawn(async move {
            let mut seconds = interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                states.publish(status().to_string());
            }
        });
        Server::status(publisher.clone()).metrics(|registry| {
            publisher.register(registry.sub_registry_with_prefix("ws_status"));
        })
    })
}

/// The state that is published.
fn status() -> serde_json::Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({ "status": "well", "unix_time": now.as_secs() })
}
