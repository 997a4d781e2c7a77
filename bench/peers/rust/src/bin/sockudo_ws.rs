//! sockudo-ws: `peer-sockudo-ws PORT PING_INTERVAL_SECONDS [PUBLISHER]`.

use std::io;
use std::pin::pin;

use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt};
use peers::States;
use peers::peer::{self, Session};
use sockudo_ws::server::WebSocketServer;
use sockudo_ws::{Config, Http1, Message, Result};
use tokio::net::TcpStream;

const GOING_AWAY: u16 = 1001;

// One thread, as the other peers of this workspace.
#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let states = States::start().await?;
    // As the other peers: pings at an interval of their own, and no timeouts.
    let config = Config::builder().auto_ping(false).idle_timeout(0).build();
    peer::serve(move |stream, session| run_session(stream, config.clone(), session, states.clone()))
        .await
}

async fn run_session(
    stream: TcpStream,
    config: Config,
    mut session: Session,
    mut states: States,
) -> Result<()> {
    let server = WebSocketServer::<Http1>::new(config);
    let (mut socket, request) = server.accept_raw(stream).await?;
    if request.path != peer::PATH {
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
            _ = pings.tick() => socket.send(Message::Ping(Bytes::new())).await?,
            state = states.newest() => socket.send(Message::Text(state)).await?,
            () = &mut stopping => break,
        }
    }
    socket.close(GOING_AWAY, "").await?;
    while socket.next().await.transpose()?.is_some() {}
    Ok(())
}
