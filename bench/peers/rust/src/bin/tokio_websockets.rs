//! tokio-websockets: `peer-tokio-websockets PORT PING_INTERVAL_SECONDS [PUBLISHER]`.

use std::io;
use std::pin::pin;

use futures_util::{SinkExt, StreamExt};
use peers::States;
use peers::peer::{self, Session};
use tokio::net::TcpStream;
use tokio_websockets::{CloseCode, Error, Message, ServerBuilder};

// One thread, as in the library's own benchmark.
#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let states = States::start().await?;
    peer::serve(move |stream, session| run_session(stream, session, states.clone())).await
}

async fn run_session(
    stream: TcpStream,
    mut session: Session,
    mut states: States,
) -> Result<(), Error> {
    let (request, mut socket) = ServerBuilder::new().accept(stream).await?;
    if request.uri().path() != peer::PATH {
        // The library has already answered with 101.
        return Ok(());
    }
    let mut pings = session.pings();
    let mut stopping = pin!(session.stopping());
    loop {
        tokio::select! {
            // The library answers pings.
            message = socket.next() => if message.transpose()?.is_none() {
                return Ok(());
            },
            _ = pings.tick() => socket.send(Message::ping("")).await?,
            state = states.newest() => socket.send(Message::text(state)).await?,
            () = &mut stopping => break,
        }
    }
    socket.send(Message::close(Some(CloseCode::GOING_AWAY), "")).await?;
    while socket.next().await.transpose()?.is_some() {}
    Ok(())
}
