//! axum with its `ws` feature: `peer-axum PORT PING_INTERVAL_SECONDS [PUBLISHER]`.

use std::future::pending;
use std::io;
use std::pin::pin;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use bench::peer::{self, Session};
use bench::publisher;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// States that wait for a slow reader, as in axum's example of a chat.
const BACKLOG: usize = 100;

/// Where what is published comes from, if it does.
type States = Option<broadcast::Sender<Utf8Bytes>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let (listener, session, stop) = peer::start()?;
    // Small answers are not to wait for more.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let states = match publisher::port() {
        Some(port) => {
            let states = broadcast::Sender::new(BACKLOG);
            let all = states.clone();
            // That nobody is there is no error.
            publisher::serve(port, move |state| drop(all.send(state.into()))).await?;
            Some(states)
        }
        None => None,
    };
    let router = Router::new().route(peer::PATH, any(upgrade)).with_state((session, states));
    axum::serve(listener, router).with_graceful_shutdown(peer::terminated()).await?;
    // It has not waited for what was upgraded.
    stop.finish().await;
    Ok(())
}

async fn upgrade(
    upgrade: WebSocketUpgrade,
    State((session, states)): State<(Session, States)>,
) -> Response {
    upgrade.on_upgrade(async |socket| {
        // A client that goes away is nothing to speak of.
        let _ = live(socket, session, states).await;
    })
}

async fn live(
    mut socket: WebSocket,
    mut session: Session,
    states: States,
) -> Result<(), axum::Error> {
    let mut states = states.map(|states| states.subscribe());
    let mut pings = session.pings();
    let mut stopping = pin!(session.stopping());
    loop {
        tokio::select! {
            // It answers pings by itself.
            message = socket.recv() => if message.transpose()?.is_none() {
                return Ok(());
            },
            _ = pings.tick() => socket.send(Message::Ping(Bytes::new())).await?,
            state = next(&mut states) => socket.send(Message::Text(state)).await?,
            () = &mut stopping => break,
        }
    }
    let away = CloseFrame { code: close_code::AWAY, reason: "".into() };
    socket.send(Message::Close(Some(away))).await?;
    while socket.recv().await.transpose()?.is_some() {}
    Ok(())
}

/// The next state; those that one who is too slow has missed are left out.
async fn next(states: &mut Option<broadcast::Receiver<Utf8Bytes>>) -> Utf8Bytes {
    let Some(states) = states else { return pending().await };
    loop {
        match states.recv().await {
            Ok(state) => return state,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return pending().await,
        }
    }
}
