//! axum with its `ws` feature: `peer-axum PORT PING_INTERVAL_SECONDS`.

use std::io;
use std::pin::pin;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use bench::peer::{self, Session};

#[tokio::main]
async fn main() -> io::Result<()> {
    let (listener, session, stop) = peer::start()?;
    // Small answers are not to wait for more.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let router = Router::new().route(peer::PATH, any(upgrade)).with_state(session);
    axum::serve(listener, router).with_graceful_shutdown(peer::terminated()).await?;
    // It has not waited for what was upgraded.
    stop.finish().await;
    Ok(())
}

async fn upgrade(upgrade: WebSocketUpgrade, State(session): State<Session>) -> Response {
    upgrade.on_upgrade(async |socket| {
        // A client that goes away is nothing to speak of.
        let _ = live(socket, session).await;
    })
}

async fn live(mut socket: WebSocket, mut session: Session) -> Result<(), axum::Error> {
    let mut pings = session.pings();
    let mut stopping = pin!(session.stopping());
    loop {
        tokio::select! {
            // It answers pings by itself.
            message = socket.recv() => if message.transpose()?.is_none() {
                return Ok(());
            },
            _ = pings.tick() => socket.send(Message::Ping(Bytes::new())).await?,
            () = &mut stopping => break,
        }
    }
    let away = CloseFrame { code: close_code::AWAY, reason: "".into() };
    socket.send(Message::Close(Some(away))).await?;
    while socket.recv().await.transpose()?.is_some() {}
    Ok(())
}
