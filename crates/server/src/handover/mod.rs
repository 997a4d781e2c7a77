//! The handover to a successor process: its listening sockets, and its sessions.
//!
//! Which process has a session at which moment is decided by the state machines of the crate `handover`;
//! read its front page first. `predecessor` and `successor` perform what they decide. Between them `channel`
//! carries `messages` and descriptors. `collector` takes the sessions that freeze, each as a `record`, and
//! `states` has what the program hands over beside them.

mod channel;
mod collector;
mod messages;
pub(crate) mod predecessor;
mod record;
pub(crate) mod states;
pub(crate) mod status;
pub(crate) mod successor;

use std::sync::Arc;
use std::time::Duration;

use ::handover::TimeLimit;
use tokio::sync::watch;

use self::states::{OperationLock, States};
use self::status::HandoverStatus;
use crate::config::ConfigReceiver;
use crate::limits::ConnectionPermits;
use crate::routes::Router;
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;

/// Returns how long a state with a time limit may take. `wait` is the time that the predecessor waits for
/// sessions that are not at rest.
fn limit(limit: TimeLimit, wait: Duration) -> Duration {
    match limit {
        // A program may connect to its own sources first.
        TimeLimit::Preparation => Duration::from_secs(60),
        // Frozen sessions answer no ping meanwhile.
        TimeLimit::Progress => Duration::from_secs(1),
        TimeLimit::NextBatch => wait + Duration::from_secs(5),
    }
}

/// What takes part in a handover of this process, on either side.
#[derive(Debug)]
pub(crate) struct ThisProcess {
    pub(crate) configs: ConfigReceiver,
    /// Whether sessions still follow from the process before this one.
    pub(crate) is_taking_over: watch::Sender<bool>,
    pub(crate) operations: OperationLock,
    pub(crate) permits: ConnectionPermits,
    pub(crate) router: Arc<Router>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) states: States,
    pub(crate) status: HandoverStatus,
    pub(crate) telemetry: Arc<Telemetry>,
}
