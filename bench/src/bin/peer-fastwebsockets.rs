//! fastwebsockets behind hyper: `peer-fastwebsockets PORT PING_INTERVAL_SECONDS`.

use std::future::pending;
use std::io;
use std::pin::pin;

use bench::peer::{self, Session};
use fastwebsockets::upgrade::{self, UpgradeFut};
use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

const GOING_AWAY: u16 = 1001;

#[tokio::main]
async fn main() -> io::Result<()> {
    peer::serve(serve_http).await
}

async fn serve_http(stream: TcpStream, session: Session) -> hyper::Result<()> {
    let service = service_fn(|request| answer(request, session.clone()));
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await
}

async fn answer(
    mut request: Request<Incoming>,
    session: Session,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    if request.uri().path() != peer::PATH {
        let mut refusal = Response::new(Empty::new());
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        return Ok(refusal);
    }
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    tokio::spawn(run_session(upgraded, session));
    Ok(response)
}

/// Splits the socket into halves: `read_frame` is not cancel safe, so a partial frame would be lost when
/// `select!` drops it.
async fn run_session(upgraded: UpgradeFut, mut session: Session) -> Result<(), WebSocketError> {
    let (reader, writer) = upgraded.await?.split(tokio::io::split);
    let mut reader = FragmentCollectorRead::new(reader);
    let writer = &Mutex::new(writer);
    let write = |frame| async move { writer.lock().await.write_frame(frame).await };

    let reading = async {
        // Automatic answers: pongs, and a Close frame unless one was sent.
        let mut answer = |frame| async move {
            let mut writer = writer.lock().await;
            if writer.is_closed() { Ok(()) } else { writer.write_frame(frame).await }
        };
        while reader.read_frame(&mut answer).await?.opcode != OpCode::Close {}
        Ok(())
    };
    let writing = async {
        let mut pings = session.pings();
        let mut stopping = pin!(session.stopping());
        loop {
            tokio::select! {
                _ = pings.tick() => {}
                () = &mut stopping => break,
            }
            write(Frame::new(true, OpCode::Ping, None, Payload::Borrowed(&[]))).await?;
        }
        write(Frame::close(GOING_AWAY, &[])).await?;
        // The client's Close frame ends `reading`.
        pending().await
    };
    tokio::select! {
        ended = reading => ended,
        failed = writing => failed,
    }
}
