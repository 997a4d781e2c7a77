//! An echo endpoint on every path, for the Autobahn test suite and for trying clients.
//!
//! ```sh
//! cargo run -p transport --example echo -- 127.0.0.1:9001
//! ```
//!
//! It shows what a program that accepts connections itself has to do: limits, a deadline for the handshake,
//! and a drain on signals. Clients that offer permessage-deflate are answered with compressed messages. It
//! does without TLS, limits for each address and a lingering close; the `server` crate has those, too.
#![expect(clippy::print_stdout, reason = "the output is for the terminal")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use transport::ws_core::{Limits, Rate, SessionConfig, Timing};
use transport::{
    Client, Compression, CompressionOptions, Drain, DrainOptions, Endpoint, EndpointEvent, Handler,
    Message, Next, Observer, OriginPattern, Origins, Permission, Permit, Policy, Rejection,
    SizeLimits,
};

/// Sessions. More clients are told 503.
const MAX_SESSIONS: usize = 1000;
/// Connections whose request is not answered yet. More wait in the backlog.
const MAX_HANDSHAKES: usize = 100;
/// From accepting a connection to the answer. Otherwise silent clients would take all permits.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From a signal to the end of the process.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// Sends each message back.
///
/// While output is blocked, a session reads nothing, so these are at most the messages of one read.
#[derive(Clone, Default)]
struct Echo(VecDeque<Message>);

impl Handler for Echo {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        // It is safe to compress a message that has nothing beside what its peer has sent.
        match self.0.pop_front() {
            Some(message) => Poll::Ready(Next::SendCompressed(message)),
            None => Poll::Pending,
        }
    }

    fn receive(&mut self, message: Message) {
        self.0.push_back(message);
    }
}

struct Print;

impl Observer for Print {
    fn observe(&self, event: &EndpointEvent<'_>) {
        println!("{event:?}");
    }
}

struct Shared {
    endpoint: Endpoint<Print>,
    policy: Policy,
    sessions: Arc<Semaphore>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    // First, so that no signal ends the process while it has clients.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);

    let sessions = Arc::new(Semaphore::new(MAX_SESSIONS));
    let shared = Shared { endpoint: Endpoint::new(Arc::new(Print)), policy: policy(), sessions };
    let (drain, timer_task) = Drain::new();
    tokio::spawn(timer_task);
    tokio::select! {
        () = accept(listener, Arc::new(shared), &drain) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drain.start(DrainOptions::default());
    // Sessions that are still open after that are aborted.
    let _ = timeout(GRACE_PERIOD, drain.closed()).await;
    Ok(())
}

fn policy() -> Policy {
    let timing = Timing {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(3),
        max_age: None,
        reconnect_spread: Duration::ZERO,
    };
    // The suite sends much faster than clients usually may.
    let limits = Limits {
        control_frames: Rate::new(100, 1000),
        message_timeout: Some(Duration::from_secs(60)),
        messages: Rate::new(10_000, 100_000),
        write_timeout: Some(Duration::from_secs(10)),
    };
    let (missing, null) = (Permission::Allow, Permission::Allow);
    let (mode, webkit) = (Some(Compression::Shared), Permission::Refuse);
    Policy {
        origins: Origins { allowed: vec![OriginPattern::Any], missing, null },
        session: Arc::new(SessionConfig { timing, limits }),
        sizes: SizeLimits { max_message_bytes: 16 << 20, max_queued_bytes: 64 << 10 },
        compression: CompressionOptions { mode, webkit },
        visible_refusals: false,
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, drain: &Drain) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let permit = Arc::clone(&handshakes).acquire_owned().await;
        let Ok((stream, peer)) = listener.accept().await else {
            // Mostly a lack of file descriptors, which lasts.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (peer, token) = (peer.into(), drain.token());
        let client = Client { peer, is_encrypted: false, certificate_name: None, token };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // Ends when the request is refused, or its session has the stream.
            let _ = timeout(HANDSHAKE_TIMEOUT, serve(stream, client, &shared)).await;
            drop(permit);
        });
    }
}

/// Serves one request. An error concerns only this connection.
async fn serve(stream: TcpStream, client: Client, shared: &Shared) -> Result<(), hyper::Error> {
    let Shared { endpoint, policy, sessions } = shared;
    let _ = stream.set_nodelay(true); // It fails only if the client has disconnected.
    let service = service_fn(async |mut request| {
        let permit = Arc::clone(sessions).try_acquire_owned().map(Permit::new);
        let permit = || permit.map_err(|_| Rejection::ConnectionLimit);
        let answer = endpoint.answer(&Echo::default(), &request, &client, policy, permit).await;
        Ok::<_, Infallible>(answer.over_http1(&mut request, TokioIo::new))
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(16 << 10);
    http.serve_connection(TokioIo::new(stream), service).with_upgrades().await
}
