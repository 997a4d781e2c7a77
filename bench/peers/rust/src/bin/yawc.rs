//! yawc behind hyper: `peer-yawc PORT PING_INTERVAL_SECONDS [PUBLISHER]`.

use std::io;
use std::pin::pin;

use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use peers::States;
use peers::peer::{self, Session};
use tokio::net::TcpStream;
use yawc::close::CloseCode;
use yawc::{Frame, Options, UpgradeFut, WebSocket};

/// The size of both buffers that the documentation names for many idle connections.
const BUFFER: usize = 1024;

// One thread, as in the library's own benchmark.
#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let states = States::start().await?;
    peer::serve(move |stream, session| serve_http(stream, session, states.clone())).await
}

async fn serve_http(stream: TcpStream, session: Session, states: States) -> hyper::Result<()> {
    let service = service_fn(|request| answer(request, session.clone(), states.clone()));
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await
}

async fn answer(
    mut request: Request<Incoming>,
    session: Session,
    states: States,
) -> yawc::Result<Response<Empty<Bytes>>> {
    if request.uri().path() != peer::PATH {
        let mut refusal = Response::new(Empty::new());
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        return Ok(refusal);
    }
    let options = Options::default()
        .without_compression()
        .with_read_buffer_capacity(BUFFER)
        .with_write_buffer_capacity(BUFFER);
    let (response, upgraded) = WebSocket::upgrade_with_options(&mut request, options)?;
    tokio::spawn(run_session(upgraded, session, states));
    Ok(response)
}

async fn run_session(
    upgraded: UpgradeFut,
    mut session: Session,
    mut states: States,
) -> yawc::Result<()> {
    let mut socket = upgraded.await?;
    let mut pings = session.pings();
    let mut stopping = pin!(session.stopping());
    loop {
        tokio::select! {
            // The library answers pings and Close frames.
            frame = socket.next() => if frame.is_none() {
                return Ok(());
            },
            _ = pings.tick() => socket.send(Frame::ping(Bytes::new())).await?,
            state = states.newest() => socket.send(Frame::text(state)).await?,
            () = &mut stopping => break,
        }
    }
    socket.send(Frame::close(CloseCode::Away, "")).await?;
    while socket.next().await.is_some() {}
    Ok(())
}
