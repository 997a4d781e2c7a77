//! The admin listener over real sockets: health, access, drains, the connection table and the page.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use support::admin::{get, get_json, post_drain, scrape, send, server, wait_until};
use support::server::Server;
use support::{Client, PING, PONG, TEXT, UPGRADE, close, document, frame, header, table, word};

#[test]
fn readyz_reports_whether_the_server_accepts_sessions() {
    let mut server = server(&["--drain-delay-secs", "1", "--close-timeout-secs", "0.2"]);
    assert_eq!(get(&server, "/livez"), (200, "live\n".to_owned()));
    assert_eq!(get(&server, "/readyz"), (200, "ready\n".to_owned()));
    server.begin_shutdown();
    wait_until("the shutdown begins", || get(&server, "/readyz").0 == 503);
    assert_eq!(get(&server, "/readyz").1, "draining\n");
    assert_eq!(get(&server, "/livez").0, 200);
    // During the drain delay, new clients are still accepted.
    let mut late = Client::open(server.address);
    late.answer_drain();
    let admin = server.admin.unwrap();
    assert!(server.join().duration >= Duration::from_secs(1));
    assert!(TcpStream::connect(admin).is_err(), "the admin listener ends with the server");
}

#[test]
fn a_request_needs_an_allowed_host_a_known_path_and_an_allowed_method() {
    let server = server(&["--admin-host", "status.internal"]);
    let admin = server.admin.unwrap();
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:9090", "[::1]:9090", "Status.Internal:80"] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(send(admin, &request).0, 200, "{host}");
    }
    // Hosts that a DNS rebinding attack would send.
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1.", "1"]
    {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(send(admin, &request).0, 403, "{host}");
        let absolute = format!("GET http://{host}/livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(send(admin, &absolute).0, 403, "{host}");
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
        assert_eq!(send(admin, &request).0, 400, "{host}");
    }
    for head in ["GET /livez HTTP/1.1", "GET http://localhost/livez HTTP/1.1\r\nHost: evil.example"]
    {
        assert_eq!(send(admin, &format!("{head}\r\n\r\n")).0, 400, "{head}");
    }

    assert_eq!(get(&server, "/nothing").0, 404);
    for (method, path, allowed) in
        [("POST", "/metrics", "get, head"), ("DELETE", "/drain", "get, head, post")]
    {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (status, head, _) = send(admin, &request);
        assert_eq!((status, header(&head, "allow")), (405, Some(allowed)));
    }
    // The routes of the two listeners are separate.
    assert_eq!(get(&server, server::PATH).0, 404);
    let metrics = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(Client::connect(server.address).request(metrics).0, 404);
}

#[test]
fn a_drain_request_needs_its_header_no_origin_and_a_valid_code() {
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
        assert_eq!(send(admin, &request).0, status, "{headers} {query}");
    }
    assert_eq!(get_json(&server, "/drain")["state"], "ready");
    assert_eq!(get_json(&server, "/drain").as_object().unwrap().len(), 2);
}

#[test]
fn a_drain_request_starts_the_shutdown_and_its_progress_is_reported() {
    let server = server(&["--drain-delay-secs", "0.5", "--drain-spread-secs", "1"]);
    let clients: Vec<Client> = (0..20).map(|_| Client::open(server.address)).collect();
    wait_until("all are open", || get_json(&server, "/drain")["open"] == 20);
    let begin = Instant::now();
    let progress = post_drain(&server, "?code=1012");
    assert_eq!((&progress["state"], &progress["code"]), (&"draining".into(), &1012.into()));
    assert_eq!((&progress["delay_ms"], &progress["spread_ms"]), (&500.0.into(), &1000.0.into()));
    // A second request gets the same answer and changes nothing.
    assert_eq!(post_drain(&server, "?code=1001")["code"], 1012);

    let mut ends = Vec::new();
    for mut client in clients {
        ends.push(thread::spawn(move || {
            assert_eq!(client.frame(), (support::CLOSE, support::close_payload(1012, "drained")));
            let closed_after = begin.elapsed();
            client.send(&close(1012, ""));
            client.expect_end();
            closed_after.as_secs_f64()
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
    assert!(largest < 0.25, "sessions close evenly: {ends:?}");
    let summary = server.join();
    assert_eq!((summary.clean, summary.timed_out, summary.aborted), (20, 0, 0));
}

#[test]
fn the_connection_table_is_paginated_and_off_by_default() {
    let without = server(&[]);
    assert_eq!(get(&without, "/connections").0, 404);

    let server =
        server(&["--connection-table=true", "--ping-interval-secs=0.2", "--allowed-origins=*"]);
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
    // The IDs follow the order in which the server accepted the clients, which may differ from this one.
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
    // Counted when the second ping is sent.
    wait_until("the pong and the text are counted", || row(&mut id)["bytes_in"] == 7);
    let row = row(&mut id);
    assert_eq!((&row["messages_in"], &row["origin"]), (&1.into(), &"https://2.example".into()));
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
    wait_until("all sessions are closed", || get_json(&server, "/connections")["total"] == 0);
}

#[test]
fn the_status_page_is_self_contained() {
    let server = server(&[]);
    let (status, head, body) =
        send(server.admin.unwrap(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((status, header(&head, "content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = header(&head, "content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!body.contains(outside), "{outside}");
    }
    // The metrics that the page uses exist, here or in a program that sends states.
    let (_, metrics) = get(&server, "/metrics");
    let of_states = table(&document("metrics.md"), "## Metrics of states");
    let is_of_states = |name: &str| of_states.iter().any(|row| name.starts_with(&word(&row[0])));
    let names = body
        .split('"')
        .filter(|text| text.starts_with("ws_status_") || text.starts_with("process_"));
    let mut count = 0;
    for name in names {
        count += 1;
        assert!(metrics.contains(&format!("\n{name}")) || is_of_states(name), "{name}");
    }
    assert!(count >= 10, "{count}");
}

#[test]
fn a_unix_socket_is_private_to_its_user_and_removed_at_the_end() {
    // Not in the target folder, whose path may be too long for a socket address.
    let folder = std::env::temp_dir().join(format!("ws-status-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("admin.sock");
    let flags = [&format!("--admin-listen=unix:{}", path.display())[..]];
    // The socket file of a killed process.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

    let mut server = Server::start(&flags);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let readyz = |path: &Path| {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    };
    wait_until("it is ready", || readyz(&path).starts_with("HTTP/1.1 200 OK\r\n"));
    server.begin_shutdown();
    server.join();
    assert!(!path.exists());
    fs::remove_dir(&folder).unwrap();
}

#[test]
fn many_silent_connections_delay_other_requests_only_briefly() {
    let server = server(&[]);
    let admin = server.admin.unwrap();
    // More connections than are served at a time, all without a request.
    let mut silent: Vec<TcpStream> = (0..70).map(|_| TcpStream::connect(admin).unwrap()).collect();
    silent[0].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let begin = Instant::now();
    assert_eq!(get(&server, "/livez").0, 200);
    assert!(begin.elapsed() < Duration::from_secs(9));
    assert_eq!(silent[0].read(&mut [0]).unwrap_or(0), 0, "the silent connection is closed");
    // Clients are not affected.
    Client::open(server.address).send(&close(1000, ""));
}
