//! The order of the modules of each crate on one screen: what stands on what.
//!
//! A line is a room: a file, or with a slash at its end a folder, and what it is for. The rooms of a
//! floor stand between one pair of brackets, and the floors are listed from the top down. A file may
//! name files of its own floor and of lower ones. To put one file of a folder on a floor of its own,
//! give it an entry there: the folder's entry is for those of its files that have none.

/// A path from the crate's `src`, and what is there.
pub(crate) struct Room(pub(crate) &'static str, pub(crate) &'static str);

pub(crate) type Floor = &'static [Room];

pub(crate) const CRATES: &[(&str, &[Floor])] =
    &[("broadcast", BROADCAST), ("server", SERVER), ("transport", TRANSPORT), ("ws-core", WS_CORE)];

const SERVER: &[Floor] = &[
    &[Room("main.rs", "the binary: the allocator, and one call")],
    &[Room("lib.rs", "the root: exports and explains, and nothing imports from it")],
    &[Room("process/", "from the command line to the exit code: threads, signals, reloading")],
    &[Room("app/", "the composition, and the supervision of its long-lived tasks")],
    &[Room("admin/", "what an operator may ask, and the page")],
    &[Room("http/", "from an accepted stream to a request, over HTTP/1.1 and HTTP/2")],
    &[Room("routes.rs", "the one place where paths are registered")],
    &[Room("shutdown.rs", "the end: its stages, its grace, its summary")],
    &[Room("telemetry/", "what becomes of each event: a log line, a metric, a table row")],
    &[Room("config/", "settings: where they come from, what they mean, what is wrong with them")],
    &[Room("net/", "listeners, streams, and the client's address")],
    &[Room("tls/", "certificates, and TLS over any stream")],
    &[
        Room("files.rs", "reading the operator's files, and seeing that they changed"),
        Room("limits.rs", "permits for connections, in all and for each address"),
        Room("systemd.rs", "what systemd is told"),
        Room("time.rs", "durations as people and the log write them"),
    ],
];

const TRANSPORT: &[Floor] = &[
    &[Room("lib.rs", "the root: exports and explains, and nothing imports from it")],
    &[Room("endpoint.rs", "a request in, an answer out")],
    &[Room("session/", "the driver of a session, its codec and its buffers")],
    &[Room("handler.rs", "the seam for what is built on sessions")],
    &[Room("drain.rs", "the phases of a drain, and the tokens that it waits for")],
    &[Room("timer/", "the timer service, and the detector of stalls")],
    &[Room("events.rs", "what the observer is told")],
    &[Room("handshake/", "what a request must say, and the refusals")],
    &[
        Room("catch_panic.rs", "calls of foreign code, whose panics end one session"),
        Room("h2_stream.rs", "a stream of an HTTP/2 connection as bytes"),
        Room("message.rs", "a message, and one that many sessions share"),
        Room("peer.rs", "how a client is named"),
        Room("permit.rs", "permission for one more session"),
        Room("stream_end.rs", "which error of a stream is which end of it"),
        Room("waker_id.rs", "which waker is which"),
    ],
];

const BROADCAST: &[Floor] = &[
    &[Room("lib.rs", "the root: exports and explains, and nothing imports from it")],
    &[Room("publisher.rs", "one publisher, and sessions that are sent its latest state")],
];

const WS_CORE: &[Floor] = &[
    &[Room("lib.rs", "the root: exports and explains, and nothing imports from it")],
    &[Room("lifecycle/mod.rs", "what becomes of a session at each event")],
    &[Room("lifecycle/open.rs", "what an open session waits for, and when")],
    &[Room("lifecycle/timeout.rs", "a deadline that gives back what a stall took")],
    &[Room("event.rs", "what the machine is told, and what it answers")],
    &[Room("close.rs", "codes, causes, and the record of a close")],
    &[Room("config.rs", "what holds for a session: its timing and its limits")],
    &[Room("rate.rs", "a token bucket")],
    &[Room("time.rs", "an instant, which the caller supplies")],
];
