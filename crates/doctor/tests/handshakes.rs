//! Handshakes that are refused, changed or not answered: each has one finding, which names the cause.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doctor::Severity::{Failure, Warning};
use support::{Gateway, Server, answering, examine, expect_only, finding, read_head, serve};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

const ORIGIN: &str = "https://app.example.com";

/// Examines a server through a gateway that changes the head of requests.
async fn through(request: fn(&str) -> String, options: &[&str]) -> doctor::Report {
    let server = Server::start(&["--allowed-origins", ORIGIN]);
    let url = Gateway { request, ..Gateway::PLAIN }.start(server.address).await;
    examine(&url, options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_upgrade_header_is_named() {
    let report = through(|head| head.replace("Upgrade: websocket\r\n", ""), &[]).await;
    expect_only(&report, Failure, "not_an_upgrade", "proxy_set_header Upgrade $http_upgrade;");
    assert!(!report.text().contains("proxy_set_header Connection"), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_connection_header_is_named() {
    let report =
        through(|head| head.replace("Connection: Upgrade", "Connection: close"), &[]).await;
    expect_only(&report, Failure, "not_an_upgrade", "proxy_set_header Connection");
    assert!(!report.text().contains("proxy_set_header Upgrade"), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_of_http_is_named() {
    let report = through(|head| head.replace("HTTP/1.1", "HTTP/1.0"), &[]).await;
    expect_only(&report, Failure, "http_version", "proxy_http_version 1.1;");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_path_is_named() {
    let report = through(|head| head.replace("/ws/status", "/status"), &[]).await;
    expect_only(&report, Failure, "not_found", "proxy_pass http://ws_status; without a path");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_named() {
    let report = through(|head| head.replace("Sec-WebSocket-Key", "X-Key"), &[]).await;
    expect_only(&report, Failure, "bad_key", "Sec-WebSocket-");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_origin_lets_every_page_in() {
    let report =
        through(|head| head.replace("Origin: ", "X-Origin: "), &["--origin", ORIGIN]).await;
    expect_only(&report, Failure, "origin_lost", "Origin $http_origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_origin_is_named_where_the_server_requires_one() {
    let server = Server::start(&["--allowed-origins", ORIGIN, "--missing-origin=refuse"]);
    let request = |head: &str| head.replace("Origin: ", "X-Origin: ");
    let url = Gateway { request, ..Gateway::PLAIN }.start(server.address).await;
    let report = examine(&url, &["--origin", ORIGIN]).await;
    expect_only(&report, Failure, "origin_dropped", "Origin $http_origin");
    let report = examine(&server.url(), &[]).await;
    expect_only(&report, Failure, "origin_missing", "--origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_not_allowed_is_named_and_the_rest_is_examined() {
    let server = Server::start(&["--allowed-origins", ORIGIN]);
    let other = "https://other.example.com";
    let report = examine(&server.url(), &["--origin", other]).await;
    expect_only(
        &report,
        Failure,
        "origin_refused",
        "WS_STATUS_ALLOWED_ORIGINS=https://other.example.com",
    );
    finding(&report, "pings_answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_is_a_warning_if_the_settings_are_not_known() {
    let report = through(|head| head.replace("Host: ", "Host: ws_status\r\nX-Host: "), &[]).await;
    expect_only(&report, Warning, "host_changed", "proxy_set_header Host $http_host;");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_is_a_failure_where_self_is_allowed() {
    let server = Server::start(&["--allowed-origins", "self"]);
    let request = |head: &str| head.replace("Host: ", "Host: ws_status\r\nX-Host: ");
    let url = Gateway { request, ..Gateway::PLAIN }.start(server.address).await;
    let report = examine(&url, &[&server.admin_option()]).await;
    let it = finding(&report, "host_changed");
    assert_eq!(it.severity, Failure, "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_something_else_is_told_apart_by_its_status() {
    for (answer, word, line) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "plain_answer", "location = /ws/status"),
        ("HTTP/1.1 301 Moved\r\nLocation: https://a/\r\n\r\n", "redirected", "no return 301"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "bad_request", "without send-proxy"),
        ("HTTP/1.1 400 Bad Request\r\n\r\nno", "bad_request", "Upgrade $http_upgrade"),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n<h1>The plain HTTP request was sent to HTTPS port</h1>",
            "speaks_tls",
            "wss://",
        ),
        ("HTTP/1.1 403 Forbidden\r\n\r\nno", "access_denied", "auth_request"),
        ("HTTP/1.1 404 Not Found\r\n\r\n<html>", "not_forwarded", "use_backend"),
        ("HTTP/1.1 426 Upgrade Required\r\n\r\n", "upgrade_required", "Upgrade $http_upgrade"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "upstream_unavailable", "send-proxy-v2"),
        ("HTTP/1.1 503 Unavailable\r\n\r\n", "upstream_unavailable", "/readyz"),
        ("HTTP/1.1 418 Teapot\r\n\r\n", "other_answer", "log"),
        ("\u{15}\u{3}\u{1}\0\u{2}\u{2}F", "speaks_tls", "wss://"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "not_http", "port"),
        ("HTTP/1.1 101 Swi", "answer_cut", "upstream"),
        ("", "closed_without_answer", "send-proxy-v2"),
    ] {
        let url = answering(answer).await;
        let report = examine(&url, &[]).await;
        expect_only(&report, Failure, word, line);
        assert_eq!(report.exit_code(), 3);
        assert!(!report.unanswered().is_empty(), "{}", report.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_a_peer_is_escaped() {
    let url = answering("HTTP/1.1 418 Teapot\r\n\r\n\u{1b}[31mred\u{202e}").await;
    let report = examine(&url, &[]).await;
    for text in [report.text(), report.json()] {
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
    assert!(report.text().contains("\\u{1b}[31mred"), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_named() {
    let url =
        serve(|mut stream| async move { while read_head(&mut stream).await.is_some() {} }).await;
    expect_only(&examine(&url, &[]).await, Failure, "no_answer", "proxy_buffering");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_arrives_byte_by_byte_is_named() {
    let url = serve(|mut stream| async move {
        read_head(&mut stream).await;
        for byte in b"HTTP/1.1 101 Switching Protocols\r\n".repeat(10) {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    expect_only(&examine(&url, &[]).await, Failure, "slow_answer", "proxy_buffering");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_headers_are_not_read_to_their_end() {
    let url = serve(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await;
        let line = [b"X: ".as_slice(), &[b'x'; 1000], b"\r\n"].concat();
        while stream.write_all(&line).await.is_ok() {}
    })
    .await;
    expect_only(&examine(&url, &[]).await, Failure, "endless_head", "fewer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_101_that_does_not_answer_the_key_is_named() {
    let url = answering(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )
    .await;
    let report = examine(&url, &[]).await;
    assert_eq!(finding(&report, "accept_wrong").severity, Failure, "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_held_back_until_there_is_more_to_forward_is_named() {
    let server = Server::start(&[]).address;
    let url = serve(move |mut client| async move {
        let Some(head) = read_head(&mut client).await else { return };
        // The whole of the next bytes is waited for.
        if client.peek(&mut [0]).await.is_err() {
            return;
        }
        let mut upstream = tokio::net::TcpStream::connect(server).await.unwrap();
        upstream.write_all(head.as_bytes()).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
    })
    .await;
    expect_only(&examine(&url, &[]).await, Failure, "answer_held_back", "proxy_buffering");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_handshakes_is_told_apart_from_a_server_that_is_down() {
    let server = Server::start(&[]).address;
    let accepted = Arc::new(AtomicUsize::new(0));
    let url = serve(move |mut client| {
        let accepted = Arc::clone(&accepted);
        async move {
            // The first connection only shows that the port is open.
            if accepted.fetch_add(1, Ordering::Relaxed) < 2 {
                Gateway::PLAIN.forward(client, server).await;
            } else if read_head(&mut client).await.is_some() {
                let _ =
                    client.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\nslow down").await;
            }
        }
    })
    .await;
    let report = examine(&url, &[]).await;
    assert_eq!(finding(&report, "limited").severity, Failure, "{}", report.text());
    assert!(report.text().contains("nginx: limit_req"), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_listens_there() {
    let report = examine("ws://127.0.0.1:1", &[]).await;
    expect_only(&report, Failure, "refused_connection", "port 1");
    let report = examine("ws://doctor.invalid", &[]).await;
    expect_only(&report, Failure, "unresolved", "DNS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_whose_text_was_replaced_is_found_by_the_admin_listener() {
    let server = Server::start(&["--trusted-proxies=127.0.0.1", "--proxy-protocol=required"]);
    let address = server.address;
    let url = serve(move |mut client| async move {
        let Some(head) = read_head(&mut client).await else { return };
        let mut upstream = tokio::net::TcpStream::connect(address).await.unwrap();
        upstream.write_all(head.as_bytes()).await.unwrap();
        let _ = read_head(&mut upstream).await;
        let _ = client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    })
    .await;
    let report = examine(&url, &[&server.admin_option()]).await;
    expect_only(&report, Failure, "bad_proxy_header", "send-proxy-v2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_reach_the_server_is_told_by_the_admin_listener() {
    let server = Server::start(&[]);
    let url = answering("HTTP/1.1 404 Not Found\r\n\r\n<html>").await;
    let report = examine(&url, &[&server.admin_option()]).await;
    expect_only(&report, Failure, "not_forwarded", "location = /ws/status");
    assert!(report.text().contains("did not reach that server"), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_pages_see_is_named_as_the_refusal() {
    let flags = ["--allowed-origins", ORIGIN, "--visible-refusals=true", "--max-connections=1"];
    let server = Server::start(&flags);
    let mut session = TcpStream::connect(server.address).await.unwrap();
    let request = "GET /ws/status HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    session.write_all(request.as_bytes()).await.unwrap();
    assert!(read_head(&mut session).await.unwrap().contains("101"));
    let report = examine(&server.url(), &["--origin", ORIGIN]).await;
    expect_only(&report, Failure, "connection_limit", "WS_STATUS_MAX_CONNECTIONS");
    assert!(
        report.text().contains("at once a Close with 1013 \"connection_limit\""),
        "{}",
        report.text()
    );
}
