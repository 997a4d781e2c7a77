//! Status nodes that take their state from one key of a NATS key-value bucket, so that any number of
//! them show the same.
//!
//! A node is the server itself with another handler, [`Newcomer`], and a task that follows the bucket,
//! [`Node`].
//! Everything that is NATS's is behind [`Broker`] and [`Bucket`]: whoever keeps states elsewhere replaces
//! these two.
//!
//! # What this crate does not do
//!
//! It keeps no history: a state that was replaced before a session could be told is skipped.
//! It stores nothing itself: what the broker has lost is lost.

mod arguments;
mod broker;
mod bucket;
mod newcomer;
mod node;
mod state;

pub use crate::arguments::{Arguments, Place, USAGE};
pub use crate::broker::Broker;
pub use crate::bucket::{Bucket, Problem};
pub use crate::newcomer::{Newcomer, Waiting};
pub use crate::node::Node;
pub use crate::state::{State, Version};
