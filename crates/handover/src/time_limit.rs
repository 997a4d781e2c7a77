//! The kinds of time limits.

/// How long a driver waits in a state before it reports that the limit has passed.
///
/// The driver has the durations and the timer. The limit begins when the state is entered, and again with
/// every record that is written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeLimit {
    /// The predecessor waits for sessions to come to rest and may send nothing: longer than that wait and
    /// [`Progress`](Self::Progress) together.
    NextBatch,
    /// The successor composes itself, reads its settings and certificates: long.
    Preparation,
    /// The other process has a step to do, and nothing to wait for: short.
    Progress,
}
