//! The dependency budget of the workspace on one screen, and the check that it is kept. The order
//! within the crates stands in `floors.rs`.

use std::collections::BTreeSet;

use crate::modules;
use crate::tools::{Failure, command, output};

/// What a crate may depend on. A new dependency is a new line here, with its reason.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    /// Only its tests and examples.
    tests_may_use: &'static [&'static str],
}

/// server → transport → ws-core, broadcast → transport, and none skips a layer. xtask stands apart.
const LAYERS: &[Layer] = &[
    Layer {
        name: "broadcast",
        may_use: &[
            "parking_lot", // as in transport
            "slab",        // places among the subscribers
            "transport",   // its handlers, and messages that are encoded once for everyone
        ],
        tests_may_use: &[
            "allocation-counter", // what telling everyone allocates
            "futures-task",       // a waker of one's own
            "tokio",              // duplex streams, paused time
        ],
    },
    Layer { name: "ws-core", may_use: &[], tests_may_use: &[] },
    Layer {
        name: "transport",
        may_use: &[
            "bytes",       // payloads that are shared and not copied
            "h2",          // the streams of HTTP/2
            "httpdate",    // `Date`, which hyper adds by itself to answers over HTTP/1.1
            "hyper",       // the request, the response and the upgrade
            "hyper-util",  // hyper's streams as tokio's
            "parking_lot", // mutexes without poisoning; prometheus-client brings it along
            "slab",        // places among those who are woken; h2 brings it along
            "tokio",       // tasks, the clock, the drain's channel
            "tungstenite", // the codec: frames, masks, UTF-8
            "ws-core",     // every decision
        ],
        tests_may_use: &[
            "allocation-counter", // what a session allocates
            "futures-task",       // a waker with the data of another
            "tokio",              // duplex streams, paused time; the echo example's listener
        ],
    },
    // It has no broadcast: the server carries no message logic.
    Layer {
        name: "server",
        may_use: &[
            "config",     // the layers of settings, and TOML
            "h2",         // HTTP/2; hyper's has no settings for some of its limits
            "httpdate",   // when a certificate ends, for people
            "hyper",      // HTTP/1.1
            "hyper-util", // tokio's sockets as hyper's
            "ipnet",      // the networks of trusted proxies
            "lexopt",     // the command line
            "listenfd",   // sockets that systemd passes
            "mimalloc",   // the heap: a sixth less for each connection than glibc's
            "procfs",     // the process' own figures among the metrics
            // RFC 7541's Huffman code, by quiche's authors, fuzzed and without dependencies. The rest of HPACK
            // is ours: httlib-hpack and hpack_codec panic on hostile blocks, hpack and its forks
            // (hpack-patched, fluke-hpack, loona-hpack) make a hash map for each string.
            "octets",
            "parking_lot",        // as in transport
            "prometheus-client",  // the metrics, in both of Prometheus' formats
            "proxy-header",       // the PROXY protocol, both versions
            "rustix",             // the limit of open files, listening sockets, a signal's number
            "rustls",             // TLS; its provider is aws-lc-rs, because ring has no ML-KEM
            "sd-notify",          // what systemd is told
            "serde_json", // the admin listener's answers; tracing-subscriber brings it along
            "tokio",      // the runtime, sockets, signals
            "tracing",    // the events of the log
            "tracing-subscriber", // the log's lines, as text or JSON
            "transport",  // the endpoint
            "x509-cert", // when a certificate ends and of which kind a key is, which rustls does not tell
        ],
        tests_may_use: &[
            "rcgen", // certificates
            "tokio", // paused time
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
        "see what cargo says",
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
                "see what cargo says",
            )?;
            let mut used = names(&tree);
            used.remove(layer.name);
            let subject = format!("{} ({edges} dependencies)", layer.name);
            expect(&subject, &allowed.iter().copied().collect(), &used)?;
        }
    }
    Ok(())
}

/// The first word of each line that `cargo tree` prints.
fn names(tree: &str) -> BTreeSet<&str> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

fn expect(subject: &str, allowed: &BTreeSet<&str>, found: &BTreeSet<&str>) -> Result<(), Failure> {
    let remedy = "take the dependency out, or change the table in xtask/src/layers.rs and say why";
    if let Some(name) = found.difference(allowed).next() {
        return Err(Failure::new(
            format!("{subject} has {name}, which its layer does not allow"),
            remedy,
        ));
    }
    if let Some(name) = allowed.difference(found).next() {
        return Err(Failure::new(format!("{subject} does not have {name} any more"), remedy));
    }
    Ok(())
}
