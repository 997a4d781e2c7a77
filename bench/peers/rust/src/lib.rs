//! What the peers share: the command line, the shutdown and the publisher are those of the peers in
//! `bench`, included by their path.

#[path = "../../../src/peer.rs"]
pub mod peer;
#[path = "../../../src/publisher.rs"]
pub mod publisher;

use std::future::pending;
use std::io;

use axum::body::Bytes;
use tokio::sync::watch;

/// The allocator of our server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The newest published state, if the command line has a publisher.
#[derive(Clone)]
pub struct States(Option<watch::Receiver<Bytes>>);

impl States {
    /// Starts the publisher of the command line.
    ///
    /// # Errors
    ///
    /// The port of the publisher cannot be bound.
    pub async fn start() -> io::Result<Self> {
        let Some(port) = publisher::port() else { return Ok(Self(None)) };
        let (sender, states) = watch::channel(Bytes::new());
        publisher::serve(port, move |state| drop(sender.send_replace(state.into()))).await?;
        Ok(Self(Some(states)))
    }

    /// Waits until the state changes, and returns the newest. Skips the states in between.
    pub async fn newest(&mut self) -> Bytes {
        let Some(states) = &mut self.0 else { return pending().await };
        match states.changed().await {
            Ok(()) => states.borrow_and_update().clone(),
            Err(_) => pending().await,
        }
    }
}
