//! One key of a bucket: its current state, and each change.

use std::fmt;
use std::str::FromStr;

use async_nats::HeaderMap;
use async_nats::jetstream::kv::{Operation, Store, Watch};
use async_nats::jetstream::stream::{LastRawMessageError, LastRawMessageErrorKind};
use futures_util::StreamExt;

use crate::broker::ConnectionStatus;
use crate::state::{State, Version};

/// A key over one connection to the broker. Each method fails after that connection is lost.
pub struct Bucket {
    store: Store,
    watch: Watch,
    subject: String,
    connection: ConnectionStatus,
}

/// The reason why a request to the broker failed, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerError(pub String);

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BrokerError {}

impl Bucket {
    pub(crate) async fn open(
        store: Store,
        key: String,
        mut connection: ConnectionStatus,
    ) -> Result<Self, BrokerError> {
        // Watch before the first read, so that no change in between is missed.
        let watch = connection.unless_lost(store.watch(&key)).await?;
        let subject = format!("{}{key}", store.prefix);
        Ok(Self { store, watch, subject, connection })
    }

    /// Reads the latest state, if there is one. No state that was stored before this call is newer.
    ///
    /// # Errors
    ///
    /// The broker is not reachable, or the bucket does not exist.
    pub async fn read(&mut self) -> Result<Option<State>, BrokerError> {
        // Not `Store::entry`, which reads from any replica: this reads from the leader of the stream.
        let newest = async {
            match self.store.stream.get_last_raw_message_by_subject(&self.subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if is_not_found(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let newest = self.connection.unless_lost(newest).await?;
        Ok(newest.map(|message| {
            let operation = operation(&message.headers);
            state(
                message.sequence,
                message.time.unix_timestamp_nanos(),
                operation,
                &message.payload,
            )
        }))
    }

    /// Waits for the next change. Cancel safe.
    ///
    /// # Errors
    ///
    /// The broker is not reachable, or the watch has ended.
    pub async fn changed(&mut self) -> Result<State, BrokerError> {
        let change = tokio::select! {
            change = self.watch.next() => change,
            error = self.connection.lost() => return Err(error),
        };
        match change {
            Some(Ok(entry)) => {
                let stored = entry.created.unix_timestamp_nanos();
                Ok(state(entry.revision, stored, entry.operation, &entry.value))
            }
            Some(Err(error)) => Err(BrokerError(format!("the watch failed: {error}"))),
            None => Err(BrokerError(String::from("the broker has ended the watch"))),
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("subject", &self.subject).finish_non_exhaustive()
    }
}

fn is_not_found(error: &LastRawMessageError) -> bool {
    matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound)
}

/// The operation of a message in the bucket. A message without the header is a put.
fn operation(headers: &HeaderMap) -> Operation {
    let named = headers.get("KV-Operation");
    named.and_then(|name| Operation::from_str(name.as_str()).ok()).unwrap_or(Operation::Put)
}

fn state(revision: u64, stored_ns: i128, operation: Operation, value: &[u8]) -> State {
    let stored_us = i64::try_from(stored_ns / 1000).unwrap_or_default();
    State {
        version: Version { revision, stored_us },
        value: matches!(operation, Operation::Put).then(|| value.to_vec()),
    }
}
