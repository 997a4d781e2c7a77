//! A status server that publishes the body of each `POST /publish` on a separate listener:
//! `publish --admin ADDRESS [the server's options]`.
//!
//! That listener has no authentication: bind it to an address that clients cannot reach. It refuses
//! requests with an `Origin` header, so that no page in a browser can publish.

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

/// The allocator of the server's binary; see docs/performance.md.
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
        tokio::spawn(serve_admin(listener, publisher));
        handler
    })
}

/// Removes `--admin ADDRESS` from the arguments, and binds a listener to it.
fn bind(arguments: &mut Vec<OsString>) -> Result<TcpListener, String> {
    const USAGE: &str = "--admin needs the address for POST /publish, such as 127.0.0.1:9001";
    let index = arguments.iter().position(|argument| argument == "--admin").ok_or(USAGE)?;
    let end = arguments.len().min(index + 2);
    let address = arguments.drain(index..end).nth(1).ok_or(USAGE)?;
    let address: SocketAddr =
        address.to_str().and_then(|address| address.parse().ok()).ok_or(USAGE)?;
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error: io::Error| format!("--admin: cannot listen on {address}: {error}"))
}

/// Serves `POST /publish`. The response says that the state was published, not that sessions have sent it.
async fn serve_admin(listener: TcpListener, publisher: Arc<Publisher>) {
    let publish = async |publisher: State<Arc<Publisher>>, headers: HeaderMap, state: String| {
        // A page in a browser on this machine can reach this listener; its requests have this header.
        if headers.contains_key(ORIGIN) {
            return StatusCode::FORBIDDEN;
        }
        publisher.publish(state);
        StatusCode::NO_CONTENT
    };
    let router = Router::new().route("/publish", post(publish)).with_state(publisher);
    let listener = tokio::net::TcpListener::from_std(listener).expect("called within a runtime");
    // Runs until the process exits.
    let _ = serve(listener, router).await;
}
