//! Where the peers written in Rust take what they send to all their sessions.

use std::env;
use std::io;
use std::net::Ipv4Addr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;

/// The port of the publisher, if the command line has one:
/// `PEER PORT PING_INTERVAL_SECONDS [PUBLISHER]`.
#[must_use]
pub fn port() -> Option<u16> {
    env::args().nth(3)?.parse().ok()
}

/// Takes the body of each `POST /publish` on this port, and answers when it is handed on.
///
/// # Errors
///
/// What the system says.
pub async fn serve(
    port: u16,
    hand_on: impl Fn(String) + Clone + Send + Sync + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let publish = post(async move |state: String| {
        hand_on(state);
        StatusCode::NO_CONTENT
    });
    let router = Router::new().route("/publish", publish);
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(())
}
