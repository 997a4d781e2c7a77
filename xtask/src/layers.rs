//! The allowed dependencies of each crate, and the check. The order of the modules within a crate is in
//! `floors.rs`.

use std::collections::BTreeSet;

use crate::modules;
use crate::tools::{Failure, command, output};

/// The dependencies that a crate may have. A new dependency needs a new line here, with its reason.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    /// Further dependencies of its tests and examples.
    tests_may_use: &'static [&'static str],
}

/// server → transport → ws-core, broadcast → transport, doctor → transport; no crate skips a layer. handover and xtask are separate.
const LAYERS: &[Layer] = &[
    Layer {
        name: "broadcast",
        may_use: &[
            "parking_lot",       // as in transport
            "prometheus-client", // the statistics as metrics, if the feature is enabled
            "slab",              // keys of the subscribers
            "tokio",             // the clock, which tests control
            "transport",         // handlers and prepared messages
        ],
        tests_may_use: &[
            "allocation-counter", // allocations of a delivery
            "futures-task",       // custom wakers
            "loom",               // as in transport
            "tokio",              // duplex streams, paused time
            "zlib-rs",            // the inflater of a client
        ],
    },
    // Without server: it is a client, and knows of the server what the documents say.
    Layer {
        name: "doctor",
        may_use: &[
            "bytes",               // the input of a connection
            "clap",                // the command line and its help
            "h2",                  // extended CONNECT
            "httparse",            // heads of responses, byte by byte; hyper brings it along
            "httpdate",            // the dates of a certificate, for people
            "hyper",               // URLs, and requests for h2
            "ipnet",               // the networks of trusted proxies, in the server's settings
            "rustls",              // TLS, and what is wrong with a certificate
            "rustls-native-certs", // the system's root certificates
            "serde_json",          // the report for scripts, and the admin listener's answers
            "tokio",               // sockets, timeouts
            "tokio-rustls",        // TLS as a stream; hyper-rustls brings it along
            "transport",           // the refusals by their words, and HTTP/2 streams as bytes
            "tungstenite",         // the key and its answer, headers of frames
            "x509-cert",           // the dates and the issuer of a certificate
        ],
        tests_may_use: &[
            "rcgen",  // certificates
            "server", // what is examined
            "tokio",  // threads for the gateways
        ],
    },
    Layer { name: "handover", may_use: &[], tests_may_use: &[] },
    Layer { name: "ws-core", may_use: &[], tests_may_use: &[] },
    Layer {
        name: "transport",
        may_use: &[
            "bytes",       // shared payloads
            "h2",          // HTTP/2 streams
            "httpdate",    // `Date` over HTTP/2; hyper adds it over HTTP/1.1
            "hyper",       // the request, the response and the upgrade
            "hyper-util",  // hyper's streams as tokio's
            "parking_lot", // mutexes without poisoning; also a dependency of prometheus-client
            "slab",        // keys of the tasks to wake; also a dependency of h2
            "tokio",       // tasks, the clock, the drain's channel
            "tungstenite", // the accept key, headers of frames, UTF-8 texts
            "ws-core",     // the session's state machine
            "zlib-rs",     // DEFLATE with dictionaries, in safe code
        ],
        tests_may_use: &[
            "allocation-counter", // allocations of a session
            "futures-task",       // wakers that share their data pointer
            "loom",               // models of threads, under cfg(loom_models) only
            "tokio",              // duplex streams, paused time; the echo example's listener
        ],
    },
    // Without broadcast: the server has no message logic.
    Layer {
        name: "server",
        may_use: &[
            "bytes",           // what handlers freeze, as a part of a record
            "clap",            // the command line and its help
            "config",          // layered settings, and TOML
            "h2",              // HTTP/2; hyper does not expose some of its limits
            "form_urlencoded", // the query of an admin request
            "futures-util",    // the answers of one HTTP/2 connection that are being decided
            "handover",        // the state machines of a handover
            "httpdate",        // the expiry date of a certificate, for people
            "hyper",           // HTTP/1.1
            "hyper-rustls",    // TLS to the service at auth_url
            "hyper-util", // tokio's sockets as hyper's, and the pool of connections to auth_url
            "ipnet",      // the networks of trusted proxies
            "listenfd",   // sockets inherited from systemd
            "mimalloc",   // the allocator: a sixth less memory for each connection than glibc's
            "procfs",     // process metrics
            // RFC 7541's Huffman code, by quiche's authors, fuzzed and without dependencies. The rest of
            // HPACK is implemented here: httlib-hpack and hpack_codec panic on malformed blocks, hpack
            // and its forks (hpack-patched, fluke-hpack, loona-hpack) create a hash map for each string.
            "octets",
            "parking_lot",         // as in transport
            "prometheus-client",   // the metrics, in both Prometheus formats
            "proxy-header",        // the PROXY protocol, both versions
            "rmp-serde", // records of sessions for another process: named fields, so versions can differ
            "rustix",    // the limit of open files, listening sockets, signal numbers
            "rustls",    // TLS; its provider is aws-lc-rs, because ring has no ML-KEM
            "rustls-native-certs", // the system's root certificates, for auth_url
            "schemars",  // the JSON Schema of the settings
            "sd-notify", // notifications to systemd
            "serde",     // settings as types
            "serde_json", // the admin listener's responses; also a dependency of tracing-subscriber
            "strsim",    // the nearest name for a misspelt setting; clap brings it along
            "tokio",     // the runtime, sockets, signals
            "toml",      // the lines of settings in their file; config brings it along
            "tower-service", // the trait of hyper-util's connectors
            "tracing",   // log events
            "tracing-subscriber", // log lines, as text or JSON
            "transport", // the endpoint
            "x509-cert", // the expiry and the key type of a certificate, which rustls does not expose
        ],
        tests_may_use: &[
            "clap_complete", // shell completions, generated from the command line
            "clap_mangen",   // the man page, likewise
            "rcgen",         // certificates
            "tokio",         // paused time
        ],
    },
    Layer { name: "xtask", may_use: &[], tests_may_use: &[] },
];

pub(crate) fn check() -> Result<(), Failure> {
    modules::check()?;
    let members = output(
        &mut command(&[
            "cargo",
            "tree",
            "--workspace",
            "--depth",
            "0",
            "--prefix",
            "none",
            "--locked",
        ]),
        "see the message of cargo",
    )?;
    let listed: BTreeSet<&str> = LAYERS.iter().map(|layer| layer.name).collect();
    expect("the workspace", &listed, &names(&members))?;
    for layer in LAYERS {
        for (edges, allowed) in [("normal,build", layer.may_use), ("dev", layer.tests_may_use)] {
            let tree = output(
                &mut command(&[
                    "cargo",
                    "tree",
                    "--package",
                    layer.name,
                    "--all-features",
                    "--depth",
                    "1",
                    "--edges",
                    edges,
                    "--prefix",
                    "none",
                    "--target",
                    "all",
                    "--locked",
                ]),
                "see the message of cargo",
            )?;
            let mut used = names(&tree);
            used.remove(layer.name);
            let subject = format!("{} ({edges} dependencies)", layer.name);
            expect(&subject, &allowed.iter().copied().collect(), &used)?;
        }
    }
    Ok(())
}

/// Returns the first word of each line of `cargo tree`.
fn names(tree: &str) -> BTreeSet<&str> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

fn expect(subject: &str, allowed: &BTreeSet<&str>, found: &BTreeSet<&str>) -> Result<(), Failure> {
    let remedy =
        "remove the dependency, or add it to the table in xtask/src/layers.rs with a reason";
    if let Some(name) = found.difference(allowed).next() {
        return Err(Failure::new(
            format!("{subject} has {name}, which its layer does not allow"),
            remedy,
        ));
    }
    if let Some(name) = allowed.difference(found).next() {
        return Err(Failure::new(format!("{subject} no longer has {name}"), remedy));
    }
    Ok(())
}
