//! An echo endpoint on every path, for the Autobahn test suite and for trying clients.
//!
//! ```sh
//! cargo run -p transport --example echo -- 127.0.0.1:9001
//! ```
#![expect(clippy::print_stdout, reason = "the output is for the terminal")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use transport::ws_core::{Limits, SessionConfig, Timing};
use transport::{
    Client, Drain, Endpoint, EndpointEvent, Handler, Message, Next, Observer, OriginPattern,
    Origins, Permission, Permit, Policy, SizeLimits,
};

/// Sends each message back.
#[derive(Clone, Default)]
struct Echo(VecDeque<Message>);

impl Handler for Echo {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        self.0.pop_front().map_or(Poll::Pending, |message| Poll::Ready(Next::Send(message)))
    }

    fn receive(&mut self, message: Message) {
        self.0.push_back(message);
    }
}

/// Prints all events.
struct Print;

impl Observer for Print {
    fn observe(&self, event: &EndpointEvent<'_>) {
        println!("{event:?}");
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);

    let policy = Policy {
        origins: Origins {
            allowed: vec![OriginPattern::Any],
            missing: Permission::Allow,
            null: Permission::Allow,
        },
        session: Arc::new(SessionConfig {
            timing: Timing {
                ping_interval: Duration::from_secs(25),
                pong_timeout: Duration::from_secs(10),
                close_timeout: Duration::from_secs(3),
                max_age: None,
            },
            limits: Limits::default(),
        }),
        sizes: SizeLimits { max_message_bytes: 16 << 20, max_queued_bytes: 64 << 10 },
    };
    let endpoint = Endpoint::new(Arc::new(Print));
    let endpoint = Arc::new((endpoint, policy));
    let (drain, timer_task) = Drain::new();
    tokio::spawn(timer_task);

    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = Client {
            peer: peer.into(),
            is_encrypted: false,
            certificate_name: None,
            token: drain.token(),
        };
        let endpoint = Arc::clone(&endpoint);
        tokio::spawn(async move {
            let (endpoint, policy) = &*endpoint;
            let service = service_fn(async |mut request| {
                // The number of sessions is not limited here.
                let permit = || Ok(Permit::new(()));
                let admit = Echo::default();
                let answer = endpoint.answer(&admit, &request, &client, policy, permit).await;
                Ok::<_, Infallible>(answer.over_http1(&mut request, TokioIo::new))
            });
            // An error before the upgrade concerns only this connection.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}
