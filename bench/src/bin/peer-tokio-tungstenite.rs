//! tokio-tungstenite without an HTTP server: `peer-tokio-tungstenite PORT PING_INTERVAL_SECONDS`.

use std::io;
use std::pin::pin;

use bench::peer::{self, Session};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

#[tokio::main]
async fn main() -> io::Result<()> {
    peer::serve(live).await
}

async fn live(stream: TcpStream, mut session: Session) -> Result<(), Error> {
    let mut socket = accept_hdr_async(stream, check_path).await?;
    let mut pings = session.pings();
    let mut stopping = pin!(session.stopping());
    loop {
        tokio::select! {
            // It answers pings by itself.
            message = socket.next() => if message.transpose()?.is_none() {
                return Ok(());
            },
            _ = pings.tick() => socket.send(Message::Ping(Bytes::new())).await?,
            () = &mut stopping => break,
        }
    }
    socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() })).await?;
    while socket.next().await.transpose()?.is_some() {}
    Ok(())
}

#[expect(clippy::result_large_err, reason = "the library's type")]
fn check_path(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path() == peer::PATH {
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(None);
    *refusal.status_mut() = StatusCode::NOT_FOUND;
    Err(refusal)
}
