//! The connection to NATS, which reconnects automatically.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::context::KeyValueError;
use async_nats::jetstream::{self, kv, stream};
use async_nats::{Client, ClientError, ConnectOptions, Event};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::arguments::KeyLocation;
use crate::bucket::{BrokerError, Bucket};

/// Limit of one request to the broker.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Interval of pings on the connection. The client closes it after three unanswered pings.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// The longest delay between attempts to connect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// A broker or a cluster of brokers, and the key that is used.
#[derive(Debug)]
pub struct Broker {
    client: Client,
    jetstream: jetstream::Context,
    connection: ConnectionStatus,
    bucket: String,
    key: String,
}

/// The state of the connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionStatus(watch::Receiver<Status>);

#[derive(Clone, Debug)]
enum Status {
    /// Not connected, with the reason.
    Down(String),
    Up,
}

impl Broker {
    /// Starts to connect, and returns without waiting for the connection.
    pub async fn connect(location: KeyLocation) -> Self {
        let (statuses, connection) = watch::channel(Status::Down(String::from("no answer")));
        let options = ConnectOptions::new()
            .name("nats-status")
            .retry_on_initial_connect()
            .connection_timeout(TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(|attempts| {
                let exponent = u32::try_from(attempts).unwrap_or(u32::MAX).min(10);
                MAX_RECONNECT_DELAY.min(Duration::from_millis(2_u64.saturating_pow(exponent)))
            })
            .event_callback(move |event| {
                record_event(&statuses, &event);
                async {}
            });
        let client = options.connect(location.brokers).await;
        let client = client.expect(
            "the addresses are parsed, and the first connection is retried in the background",
        );
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(TIMEOUT);
        Self {
            client,
            jetstream,
            connection: ConnectionStatus(connection),
            bucket: location.bucket,
            key: location.key,
        }
    }

    /// Opens the bucket, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// The broker is not reachable, or refuses.
    pub async fn open(&self) -> Result<Bucket, BrokerError> {
        let mut connection = self.connection.clone();
        connection.wait_until_up().await?;
        let store = connection.unless_lost(self.store()).await?;
        Bucket::open(store, self.key.clone(), connection).await
    }

    /// Puts a state under the key, and returns its revision.
    ///
    /// # Errors
    ///
    /// The broker is not reachable, or refuses. The state may be stored nevertheless, if only the answer
    /// was lost.
    pub async fn put(&self, value: &str) -> Result<u64, BrokerError> {
        let mut connection = self.connection.clone();
        connection.wait_until_up().await?;
        let store = connection.unless_lost(self.store()).await?;
        connection.unless_lost(store.put(&self.key, value.to_owned().into())).await
    }

    /// The name of the connected broker.
    pub(crate) fn name(&self) -> String {
        self.client.server_info().server_name
    }

    async fn store(&self) -> Result<kv::Store, KeyValueError> {
        let store = self.jetstream.get_key_value(&self.bucket).await;
        if store.is_ok() {
            return store;
        }
        // Two nodes may do this concurrently: creating a stream twice with the same configuration is no
        // error. If creating fails, the next call returns the reason.
        let _ = self.jetstream.create_stream(stream_config(&self.bucket)).await;
        self.jetstream.get_key_value(&self.bucket).await
    }
}

/// The stream of a bucket, as every client library configures it.
///
/// `create_key_value` of async-nats 0.51 is not used: it first sends a request that a broker of version 2.9
/// does not know.
fn stream_config(bucket: &str) -> stream::Config {
    stream::Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        discard: stream::DiscardPolicy::New,
        // On disk, so that revisions continue after a restart.
        storage: stream::StorageType::File,
        num_replicas: 1,
        allow_rollup: true,
        allow_direct: true,
        deny_delete: true,
        ..stream::Config::default()
    }
}

impl ConnectionStatus {
    /// Waits until connected, for `TIMEOUT` at most. Afterwards this value tracks that connection.
    async fn wait_until_up(&mut self) -> Result<(), BrokerError> {
        let is_up = |status: &Status| matches!(status, Status::Up);
        let is_there = matches!(timeout(TIMEOUT, self.0.wait_for(is_up)).await, Ok(Ok(_)));
        if is_there { Ok(()) } else { Err(self.error()) }
    }

    /// Runs a request, and fails if the connection is lost or the request takes longer than `TIMEOUT`.
    pub(crate) async fn unless_lost<T, E: Display>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BrokerError> {
        tokio::select! {
            done = timeout(TIMEOUT, work) => match done {
                Ok(done) => done.map_err(|error| BrokerError(format!("the broker: {error}"))),
                Err(_) => Err(BrokerError(format!("the broker has not answered within {TIMEOUT:?}"))),
            },
            error = self.lost() => Err(error),
        }
    }

    /// Waits until the connection is lost.
    pub(crate) async fn lost(&mut self) -> BrokerError {
        // A reconnect counts as a loss too: changes in between were not seen.
        // Fails only if the client was dropped.
        let _ = self.0.changed().await;
        self.error()
    }

    fn error(&self) -> BrokerError {
        match &*self.0.borrow() {
            Status::Down(why) => BrokerError(format!("the broker cannot be reached: {why}")),
            Status::Up => BrokerError(String::from("the connection to the broker was lost")),
        }
    }
}

fn record_event(statuses: &watch::Sender<Status>, event: &Event) {
    statuses.send_if_modified(|status| {
        *status = match (event, &status) {
            (Event::Connected, _) => Status::Up,
            (Event::Disconnected, _) => Status::Down(String::from("it has ended the connection")),
            // The reason why an attempt to connect failed.
            (Event::ClientError(ClientError::Other(why)), Status::Down(_)) => {
                Status::Down(why.clone())
            }
            _ => return false,
        };
        true
    });
}
