//! A status server whose state is the body of `POST /publish` on a listener of its own:
//! `publish --admin ADDRESS [the server's options]`.
//!
//! Whoever reaches that listener can publish, so its address is one that clients do not reach. Pages in
//! browsers cannot, wherever they are.

use std::env;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Router, serve};
use broadcast::Publisher;

/// docs/performance.md has the figures for which it is here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let listener = match bind(&mut arguments) {
        Ok(listener) => listener,
        Err(problem) => {
            eprintln!("publish: {problem}");
            return ExitCode::from(2);
        }
    };
    server::main(arguments, || {
        let publisher = Arc::new(Publisher::new());
        let handler = publisher.subscribe();
        tokio::spawn(take_states(listener, publisher));
        handler
    })
}

/// Takes `--admin ADDRESS` out of the arguments, and listens there.
fn bind(arguments: &mut Vec<OsString>) -> Result<TcpListener, String> {
    const USAGE: &str = "--admin needs the address on which states are taken, like 127.0.0.1:9001";
    let place = arguments.iter().position(|argument| argument == "--admin").ok_or(USAGE)?;
    let end = arguments.len().min(place + 2);
    let address = arguments.drain(place..end).nth(1).ok_or(USAGE)?;
    let address: SocketAddr =
        address.to_str().and_then(|address| address.parse().ok()).ok_or(USAGE)?;
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error: io::Error| format!("--admin: cannot listen on {address}: {error}"))
}

/// Answers when a state is handed on to the sessions, which may not have written it yet.
async fn take_states(listener: TcpListener, publisher: Arc<Publisher>) {
    let take = async |publisher: State<Arc<Publisher>>, headers: HeaderMap, state: String| {
        // A page that is open in a browser on this machine reaches this, too, and is told by this.
        if headers.contains_key(ORIGIN) {
            return StatusCode::FORBIDDEN;
        }
        publisher.publish(state);
        StatusCode::NO_CONTENT
    };
    let router = Router::new().route("/publish", post(take)).with_state(publisher);
    let listener = tokio::net::TcpListener::from_std(listener).expect("it is in a runtime");
    // It ends with the process.
    let _ = serve(listener, router).await;
}
