//! tokio-tungstenite without an HTTP server: `peer-tokio-tungstenite PORT PING_INTERVAL_SECONDS
//! [PUBLISHER]`.

use std::future::pending;
use std::io;
use std::pin::pin;

use bench::peer::{self, Session};
use bench::publisher;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

#[tokio::main]
async fn main() -> io::Result<()> {
    let states = match publisher::port() {
        Some(port) => {
            let (sender, states) = watch::channel(Utf8Bytes::default());
            publisher::serve(port, move |state| drop(sender.send_replace(state.into()))).await?;
            Some(states)
        }
        None => None,
    };
    peer::serve(move |stream, session| run_session(stream, session, states.clone())).await
}

async fn run_session(
    stream: TcpStream,
    mut session: Session,
    mut states: Option<watch::Receiver<Utf8Bytes>>,
) -> Result<(), Error> {
    let mut socket = accept_hdr_async(stream, check_path).await?;
    let mut pings = session.pings();
    let mut stopping = pin!(session.stopping());
    loop {
        tokio::select! {
            // The library answers pings.
            message = socket.next() => if message.transpose()?.is_none() {
                return Ok(());
            },
            _ = pings.tick() => socket.send(Message::Ping(Bytes::new())).await?,
            state = newest(&mut states) => socket.send(Message::Text(state)).await?,
            () = &mut stopping => break,
        }
    }
    socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() })).await?;
    while socket.next().await.transpose()?.is_some() {}
    Ok(())
}

/// Waits until the state changes, and returns the newest. Skips the states in between.
async fn newest(states: &mut Option<watch::Receiver<Utf8Bytes>>) -> Utf8Bytes {
    let Some(states) = states else { return pending().await };
    match states.changed().await {
        Ok(()) => states.borrow_and_update().clone(),
        Err(_) => pending().await,
    }
}

#[expect(clippy::result_large_err, reason = "the type is the library's")]
fn check_path(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path() == peer::PATH {
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(None);
    *refusal.status_mut() = StatusCode::NOT_FOUND;
    Err(refusal)
}
