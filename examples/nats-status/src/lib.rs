//! Status nodes that read their state from one key of a NATS key-value bucket, so that all nodes publish
//! the same state.
//!
//! A node is the server with another handler, [`LateJoin`], and a task that follows the bucket, [`Node`].
//! Only [`Broker`] and [`Bucket`] use NATS; replace these two to store states elsewhere.
//!
//! # What this crate does not do
//!
//! It keeps no history: a session skips a state that was replaced before it could be sent.
//! It stores nothing: a state that the broker lost is lost.

mod arguments;
mod broker;
mod bucket;
mod late_join;
mod node;
mod state;

pub use crate::arguments::{Arguments, KeyLocation, USAGE};
pub use crate::broker::Broker;
pub use crate::bucket::{BrokerError, Bucket};
pub use crate::late_join::{LateJoin, LateJoins, PendingJoin};
pub use crate::node::Node;
pub use crate::state::{State, Version};
