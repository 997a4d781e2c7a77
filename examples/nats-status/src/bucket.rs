//! One key of a bucket: what stands there, and each change.

use std::fmt;
use std::str::FromStr;

use async_nats::HeaderMap;
use async_nats::jetstream::kv::{Operation, Store, Watch};
use async_nats::jetstream::stream::{LastRawMessageError, LastRawMessageErrorKind};
use futures_util::StreamExt;

use crate::broker::Link;
use crate::state::{State, Version};

/// The key, by one connection to the broker: each method fails once that is lost.
pub struct Bucket {
    store: Store,
    watch: Watch,
    subject: String,
    link: Link,
}

/// Why the broker could not be asked, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

impl Bucket {
    pub(crate) async fn open(store: Store, key: String, mut link: Link) -> Result<Self, Problem> {
        // Changes are listened to before anything is read, so nothing falls between.
        let watch = link.unless_lost(store.watch(&key)).await?;
        let subject = format!("{}{key}", store.prefix);
        Ok(Self { store, watch, subject, link })
    }

    /// What stands there, if anything was ever put: no state that was stored before this was called is
    /// newer.
    ///
    /// # Errors
    ///
    /// The broker is away, or the bucket is gone.
    pub async fn read(&mut self) -> Result<Option<State>, Problem> {
        // Not `Store::entry`, which asks any replica: this asks the one that decides.
        let newest = async {
            match self.store.stream.get_last_raw_message_by_subject(&self.subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if is_nothing(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let newest = self.link.unless_lost(newest).await?;
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

    /// Waits for the next change. It loses none if it is given up and called again.
    ///
    /// # Errors
    ///
    /// The broker is away, or does not tell changes any more.
    pub async fn changed(&mut self) -> Result<State, Problem> {
        let change = tokio::select! {
            change = self.watch.next() => change,
            problem = self.link.lost() => return Err(problem),
        };
        match change {
            Some(Ok(entry)) => {
                let stored = entry.created.unix_timestamp_nanos();
                Ok(state(entry.revision, stored, entry.operation, &entry.value))
            }
            Some(Err(error)) => Err(Problem(format!("the broker tells no changes: {error}"))),
            None => Err(Problem(String::from("the broker has stopped telling changes"))),
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("subject", &self.subject).finish_non_exhaustive()
    }
}

fn is_nothing(error: &LastRawMessageError) -> bool {
    matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound)
}

/// What a message of the bucket does to its key; what does not say is a value.
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
