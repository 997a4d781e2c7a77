//! The connection to NATS, which comes back by itself.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::context::KeyValueError;
use async_nats::jetstream::{self, kv, stream};
use async_nats::{Client, ClientError, ConnectOptions, Event};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::arguments::Place;
use crate::bucket::{Bucket, Problem};

/// How long the broker may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// From one ping of the connection to the next; it is given up after three that are not answered.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// The longest pause from one attempt to connect to the next.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A broker, or several that know the same, and which bucket of theirs is meant.
#[derive(Debug)]
pub struct Broker {
    client: Client,
    jetstream: jetstream::Context,
    link: Link,
    bucket: String,
    key: String,
}

/// Whether there is a connection.
#[derive(Clone, Debug)]
pub(crate) struct Link(watch::Receiver<Status>);

#[derive(Clone, Debug)]
enum Status {
    /// Why there is none.
    Down(String),
    Up,
}

impl Broker {
    /// Begins to connect, and does not wait for it.
    pub async fn connect(place: Place) -> Self {
        let (statuses, link) = watch::channel(Status::Down(String::from("no answer")));
        let options = ConnectOptions::new()
            .name("nats-status")
            .retry_on_initial_connect()
            .connection_timeout(TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(|attempts| {
                let exponent = u32::try_from(attempts).unwrap_or(u32::MAX).min(10);
                LONGEST_PAUSE.min(Duration::from_millis(2_u64.saturating_pow(exponent)))
            })
            .event_callback(move |event| {
                note(&statuses, &event);
                async {}
            });
        let client = options.connect(place.brokers).await;
        let client = client.expect("addresses that were parsed, and nothing is waited for");
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(TIMEOUT);
        Self { client, jetstream, link: Link(link), bucket: place.bucket, key: place.key }
    }

    /// The bucket as it is now; one that is missing is made.
    ///
    /// # Errors
    ///
    /// The broker is away, or does not want it.
    pub async fn open(&self) -> Result<Bucket, Problem> {
        let mut link = self.link.clone();
        link.up().await?;
        let store = link.unless_lost(self.store()).await?;
        Bucket::open(store, self.key.clone(), link).await
    }

    /// Puts a state under the key, and gives its revision.
    ///
    /// # Errors
    ///
    /// As above. The state may be stored all the same, if only the answer was lost.
    pub async fn put(&self, value: &str) -> Result<u64, Problem> {
        let mut link = self.link.clone();
        link.up().await?;
        let store = link.unless_lost(self.store()).await?;
        link.unless_lost(store.put(&self.key, value.to_owned().into())).await
    }

    /// What the broker that we are connected to calls itself.
    pub(crate) fn name(&self) -> String {
        self.client.server_info().server_name
    }

    async fn store(&self) -> Result<kv::Store, KeyValueError> {
        let store = self.jetstream.get_key_value(&self.bucket).await;
        if store.is_ok() {
            return store;
        }
        // Two nodes may do this at once: making it twice in the same way is no error. If it cannot be
        // made, what comes next says why there is none.
        let _ = self.jetstream.create_stream(stream_behind(&self.bucket)).await;
        self.jetstream.get_key_value(&self.bucket).await
    }
}

/// What a bucket is to the broker, as every client makes it.
///
/// It is not made by `create_key_value`, which version 0.51 asks the broker about first in a way that a
/// broker of version 2.9 does not know.
fn stream_behind(bucket: &str) -> stream::Config {
    stream::Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        discard: stream::DiscardPolicy::New,
        // On disk, so that revisions go on after a restart.
        storage: stream::StorageType::File,
        num_replicas: 1,
        allow_rollup: true,
        allow_direct: true,
        deny_delete: true,
        ..stream::Config::default()
    }
}

impl Link {
    /// Waits until there is a connection, but not for ever; from then on this is about that one.
    async fn up(&mut self) -> Result<(), Problem> {
        let is_up = |status: &Status| matches!(status, Status::Up);
        let is_there = matches!(timeout(TIMEOUT, self.0.wait_for(is_up)).await, Ok(Ok(_)));
        if is_there { Ok(()) } else { Err(self.problem()) }
    }

    /// Does this with the broker, unless the connection is lost meanwhile or it takes too long.
    pub(crate) async fn unless_lost<T, E: Display>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Problem> {
        tokio::select! {
            done = timeout(TIMEOUT, work) => match done {
                Ok(done) => done.map_err(|error| Problem(format!("the broker: {error}"))),
                Err(_) => Err(Problem(format!("the broker has not answered for {TIMEOUT:?}"))),
            },
            problem = self.lost() => Err(problem),
        }
    }

    /// Waits until the connection is lost.
    pub(crate) async fn lost(&mut self) -> Problem {
        // A new connection in its place counts as well: what came between is not known.
        // It fails only if the client is gone.
        let _ = self.0.changed().await;
        self.problem()
    }

    fn problem(&self) -> Problem {
        match &*self.0.borrow() {
            Status::Down(why) => Problem(format!("the broker cannot be reached: {why}")),
            Status::Up => Problem(String::from("the connection to the broker was lost")),
        }
    }
}

fn note(statuses: &watch::Sender<Status>, event: &Event) {
    statuses.send_if_modified(|status| {
        *status = match (event, &status) {
            (Event::Connected, _) => Status::Up,
            (Event::Disconnected, _) => Status::Down(String::from("it has ended the connection")),
            // Why an attempt to connect has failed.
            (Event::ClientError(ClientError::Other(why)), Status::Down(_)) => {
                Status::Down(why.clone())
            }
            _ => return false,
        };
        true
    });
}
