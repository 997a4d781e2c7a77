//! The areas in which the code is mutated, and the tests that decide whether a mutant is detected. All tests
//! of a crate would take minutes for each mutant.

use crate::files::tree;
use crate::tools::Failure;

/// A part of a crate that is mutated at once.
pub(super) struct Area {
    pub(super) name: &'static str,
    /// Paths relative to the crate's `src`: files, and folders with a trailing slash. Another area can have
    /// a file or a folder within them.
    paths: &'static [&'static str],
    /// The test files that run for each mutant; [`UNIT_TESTS`] are those in `src`, and [`ALL_TESTS`] all of
    /// the crate.
    pub(super) tests: &'static [&'static str],
}

/// A crate, its areas, and what is not mutated, with a reason.
pub(super) struct Crate {
    pub(super) name: &'static str,
    pub(super) areas: &'static [Area],
    not_mutated: &'static [(&'static str, &'static str)],
}

pub(super) const UNIT_TESTS: &str = "(unit tests)";
pub(super) const ALL_TESTS: &[&str] = &[];

const MODELS: (&str, &str) = ("concurrency/", "tests, which only loom's models are");
const MODELLED: (&str, &str) = ("sync/", "imports, and what loom's models have instead of them");
const ROOT: (&str, &str) = ("lib.rs", "imports and documentation");

pub(super) const CRATES: &[Crate] = &[
    Crate {
        name: "broadcast",
        areas: &[
            Area {
                name: "handover",
                paths: &["frozen.rs", "tag.rs", "topics/handover.rs"],
                tests: &["handover", "handover_bytes", "handover_handlers", "resumption", "tags"],
            },
            Area {
                name: "mailboxes",
                paths: &["key_map.rs", "mailbox.rs", "mailboxes.rs"],
                tests: &["handover_handlers", "mailbox", "mailboxes", "simulation_mailboxes"],
            },
            Area {
                name: "newest-state",
                paths: &["channel.rs", "publisher.rs", "subscription.rs", "wakers.rs"],
                tests: ALL_TESTS,
            },
            Area {
                name: "statistics",
                paths: &["prometheus.rs", "statistics.rs", "topics/measuring.rs"],
                tests: &["prometheus", "statistics"],
            },
            Area {
                name: "topics",
                paths: &["topics/"],
                tests: &["handover_handlers", "simulation_topics", "statistics", "topics"],
            },
        ],
        not_mutated: &[MODELS, MODELLED, ROOT],
    },
    Crate {
        name: "doctor",
        areas: &[Area { name: "all", paths: &[""], tests: ALL_TESTS }],
        not_mutated: &[],
    },
    Crate {
        name: "handover",
        areas: &[Area { name: "all", paths: &[""], tests: ALL_TESTS }],
        not_mutated: &[],
    },
    Crate {
        name: "server",
        areas: &[
            Area {
                name: "admin",
                paths: &["admin/"],
                tests: &["admin", "admin_operations", "probes"],
            },
            Area {
                name: "admission",
                paths: &["admission/"],
                tests: &["admission", "auth_service", "auth_service_failures", "identity_headers"],
            },
            Area {
                name: "client-address",
                paths: &["net/client_addr/"],
                tests: &["client_addr", "proxy_header"],
            },
            Area {
                name: "config",
                paths: &["config/"],
                tests: &[
                    UNIT_TESTS,
                    "certificates",
                    "command_line",
                    "configuration",
                    "documents",
                    "identity_headers",
                    "program_settings",
                ],
            },
            Area {
                name: "handover",
                paths: &["handover/", "net/handed_over.rs", "process/successor.rs"],
                tests: &[
                    UNIT_TESTS,
                    "handover",
                    "handover_drain",
                    "handover_failures",
                    "handover_wire",
                ],
            },
            Area {
                name: "handover-messages",
                paths: &[
                    "handover/channel.rs",
                    "handover/channel/",
                    "handover/messages.rs",
                    "handover/record.rs",
                    "handover/record/",
                    "handover/states.rs",
                ],
                tests: &[UNIT_TESTS, "handover_wire"],
            },
            Area {
                name: "http1",
                paths: &["http/"],
                tests: &["bounds", "conformance_handshake", "http1_heads", "http2_times"],
            },
            Area {
                name: "http2",
                paths: &["http/http2/"],
                tests: &[
                    UNIT_TESTS,
                    "http2",
                    "http2_floods",
                    "http2_limits",
                    "http2_malformed",
                    "http2_permits",
                    "http2_times",
                ],
            },
            Area {
                name: "limits",
                paths: &["accepting.rs", "limits.rs"],
                tests: &[UNIT_TESTS, "bounds", "http2_permits", "reload"],
            },
            Area {
                name: "net",
                paths: &["net/"],
                tests: &[
                    UNIT_TESTS,
                    "addresses",
                    "bounds",
                    "http2",
                    "inherited_sockets",
                    "slow_clients",
                    "stream_ends",
                    "unix_sockets",
                ],
            },
            Area {
                name: "process",
                paths: &[
                    "app/",
                    "config/startup_warnings.rs",
                    "lib.rs",
                    "main.rs",
                    "process/",
                    "shutdown.rs",
                    "systemd.rs",
                ],
                tests: &[
                    UNIT_TESTS,
                    "main_panics",
                    "process",
                    "reload",
                    "serving",
                    "starting",
                    "systemd",
                    "task_panics",
                ],
            },
            Area {
                name: "routes",
                paths: &["routes.rs"],
                tests: &["http1_heads", "serving", "visible_refusals"],
            },
            Area {
                name: "telemetry",
                paths: &["telemetry/", "time.rs"],
                tests: &[
                    UNIT_TESTS,
                    "admin",
                    "conformance_log",
                    "log",
                    "log_format",
                    "log_unread",
                    "metrics",
                ],
            },
            Area {
                name: "tls",
                paths: &["files.rs", "tls/"],
                tests: &[UNIT_TESTS, "certificate_kinds", "certificates", "reload", "tls"],
            },
        ],
        not_mutated: &[],
    },
    Crate {
        name: "transport",
        areas: &[
            Area {
                name: "admission",
                paths: &[
                    "admission.rs",
                    "handshake/denial.rs",
                    "identity.rs",
                    "permit.rs",
                    "registry.rs",
                ],
                tests: &[
                    "admission",
                    "admission_pending",
                    "expiry",
                    "handover",
                    "handover_at_rest",
                    "identity",
                    "panics",
                    "registry",
                    "visible_refusals",
                ],
            },
            Area {
                name: "compression",
                paths: &["compression/"],
                tests: &[UNIT_TESTS, "compression", "conformance_sending"],
            },
            Area {
                name: "endpoint",
                paths: &[
                    "catch_panic.rs",
                    "client.rs",
                    "drain.rs",
                    "endpoint.rs",
                    "events.rs",
                    "handler.rs",
                    "peer.rs",
                    "visible_refusal.rs",
                ],
                tests: &["closing", "endpoint", "handlers", "http2", "panics", "visible_refusals"],
            },
            Area {
                name: "frames",
                paths: &[
                    "frame.rs",
                    "message.rs",
                    "session/codec.rs",
                    "session/control_frame.rs",
                    "session/frame_header.rs",
                    "session/short_buffer.rs",
                ],
                tests: &[
                    UNIT_TESTS,
                    "compression",
                    "conformance",
                    "conformance_sending",
                    "conformance_utf8",
                    "costs",
                    "frame_headers",
                    "prepared_messages",
                    "sessions",
                    "slow_peers",
                    "violations",
                ],
            },
            Area {
                name: "handover",
                paths: &["handover.rs", "session/driver/frozen.rs", "session/thawing.rs"],
                tests: &["handover", "handover_at_rest", "handover_resumed", "handover_times"],
            },
            Area {
                name: "handshake",
                paths: &["handshake/"],
                tests: &[
                    "admission",
                    "endpoint",
                    "extensions",
                    "extensions_grammar",
                    "http2_requests",
                    "origins",
                    "request_origins",
                    "requests",
                ],
            },
            Area {
                name: "http2",
                paths: &["h2_stream.rs", "stream_end.rs"],
                tests: &["conformance_http2", "http2", "http2_stream", "stream_ends"],
            },
            Area {
                name: "prepared-message",
                paths: &["prepared_message/"],
                tests: &[UNIT_TESTS, "compression", "costs", "prepared_messages"],
            },
            Area {
                name: "session",
                paths: &["session/"],
                tests: &[
                    UNIT_TESTS,
                    "closing",
                    "costs",
                    "fairness",
                    "handlers",
                    "panics",
                    "pings",
                    "sessions",
                    "simulation",
                    "slow_peers",
                    "stalls",
                    "stream_ends",
                    "violations",
                    "wakers",
                ],
            },
            Area {
                name: "timer",
                paths: &["timer/", "waker_id.rs"],
                tests: &[
                    UNIT_TESTS,
                    "costs",
                    "endpoint",
                    "handover",
                    "panics",
                    "sessions",
                    "simulation",
                    "slow_peers",
                    "stalls",
                    "wakers",
                ],
            },
        ],
        not_mutated: &[MODELS, MODELLED, ROOT],
    },
    Crate {
        name: "ws-core",
        areas: &[Area { name: "all", paths: &[""], tests: ALL_TESTS }],
        not_mutated: &[],
    },
];

impl Crate {
    /// Returns the files of an area, relative to the checkout.
    pub(super) fn files(&self, area: &Area) -> Result<Vec<String>, Failure> {
        let src = format!("crates/{}/src/", self.name);
        let all = tree(&src)?.into_iter().filter(|path| path.ends_with(".rs"));
        let own = all.filter(|path| self.home(path).is_some_and(|home| area.paths.contains(&home)));
        Ok(own.map(|path| format!("{src}{path}")).collect())
    }

    /// Returns the longest entry that a file belongs to, of an area or of what is not mutated.
    fn home(&self, file: &str) -> Option<&'static str> {
        let in_areas = self.areas.iter().flat_map(|area| area.paths.iter().copied());
        let entries = in_areas.chain(self.not_mutated.iter().map(|(path, _)| *path));
        let holds_file = |entry: &&str| match entry {
            folder if folder.is_empty() || folder.ends_with('/') => file.starts_with(*folder),
            entry => file == *entry,
        };
        entries.filter(holds_file).max_by_key(|entry| entry.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{folders, tree};
    use crate::tools::root;

    #[test]
    fn every_file_of_every_crate_is_in_an_area_or_excluded() {
        let names: Vec<&str> = CRATES.iter().map(|it| it.name).collect();
        assert_eq!(names, folders("crates").unwrap());
        for it in CRATES {
            for file in tree(&format!("crates/{}/src", it.name)).unwrap() {
                let is_code = file.ends_with(".rs");
                assert!(!is_code || it.home(&file).is_some(), "{}: {file} has no area", it.name);
            }
        }
    }

    #[test]
    fn every_path_and_every_test_of_an_area_exists_and_no_path_is_in_two_areas() {
        for it in CRATES {
            let of_areas = it.areas.iter().flat_map(|area| area.paths.iter());
            let mut paths: Vec<&str> =
                of_areas.chain(it.not_mutated.iter().map(|(path, _)| path)).copied().collect();
            for path in &paths {
                let path = root().join("crates").join(it.name).join("src").join(path);
                assert!(path.exists(), "{} does not exist", path.display());
            }
            let number = paths.len();
            paths.sort_unstable();
            paths.dedup();
            assert_eq!(paths.len(), number, "{} has a path twice", it.name);

            let tests = it.areas.iter().flat_map(|area| area.tests);
            for test in tests.filter(|test| **test != UNIT_TESTS) {
                let file = root().join(format!("crates/{}/tests/{test}.rs", it.name));
                assert!(file.exists(), "{} does not exist", file.display());
            }
        }
    }

    #[test]
    fn a_file_belongs_to_the_area_that_names_it_most_closely() {
        let server = CRATES.iter().find(|it| it.name == "server").unwrap();
        assert_eq!(server.home("handover/record.rs"), Some("handover/record.rs"));
        assert_eq!(server.home("handover/collector.rs"), Some("handover/"));
        assert_eq!(server.home("net/client_addr/mod.rs"), Some("net/client_addr/"));
        assert_eq!(server.home("unknown.rs"), None);
    }
}
