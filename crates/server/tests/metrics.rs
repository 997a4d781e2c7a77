//! The metrics of the admin listener: names, formats, and counts of what clients and handlers do.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use server::prometheus_client::collector::Collector;
use server::prometheus_client::encoding::DescriptorEncoder;
use server::prometheus_client::metrics::counter::Counter;
use server::prometheus_client::registry::Registry;
use support::admin::{ADMIN, get, scrape, send, server, wait_until};
use support::server::Server;
use support::{Client, PING, PONG, TEXT, UPGRADE, close, document, frame, header, table, word};
use transport::ws_core::{Cause, CloseCode};
use transport::{Discard, Handler, Message, Next, Rejection};

/// The type and the label names of each metric in a scrape, without the labels of buckets.
fn contract(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut contract = BTreeMap::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').unwrap();
            contract.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|name| contract.contains_key(*name)));
            let entry =
                contract.get_mut(family.unwrap_or(name)).unwrap_or_else(|| panic!("{line}"));
            let names = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
            entry.1.extend(names.map(|label| label.split('=').next().unwrap().to_owned()));
        }
    }
    contract
}

#[test]
fn metric_names_types_and_labels_are_the_documented_ones() {
    let server = server(&[]);
    let documented: BTreeMap<String, (String, BTreeSet<String>)> =
        table(&document("metrics.md"), "## The table")
            .iter()
            .map(|row| {
                let labels = row[2].split(' ').filter(|label| !label.is_empty()).map(word);
                (word(&row[0]), (row[1].clone(), labels.collect()))
            })
            .collect();
    assert_eq!(contract(&get(&server, "/metrics").1), documented);
}

#[test]
fn a_scraper_gets_openmetrics_if_it_prefers_that() {
    let server = server(&[]);
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                      application/openmetrics-text;version=0.0.1;q=0.4,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    for (accept, is_open) in [
        ("", false),
        ("Accept: */*\r\n", false),
        ("Accept: text/plain\r\nAccept: application/openmetrics-text;q=0.9\r\n", false),
        ("Accept: application/openmetrics-text;q=0\r\n", false),
        ("Accept: application/openmetrics-textual\r\n", false),
        ("Accept: application/openmetrics-text\r\n", true),
        (&format!("Accept: {prometheus}\r\n"), true),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n");
        let (_, head, body) = send(server.admin.unwrap(), &request);
        let kind = if is_open {
            "application/openmetrics-text; version=1.0.0"
        } else {
            "text/plain; version=0.0.4"
        };
        assert!(header(&head, "content-type").unwrap().starts_with(kind), "{accept}: {head}");
        assert_eq!(body.ends_with("# EOF\n"), is_open);
        // In OpenMetrics, `TYPE` has the name of the family; in the Prometheus format, that of the
        // series.
        assert_eq!(body.contains("# TYPE ws_status_sessions_opened counter\n"), is_open);
        assert!(body.contains("\nws_status_sessions_opened_total 0\n"));
    }
}

#[test]
fn every_cause_and_every_refusal_has_a_series_from_the_start() {
    let server = server(&[]);
    let samples = scrape(&server);
    for &rejection in Rejection::ALL {
        let series = format!("ws_status_handshakes_refused_total{{refusal=\"{rejection}\"}}");
        assert_eq!(samples.get(&series), Some(&0.0), "{series}");
    }
    let count = samples.keys().filter(|series| series.contains("{refusal=")).count();
    assert_eq!(count, Rejection::ALL.len());
    for cause in Cause::ALL.iter().filter(|cause| **cause != Cause::HandlerClosed) {
        let series = format!("ws_status_sessions_closed_total{{cause=\"{cause}\",code=");
        assert!(samples.iter().any(|(name, value)| name.starts_with(&series) && *value == 0.0));
    }
}

#[test]
fn the_metrics_count_the_sessions_and_messages_of_clients() {
    let server = server(&["--ping-interval-secs", "0.2", "--max-message-bytes", "10"]);
    let mut idle = Client::open(server.address);
    let (first, payload) = idle.frame();
    assert_eq!((first, payload.len()), (PING, 4));
    idle.send(&frame(PONG, &payload));

    let mut closing = Client::open(server.address);
    closing.send(&[frame(TEXT, b"hello"), frame(PING, b"12345678")].concat());
    assert_eq!(closing.frame(), (PONG, b"12345678".to_vec()));
    closing.send(&close(4321, "bye"));
    closing.frame();
    closing.expect_end();

    let mut violator = Client::open(server.address);
    violator.send(&frame(TEXT, b"more than ten"));
    assert_eq!(violator.frame().0, support::CLOSE);
    drop(violator);
    drop(Client::open(server.address));
    Client::connect(server.address).request("GET /else HTTP/1.1\r\nHost: a\r\n\r\n");

    // A permit is released when its connection closes, shortly after the close record.
    wait_until("three sessions are closed and the pong is counted", || {
        let samples = scrape(&server);
        samples["ws_status_sessions"] == 1.0
            && samples["ws_status_connections"] == 1.0
            && samples["ws_status_round_trip_seconds_count"] >= 1.0
    });
    let samples = scrape(&server);
    let of = |series: &str| samples[&format!("ws_status_{series}")];
    assert_eq!(of("sessions_opened_total"), 4.0);
    assert_eq!(of("sessions_closed_total{cause=\"peer_closed\",code=\"4xxx\"}"), 1.0);
    assert_eq!(of("sessions_closed_total{cause=\"too_big\",code=\"1009\"}"), 1.0);
    assert_eq!(of("sessions_closed_total{cause=\"disconnected\",code=\"1006\"}"), 1.0);
    assert_eq!(of("session_duration_seconds_count"), 3.0);
    assert_eq!(of("handshakes_refused_total{refusal=\"not_found\"}"), 1.0);
    let bytes = of("payload_bytes_total{direction=\"received\"}");
    assert_eq!(bytes, 5.0 + 8.0 + 5.0 + 4.0);
    assert_eq!(of("messages_total{direction=\"received\"}"), 1.0);
    assert_eq!(of("messages_total{direction=\"sent\"}"), 0.0);
    // The ping, the close and the pong; the pong, the two closes and the pings.
    assert_eq!(of("control_frames_total{direction=\"received\"}"), 3.0);
    assert!(of("control_frames_total{direction=\"sent\"}") >= 4.0);
    assert_eq!((of("ready"), of("connections"), of("panics_total")), (1.0, 1.0, 0.0));
    assert_eq!(of("connections_max"), 19_744.0);
    if cfg!(target_os = "linux") {
        assert!(samples["process_open_fds"] > 5.0);
        assert!(samples["process_resident_memory_bytes"] > 1e6);
    }
}

#[derive(Debug)]
struct PanickingCollector;

impl Collector for PanickingCollector {
    fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
        panic!("the collector panics");
    }
}

#[test]
fn a_program_adds_metrics_with_a_prefix_of_its_own_to_both_formats() {
    let published = Counter::<u64>::default();
    let register = |registry: &mut Registry| {
        let registry = registry.sub_registry_with_prefix("example");
        registry.register("published", "States that were published", published.clone());
    };
    let program = server::Server::status(Discard).metrics(register);
    let server = Server::start_server(program, ADMIN);
    published.inc_by(3);
    for accept in ["text/plain", "application/openmetrics-text"] {
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        let (_, _, body) = send(server.admin.unwrap(), &request);
        assert!(body.contains("\nexample_published_total 3\n"), "{body}");
        assert!(body.contains("\nws_status_sessions 0\n"), "{body}");
    }
    assert_eq!(
        Client::connect(server.address).request(&UPGRADE.replace("/ws/status", "/metrics")).0,
        404
    );
}

#[test]
fn a_collector_that_panics_ends_its_scrape_and_nothing_else() {
    let register = |registry: &mut Registry| {
        registry.register_collector(Box::new(PanickingCollector));
    };
    let program = server::Server::status(Discard).metrics(register);
    let server = Server::start_server(program, ADMIN);
    let mut stream = TcpStream::connect(server.admin.unwrap()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    assert_eq!(response, b"");
    assert_eq!(get(&server, "/livez").0, 200);
    Client::open(server.address);
}

/// A handler that panics or closes, as a message says.
#[derive(Clone, Default)]
struct PanicsOrCloses(Option<CloseCode>);

impl Handler for PanicsOrCloses {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        let close = self.0.take().map(|code| Next::Close(code, "as requested".into()));
        close.map_or(Poll::Pending, Poll::Ready)
    }

    fn receive(&mut self, message: Message) {
        assert_ne!(message, Message::Text("panic".into()), "the handler panics");
        self.0 = Some(CloseCode::TRY_AGAIN_LATER);
    }
}

#[test]
fn panics_and_closes_of_a_handler_are_counted() {
    let server = Server::start_with(PanicsOrCloses::default(), ADMIN);
    for (text, code) in [("panic", 1011), ("close", 1013)] {
        let mut client = Client::open(server.address);
        client.send(&frame(TEXT, text.as_bytes()));
        let (_, payload) = client.frame();
        assert_eq!(payload[..2], u16::to_be_bytes(code));
        client.send(&close(code, ""));
        client.expect_end();
    }
    wait_until("both are counted", || scrape(&server)["ws_status_sessions"] == 0.0);
    let samples = scrape(&server);
    assert_eq!(samples["ws_status_panics_total"], 1.0);
    let closed = |cause, code| {
        samples[&format!("ws_status_sessions_closed_total{{cause=\"{cause}\",code=\"{code}\"}}")]
    };
    assert_eq!((closed("panicked", 1011), closed("handler_closed", 1013)), (1.0, 1.0));
}

/// A handler whose clone panics while the flag is set.
#[derive(Default)]
struct PanicsInClone(Arc<AtomicBool>);

impl Clone for PanicsInClone {
    fn clone(&self) -> Self {
        assert!(!self.0.load(Ordering::SeqCst), "the clone panics");
        Self(Arc::clone(&self.0))
    }
}

impl Handler for PanicsInClone {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {}
}

#[test]
fn a_panic_in_the_clone_of_a_handler_is_a_500_and_the_server_goes_on() {
    let panics = Arc::new(AtomicBool::new(true));
    let server = Server::start_with(PanicsInClone(Arc::clone(&panics)), ADMIN);
    let mut client = Client::connect(server.address);
    let (status, _, body) = client.request(UPGRADE);
    assert_eq!((status, body.split(':').next()), (500, Some("internal_error")));
    panics.store(false, Ordering::SeqCst);
    client.expect_end();
    assert_eq!(Client::connect(server.address).request(UPGRADE).0, 101);
    let samples = scrape(&server);
    assert_eq!(samples["ws_status_panics_total"], 1.0);
    assert_eq!(samples["ws_status_handshakes_refused_total{refusal=\"internal_error\"}"], 1.0);
}
