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

/// Capacity of the broadcast channel, as in axum's chat example.
const BACKLOG: usize = 100;

/// The source of published states, if there is a publisher.
type States = Option<broadcast::Sender<Utf8Bytes>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let (listener, session, stop) = peer::start()?;
    // Send small messages at once.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let states = match publisher::port() {
        Some(port) => {
            let states = broadcast::Sender::new(BACKLOG);
            let all = states.clone();
            // `send` fails without subscribers, which is no error here.
            publisher::serve(port, move |state| drop(all.send(state.into()))).await?;
            Some(states)
        }
        None => None,
    };
    let router = Router::new().route(peer::PATH, any(upgrade)).with_state((session, states));
    axum::serve(listener, router).with_graceful_shutdown(peer::terminated()).await?;
    // Graceful shutdown does not wait for upgraded connections.
    stop.finish().await;
    Ok(())
}

async fn upgrade(
    upgrade: WebSocketUpgrade,
    State((session, states)): State<(Session, States)>,
) -> Response {
    upgrade.on_upgrade(async |socket| {
        // A lost client is not an error.
        let _ = run_session(socket, session, states).await;
    })
}

async fn run_session(
    mut socket: WebSocket,
    mut session: Session,
    states: States,
) -> Result<(), axum::Error> {
    let mut states = states.map(|states| states.subscribe());
    let mut pings = session.pings();
    let mut stopping = pin!(session.stopping());
    loop {
        tokio::select! {
            // The library answers pings.
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

/// Waits for the next state. Skips states that a slow receiver missed.
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
