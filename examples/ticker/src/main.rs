//! A complete status server: everyone is told the time, once a second.
//!
//! It is the server itself, with its settings, signals, limits, log and metrics, and another handler.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use server::transport::Publisher;
use tokio::time::interval;

fn main() -> ExitCode {
    server::main(env::args_os().skip(1), || {
        let publisher = Publisher::new();
        let handler = publisher.latest();
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
