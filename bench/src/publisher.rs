//! The publisher of the peers in Rust: it receives the states that they broadcast.

use std::env;
use std::io;
use std::net::Ipv4Addr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;

/// Returns the port of the publisher, if the command line has one:
/// `PEER PORT PING_INTERVAL_SECONDS [PUBLISHER]`.
#[must_use]
pub fn port() -> Option<u16> {
    env::args().nth(3)?.parse().ok()
}

/// Passes the body of each `POST /publish` to `broadcast`, and responds when that returns.
///
/// # Errors
///
/// The port cannot be bound.
pub async fn serve(
    port: u16,
    broadcast: impl Fn(String) + Clone + Send + Sync + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let publish = post(async move |state: String| {
        broadcast(state);
        StatusCode::NO_CONTENT
    });
    let router = Router::new().route("/publish", publish);
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(())
}
