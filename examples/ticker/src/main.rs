//! A complete status server: everyone is told the time, once a second.
//!
//! It is the server itself, with its settings, signals, limits, log and metrics, and another handler.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broadcast::Publisher;
use serde_json::json;
use tokio::time::interval;

/// docs/performance.md has the figures for which it is here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::main(env::args_os().skip(1), || {
        let publisher = Publisher::new();
        let handler = publisher.subscribe();
        tokio::spawn(async move {
            let mut seconds = interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                publisher.publish(status().to_string());
            }
        });
        handler
    })
}

/// What everyone is told.
fn status() -> serde_json::Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({ "status": "well", "unix_time": now.as_secs() })
}
