//! The admin listener over real sockets: who may ask what, and whether the answers are true.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::server::Server;
use support::{Client, PING, PONG, TEXT, UPGRADE, close, document, frame, header, table, word};
use transport::ws_core::{Cause, CloseCode};
use transport::{Handler, Message, Next, Rejection};

const ADMIN: &[&str] = &["--admin-listen", "127.0.0.1:0"];

/// A server that is ready.
fn server(flags: &[&str]) -> Server {
    let server = Server::start(&[ADMIN, flags].concat());
    wait_until("it is ready", || get(&server, "/readyz").0 == 200);
    server
}

/// The status, the head and the body of the answer to a request.
fn ask(admin: SocketAddr, request: &str) -> (u16, String, String) {
    Client::connect(admin).request(request)
}

fn get(server: &Server, target: &str) -> (u16, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (status, _, body) = ask(server.admin.unwrap(), &request);
    (status, body)
}

fn get_json(server: &Server, target: &str) -> Value {
    let (status, body) = get(server, target);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn post_drain(server: &Server, query: &str) -> Value {
    let request = format!("POST /drain{query} HTTP/1.1\r\nHost: localhost\r\nX-Drain: 1\r\n\r\n");
    let (status, _, body) = ask(server.admin.unwrap(), &request);
    assert_eq!(status, 202, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The samples of a scrape: a name with its labels, and a value.
fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let (status, body) = get(server, "/metrics");
    assert_eq!(status, 200);
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Waits until something is true, which it soon is.
fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_true() {
        assert!(Instant::now() < until, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn health_says_whether_new_sessions_are_welcome() {
    let mut server = server(&["--drain-delay-secs", "1", "--close-timeout-secs", "0.2"]);
    assert_eq!(get(&server, "/livez"), (200, "live\n".to_owned()));
    assert_eq!(get(&server, "/readyz"), (200, "ready\n".to_owned()));
    server.begin_stop();
    wait_until("it is asked to stop", || get(&server, "/readyz").0 == 503);
    assert_eq!(get(&server, "/readyz").1, "draining\n");
    assert_eq!(get(&server, "/livez").0, 200);
    // The delay is for those who have not heard of it yet.
    let mut late = Client::open(server.address);
    late.answer_drain();
    let admin = server.admin.unwrap();
    assert!(server.stopped().duration >= Duration::from_secs(1));
    assert!(TcpStream::connect(admin).is_err(), "it ends with the server");
}

#[test]
fn only_who_names_it_rightly_and_asks_for_what_is_there_gets_an_answer() {
    let server = server(&["--admin-host", "status.internal"]);
    let admin = server.admin.unwrap();
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:9090", "[::1]:9090", "Status.Internal:80"] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(ask(admin, &request).0, 200, "{host}");
    }
    // What a page elsewhere would send after its name was pointed here.
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1.", "1"]
    {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(ask(admin, &request).0, 403, "{host}");
        let absolute = format!("GET http://{host}/livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(ask(admin, &absolute).0, 403, "{host}");
    }
    // RFC 9112, section 3.2
    for host in [
        "",
        "a@localhost",
        "localhost@localhost",
        "localhost:x",
        "localhost:80:80",
        "[::1]evil",
        "[::1]evil.example:80",
        "[::1]:evil",
        "[::1]]",
        "[127.0.0.1]",
        "[[::1]]",
        "::1",
        "localhost, localhost",
        "localhost\r\nHost: localhost",
    ] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(ask(admin, &request).0, 400, "{host}");
    }
    for head in ["GET /livez HTTP/1.1", "GET http://localhost/livez HTTP/1.1\r\nHost: evil.example"]
    {
        assert_eq!(ask(admin, &format!("{head}\r\n\r\n")).0, 400, "{head}");
    }

    assert_eq!(get(&server, "/nothing").0, 404);
    for (method, path, allowed) in
        [("POST", "/metrics", "get, head"), ("DELETE", "/drain", "get, head, post")]
    {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (status, head, _) = ask(admin, &request);
        assert_eq!((status, header(&head, "allow")), (405, Some(allowed)));
    }
    // The two never share a port, in either direction.
    assert_eq!(get(&server, server::PATH).0, 404);
    let metrics = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(Client::connect(server.address).request(metrics).0, 404);
}

#[test]
fn a_drain_wants_its_header_and_no_origin_and_a_code_that_brings_clients_back() {
    let server = server(&[]);
    let admin = server.admin.unwrap();
    for (headers, query, status) in [
        ("", "", 403),
        ("X-Drain: 0\r\n", "", 403),
        ("X-Drain: 1\r\nOrigin: http://localhost\r\n", "", 403),
        ("X-Drain: 1\r\nOrigin: null\r\n", "", 403),
        ("X-Drain: 1\r\n", "?code=1000", 400),
        ("X-Drain: 1\r\n", "?code=", 400),
        ("X-Drain: 1\r\n", "?now", 400),
    ] {
        let request = format!("POST /drain{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        assert_eq!(ask(admin, &request).0, status, "{headers} {query}");
    }
    assert_eq!(get_json(&server, "/drain")["state"], "ready");
    assert_eq!(get_json(&server, "/drain").as_object().unwrap().len(), 2);
}

#[test]
fn a_drain_by_the_admin_listener_is_the_same_and_its_progress_can_be_watched() {
    let server = server(&["--drain-delay-secs", "0.5", "--drain-spread-secs", "1"]);
    let clients: Vec<Client> = (0..20).map(|_| Client::open(server.address)).collect();
    wait_until("all are open", || get_json(&server, "/drain")["open"] == 20);
    let begin = Instant::now();
    let progress = post_drain(&server, "?code=1012");
    assert_eq!((&progress["state"], &progress["code"]), (&"draining".into(), &1012.into()));
    assert_eq!((&progress["delay_ms"], &progress["spread_ms"]), (&500.0.into(), &1000.0.into()));
    // Whoever asks again is told the same, and changes nothing.
    assert_eq!(post_drain(&server, "?code=1001")["code"], 1012);

    let mut ends = Vec::new();
    for mut client in clients {
        ends.push(thread::spawn(move || {
            assert_eq!(client.frame(), (support::CLOSE, support::close_payload(1012, "drained")));
            let told = begin.elapsed();
            client.send(&close(1012, ""));
            client.expect_end();
            told.as_secs_f64()
        }));
    }
    wait_until("half of them are closed", || {
        get_json(&server, "/drain")["clean"].as_u64() >= Some(10)
    });
    let samples = scrape(&server);
    let remaining = samples["ws_status_drain_remaining"];
    assert!((1.0..=10.0).contains(&remaining), "{remaining}");
    assert_eq!(samples["ws_status_ready"], 0.0);
    let mut ends: Vec<f64> = ends.into_iter().map(|end| end.join().unwrap()).collect();
    ends.sort_by(f64::total_cmp);
    assert!((0.5..0.7).contains(&ends[0]) && (1.3..1.8).contains(&ends[19]), "{ends:?}");
    let largest = ends.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(largest < 0.25, "they leave one after the other: {ends:?}");
    let stopped = server.stopped();
    assert_eq!((stopped.clean, stopped.timed_out, stopped.aborted), (20, 0, 0));
}

/// The types and the names of the labels of a scrape, without those of buckets.
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
fn names_types_and_labels_are_those_of_the_contract() {
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
fn a_reader_gets_open_metrics_if_it_prefers_that() {
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
        let (_, head, body) = ask(server.admin.unwrap(), &request);
        let kind = if is_open {
            "application/openmetrics-text; version=1.0.0"
        } else {
            "text/plain; version=0.0.4"
        };
        assert!(header(&head, "content-type").unwrap().starts_with(kind), "{accept}: {head}");
        assert_eq!(body.ends_with("# EOF\n"), is_open);
        // OpenMetrics names the family, and Prometheus the series.
        assert_eq!(body.contains("# TYPE ws_status_sessions_opened counter\n"), is_open);
        assert!(body.contains("\nws_status_sessions_opened_total 0\n"));
    }
}

#[test]
fn every_cause_and_every_refusal_is_counted_by_its_word_from_the_beginning() {
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
fn the_metrics_are_what_the_clients_did() {
    let server = server(&["--ping-interval-secs", "0.2", "--max-message-bytes", "10"]);
    let mut stays = Client::open(server.address);
    let (first, payload) = stays.frame();
    assert_eq!((first, payload.len()), (PING, 4));
    stays.send(&frame(PONG, &payload));

    let mut talks = Client::open(server.address);
    talks.send(&[frame(TEXT, b"hello"), frame(PING, b"12345678")].concat());
    assert_eq!(talks.frame(), (PONG, b"12345678".to_vec()));
    talks.send(&close(4321, "bye"));
    talks.frame();
    talks.expect_end();

    let mut shouts = Client::open(server.address);
    shouts.send(&frame(TEXT, b"more than ten"));
    assert_eq!(shouts.frame().0, support::CLOSE);
    drop(shouts);
    drop(Client::open(server.address));
    Client::connect(server.address).request("GET /else HTTP/1.1\r\nHost: a\r\n\r\n");

    // A place comes back when its connection is closed, which is a moment behind the record.
    wait_until("the three are gone, and the pong is told", || {
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
    // The text, the ping and the close; and the pong, which may be told by now or may not.
    let bytes = of("payload_bytes_total{direction=\"received\"}");
    assert!(bytes >= 5.0 + 8.0 + 5.0, "{bytes}");
    assert!(of("messages_total{direction=\"received\"}") >= 3.0);
    assert!(of("messages_total{direction=\"sent\"}") >= 3.0);
    assert_eq!((of("ready"), of("connections"), of("panics_total")), (1.0, 1.0, 0.0));
    assert_eq!(of("connections_max"), 19_744.0);
    if cfg!(target_os = "linux") {
        assert!(samples["process_open_fds"] > 5.0);
        assert!(samples["process_resident_memory_bytes"] > 1e6);
    }
}

/// Does what a message says.
#[derive(Clone, Default)]
struct Obedient(Option<CloseCode>);

impl Handler for Obedient {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        let close = self.0.take().map(|code| Next::Close(code, "as told".into()));
        close.map_or(Poll::Pending, Poll::Ready)
    }

    fn receive(&mut self, message: Message) {
        assert_ne!(message, Message::Text("panic".into()), "as it was told to");
        self.0 = Some(CloseCode::TRY_AGAIN_LATER);
    }
}

#[test]
fn what_a_handler_does_is_counted_too() {
    let server = Server::start_with(Obedient::default(), ADMIN);
    for (word, code) in [("panic", 1011), ("close", 1013)] {
        let mut client = Client::open(server.address);
        client.send(&frame(TEXT, word.as_bytes()));
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

/// Cannot be cloned while that is so.
#[derive(Default)]
struct Unique(Arc<AtomicBool>);

impl Clone for Unique {
    fn clone(&self) -> Self {
        assert!(!self.0.load(Ordering::SeqCst), "there is one of it");
        Self(Arc::clone(&self.0))
    }
}

impl Handler for Unique {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        Poll::Pending
    }

    fn receive(&mut self, _: Message) {}
}

#[test]
fn a_handler_that_cannot_be_cloned_is_a_500_and_its_connection_goes_on() {
    let cannot = Arc::new(AtomicBool::new(true));
    let server = Server::start_with(Unique(Arc::clone(&cannot)), ADMIN);
    let mut client = Client::connect(server.address);
    let (status, _, body) = client.request(UPGRADE);
    assert_eq!((status, body.split(':').next()), (500, Some("internal_error")));
    cannot.store(false, Ordering::SeqCst);
    assert_eq!(client.request(UPGRADE).0, 101);
    let samples = scrape(&server);
    assert_eq!(samples["ws_status_panics_total"], 1.0);
    assert_eq!(samples["ws_status_handshakes_refused_total{refusal=\"internal_error\"}"], 1.0);
}

#[test]
fn who_is_connected_is_shown_in_pages_if_that_is_wanted() {
    let without = server(&[]);
    assert_eq!(get(&without, "/connections").0, 404);

    let server =
        server(&["--connection-table=on", "--ping-interval-secs=0.2", "--allowed-origins=*"]);
    let mut clients: Vec<Client> = (0..5)
        .map(|number| {
            let mut client = Client::connect(server.address);
            let origin = format!("Host: a\r\nOrigin: https://{number}.example");
            assert_eq!(client.request(&UPGRADE.replace("Host: a", &origin)).0, 101);
            client
        })
        .collect();
    let third = clients[2].0.local_addr().unwrap();
    clients[2].send(&frame(TEXT, b"abc"));
    // The clients are strangers to the order in which the server took them in.
    for client in &mut clients {
        let (first, payload) = client.frame();
        assert_eq!(first, PING);
        client.send(&frame(PONG, &payload));
    }
    let row = |id: &mut u64| {
        let all = get_json(&server, "/connections");
        let rows = all["connections"].as_array().unwrap();
        let row = rows.iter().find(|row| row["peer"] == third.to_string()).unwrap().clone();
        *id = row["id"].as_u64().unwrap();
        row
    };
    let mut id = 0;
    // As of its second ping.
    wait_until("the pong and the text are told", || row(&mut id)["messages_in"] == 2);
    let row = row(&mut id);
    assert_eq!((&row["bytes_in"], &row["origin"]), (&7.into(), &"https://2.example".into()));
    assert!(row["rtt_ms"].as_f64().unwrap() > 0.0 && row["age_ms"].as_f64().unwrap() > 100.0);

    let (mut after, mut ids) = (0, Vec::new());
    loop {
        let page = get_json(&server, &format!("/connections?limit=2&after={after}"));
        assert_eq!(page["total"], 5);
        let rows = page["connections"].as_array().unwrap();
        assert!(rows.len() <= 2);
        ids.extend(rows.iter().map(|row| row["id"].as_u64().unwrap()));
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    for query in ["limit=0", "limit=1001", "limit=x", "after=-1", "before=3", "limit"] {
        assert_eq!(get(&server, &format!("/connections?{query}")).0, 400, "{query}");
    }
    drop(clients);
    wait_until("nobody is left", || get_json(&server, "/connections")["total"] == 0);
}

#[test]
fn the_page_is_one_file_that_lets_nothing_else_in() {
    let server = server(&[]);
    let (status, head, body) =
        ask(server.admin.unwrap(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((status, header(&head, "content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = header(&head, "content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!body.contains(outside), "{outside}");
    }
    // What it asks for by name is there.
    let (_, metrics) = get(&server, "/metrics");
    let names = body
        .split('"')
        .filter(|text| text.starts_with("ws_status_") || text.starts_with("process_"));
    let mut count = 0;
    for name in names {
        count += 1;
        assert!(metrics.contains(&format!("\n{name}")), "{name}");
    }
    assert!(count >= 10, "{count}");
}

#[test]
fn a_unix_socket_is_for_its_user_alone_and_goes_away_with_the_server() {
    // Not in the target folder, whose path may be too long for a socket's name.
    let folder = std::env::temp_dir().join(format!("ws-status-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("admin.sock");
    let flags = [&format!("--admin-listen=unix:{}", path.display())[..]];
    // What a process that was killed has left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

    let mut server = Server::start(&flags);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = |path: &Path| {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    wait_until("it is ready", || ask(&path).starts_with("HTTP/1.1 200 OK\r\n"));
    server.begin_stop();
    server.stopped();
    assert!(!path.exists());
    fs::remove_dir(&folder).unwrap();
}

#[test]
fn slow_and_many_askers_do_not_keep_the_others_out_for_long() {
    let server = server(&[]);
    let admin = server.admin.unwrap();
    // More than are answered at a time, and none of them says a word.
    let mut silent: Vec<TcpStream> = (0..70).map(|_| TcpStream::connect(admin).unwrap()).collect();
    silent[0].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let begin = Instant::now();
    assert_eq!(get(&server, "/livez").0, 200);
    assert!(begin.elapsed() < Duration::from_secs(9));
    assert_eq!(silent[0].read(&mut [0]).unwrap_or(0), 0, "it was let go");
    // Sessions do not notice.
    Client::open(server.address).send(&close(1000, ""));
}
