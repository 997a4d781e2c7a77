//! The order of the modules in each crate.
//!
//! An entry is a file or a folder (with a trailing slash), and its purpose. Each inner slice is a floor,
//! and the floors are listed from top to bottom. A file may import from its own floor and from lower
//! ones. A file of a folder can have an entry of its own; the folder's entry applies to all other files
//! in it.

/// A path relative to the crate's `src`, and its purpose.
pub(crate) struct Entry(pub(crate) &'static str, pub(crate) &'static str);

pub(crate) type Floor = &'static [Entry];

pub(crate) const CRATES: &[(&str, &[Floor])] = &[
    ("broadcast", BROADCAST),
    ("doctor", DOCTOR),
    ("handover", HANDOVER),
    ("server", SERVER),
    ("transport", TRANSPORT),
    ("ws-core", WS_CORE),
];

const SERVER: &[Floor] = &[
    &[Entry("main.rs", "the binary: the allocator, and a call of the library")],
    &[Entry("lib.rs", "the root: re-exports and crate documentation; no module imports from it")],
    &[Entry("process/", "from the command line to the exit code: threads, signals, reloading")],
    &[Entry("app/", "the composition of the server, and the supervision of its tasks")],
    &[Entry("admin/", "the admin listener: its endpoints, and the page")],
    &[Entry("handover/", "the handover of sockets and sessions to a successor process")],
    &[Entry("http/", "from an accepted stream to a request, over HTTP/1.1 and HTTP/2")],
    &[Entry("routes.rs", "the registration of paths")],
    &[Entry("admission/", "what a valid handshake passes before the application decides")],
    &[Entry("shutdown.rs", "the shutdown: its stages, its grace period, its summary")],
    &[Entry("telemetry/", "the processing of events: log lines, metrics, table rows")],
    &[Entry("config/", "settings: their sources, their meaning, configuration errors")],
    &[Entry("net/", "listeners, streams, and the client address")],
    &[Entry("tls/", "certificates, and TLS over a stream")],
    &[
        Entry("accepting.rs", "whether connections are accepted, by this process or another"),
        Entry("files.rs", "reading files of the operator, and detecting changes"),
        Entry("limits.rs", "permits for connections, in total and for each address"),
        Entry("systemd.rs", "notifications to systemd"),
        Entry("time.rs", "durations in settings and in the log"),
    ],
];

const TRANSPORT: &[Floor] = &[
    &[Entry("lib.rs", "the root: re-exports and crate documentation; no module imports from it")],
    &[Entry("concurrency/", "models of what threads share, which loom runs in every order")],
    &[Entry("endpoint.rs", "the endpoint: from a request to a response")],
    &[Entry(
        "visible_refusal.rs",
        "a refusal that a page can see: a WebSocket that is closed at once",
    )],
    &[Entry("session/", "the driver of a session, its codec and its buffers")],
    &[Entry("admission.rs", "the trait for applications that decide which sessions open")],
    &[Entry("handler.rs", "the trait for applications on top of sessions")],
    &[Entry("client.rs", "the client of an accepted connection")],
    &[Entry("drain.rs", "the phases of a drain, and the drain tokens")],
    &[Entry("handover.rs", "which sessions are frozen, for another process to continue them")],
    &[Entry("registry.rs", "the sessions with an identity, which can be ended from outside")],
    &[Entry("timer/", "the timer service, and the stall detector")],
    &[Entry("events.rs", "the events for the observer")],
    &[Entry("handshake/", "the checks of the upgrade request, and the rejections")],
    &[Entry(
        "prepared_message/",
        "a message that is encoded and compressed once for many sessions",
    )],
    &[Entry("frame.rs", "the frames of a message, plain and compressed")],
    &[Entry("message.rs", "a message")],
    &[
        Entry("catch_panic.rs", "calls of application code, whose panics end one session"),
        Entry("compression/", "compression of payloads"),
        Entry("h2_stream.rs", "an HTTP/2 stream as a byte stream"),
        Entry("identity.rs", "whose a session is"),
        Entry("peer.rs", "the address of a client"),
        Entry("permit.rs", "the permit for a session"),
        Entry("stream_end.rs", "the classification of stream errors"),
        Entry("sync/", "what threads share by, which loom replaces in the models"),
        Entry("waker_id.rs", "the identity of wakers"),
    ],
];

const BROADCAST: &[Floor] = &[
    &[Entry("lib.rs", "the root: re-exports and crate documentation; no module imports from it")],
    &[Entry("concurrency/", "models of what threads share, which loom runs in every order")],
    &[
        Entry("mailboxes.rs", "the mailboxes of all sessions of a key"),
        Entry("topics/", "the newest state of each topic"),
    ],
    &[
        Entry("mailbox.rs", "a bounded queue of events for a session, and its senders"),
        Entry("publisher.rs", "a publisher of the newest state"),
    ],
    &[Entry("subscription.rs", "the states that a session sends")],
    &[Entry("channel.rs", "the newest state, and its copies for threads")],
    &[Entry("frozen.rs", "what is handed over to another process, as bytes")],
    &[
        Entry("key_map.rs", "removal from a map whose keys may come from peers"),
        Entry("prometheus.rs", "the statistics as metrics"),
        Entry("statistics.rs", "how current the states of clients are"),
        Entry("tag.rs", "the tags of states, and what a client has"),
        Entry("wakers.rs", "the wakers of the sessions that wait for a channel"),
    ],
    &[Entry("sync/", "what threads share by, which loom replaces in the models")],
];

const DOCTOR: &[Floor] = &[
    &[Entry("main.rs", "the binary: a call of the library")],
    &[Entry("lib.rs", "the root: re-exports and crate documentation; no module imports from it")],
    &[Entry("program.rs", "from the command line to the exit code")],
    &[Entry("examination.rs", "the order of the probes")],
    &[Entry("probes/", "one file for each question: observations become findings")],
    &[Entry("report/", "all findings, as text and as JSON")],
    &[Entry("finding.rs", "what is said about a question")],
    &[Entry("remedies/", "what to change where")],
    &[Entry("context.rs", "what every probe is given")],
    &[
        Entry("admin.rs", "what the admin listener of the server knows"),
        Entry("options.rs", "the command line"),
    ],
    &[Entry("client/", "names, TCP, TLS, HTTP/1.1 and frames, as a client")],
    &[Entry("escape.rs", "text of peers for a terminal")],
];

const HANDOVER: &[Floor] = &[
    &[Entry("lib.rs", "the root: re-exports and crate documentation; no module imports from it")],
    &[
        Entry("predecessor.rs", "the process that hands its sessions over"),
        Entry("successor.rs", "the process that takes them over"),
    ],
    &[Entry("time_limit.rs", "the kinds of time limits")],
];

const WS_CORE: &[Floor] = &[
    &[Entry("lib.rs", "the root: re-exports and crate documentation; no module imports from it")],
    &[Entry("lifecycle/mod.rs", "the state transitions of a session")],
    &[Entry("lifecycle/open.rs", "the open state: keep-alive and timeouts")],
    &[Entry("lifecycle/timeout.rs", "a deadline that is extended by stalls")],
    &[Entry("event.rs", "the events and the actions of the state machine")],
    &[Entry("config.rs", "the session configuration: timing and limits")],
    &[Entry("rate.rs", "a token bucket")],
    &[Entry("snapshot.rs", "what another process needs to continue a session")],
    &[Entry("close.rs", "close codes, causes, and the close record")],
    &[Entry("time.rs", "a timestamp, which the caller supplies")],
];
