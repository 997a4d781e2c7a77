//! What goes wrong on an open session: lost, late and collected frames, and connections that are cut.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use doctor::Severity::{Failure, Note, Warning};
use support::{Flow, Gateway, Server, examine, expect_only, finding, read_head, serve};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// The first bytes of frames of the server.
const PING: &[u8] = b"\x89\x04";
const PONG: &[u8] = b"\x8a";
const CLOSE: &[u8] = b"\x88";

async fn through(gateway: Gateway, flags: &[&str], options: &[&str]) -> doctor::Report {
    let server = Server::start(flags);
    let url = gateway.start(server.address).await;
    examine(&url, options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pongs_that_do_not_come_back_are_missed() {
    let gateway = Gateway { back: Flow::Without(PONG), ..Gateway::PLAIN };
    let report = through(gateway, &[], &[]).await;
    expect_only(&report, Failure, "pings_swallowed", "pings, pongs and Close frames");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_wait_for_a_full_buffer_are_collected() {
    let gateway = Gateway { forth: Flow::Collected(1000), ..Gateway::PLAIN };
    let report = through(gateway, &["--pong-timeout-secs=60"], &[]).await;
    assert_eq!(finding(&report, "frames_collected").severity, Failure, "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_late_are_held_back() {
    let gateway = Gateway { back: Flow::Late(Duration::from_millis(700)), ..Gateway::PLAIN };
    // Each delay begins after the one before, so the server sends no pings in between.
    let report = through(gateway, &["--ping-interval-secs=60"], &[]).await;
    assert_eq!(finding(&report, "frames_delayed").severity, Warning, "{}", report.text());
    assert_eq!(finding(&report, "close_delayed").severity, Warning, "{}", report.text());
    assert_eq!(report.exit_code(), 1, "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_far_behind_its_next_hop_is_a_note() {
    let server = Server::start(&["--ping-interval-secs=60"]).address;
    let late = Gateway { back: Flow::Late(Duration::from_millis(700)), ..Gateway::PLAIN };
    // The handshake is as late as the frames.
    let url = serve(move |client| async move {
        sleep(Duration::from_millis(700)).await;
        late.forward(client, server).await;
    })
    .await;
    let report = examine(&url, &[]).await;
    assert_eq!(finding(&report, "slow_path").severity, Note, "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn close_frames_that_are_lost_are_missed() {
    let gateway = Gateway { back: Flow::Without(CLOSE), ..Gateway::PLAIN };
    let report = through(gateway, &[], &[]).await;
    assert_eq!(finding(&report, "close_not_echoed").severity, Warning, "{}", report.text());
    assert_eq!(finding(&report, "close_lost").severity, Warning, "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_of_the_server_that_are_lost_are_missed() {
    let gateway = Gateway { back: Flow::Without(PING), ..Gateway::PLAIN };
    let report = through(gateway, &[], &[]).await;
    expect_only(&report, Warning, "no_server_ping", "WS_STATUS_PING_INTERVAL_SECS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_idle_connections_below_the_ping_interval_is_found() {
    let gateway = Gateway { idle: Some(Duration::from_millis(500)), ..Gateway::PLAIN };
    let report = through(gateway, &["--ping-interval-secs=20"], &["--interval-secs=20"]).await;
    expect_only(&report, Failure, "idle_cut", "proxy_read_timeout");
    let (_, limit) = finding(&report, "idle_cut").measured[0];
    assert!((450.0..3000.0).contains(&limit), "{limit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_whole_duration_is_told_apart_from_one_of_idle_connections() {
    let gateway = Gateway { total: Some(Duration::from_millis(700)), ..Gateway::PLAIN };
    // Before the first ping, and after some.
    for interval in ["20", "0.2"] {
        let flag = format!("--ping-interval-secs={interval}");
        let option = format!("--interval-secs={interval}");
        let report = through(gateway, &[&flag], &[&option, "--idle-secs=2"]).await;
        expect_only(&report, Failure, "total_cut", "stream_timeout");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pongs_of_ours_that_are_lost_are_told_apart_from_an_idle_limit() {
    // A pong of four bytes is an answer to the server.
    let gateway = Gateway { forth: Flow::Without(b"\x8a\x84"), ..Gateway::PLAIN };
    let flags = ["--ping-interval-secs=1", "--pong-timeout-secs=0.4"];
    let report = through(gateway, &flags, &["--interval-secs=1", "--idle-secs=4"]).await;
    expect_only(&report, Failure, "pongs_lost", "pings, pongs and Close frames");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_closes_is_reported_with_its_code() {
    let server = Server::start(&["--max-connection-age-secs=0.7"]);
    let report = examine(&server.url(), &["--idle-secs=3"]).await;
    expect_only(&report, Warning, "idle_closed", "WS_STATUS_MAX_CONNECTION_AGE_SECS");
    assert!(report.text().contains("1001 \"max_age\""), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_that_are_too_rare_for_common_limits_are_a_warning() {
    let server = Server::start(&[]);
    // The settings of another server with a longer interval.
    let other = Server::start(&["--ping-interval-secs=45"]);
    let report = examine(&server.url(), &[&other.admin_option()]).await;
    expect_only(&report, Warning, "pings_too_rare", "WS_STATUS_PING_INTERVAL_SECS=25");
    // The sessions are not in that server's table.
    finding(&report, "session_elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_frame_of_a_server_is_named() {
    for garbage in
        [&b"\x8b\0"[..], b"\x89\x84abcd1234", b"\x89\x7e\xff\xff", b"HTTP/1.1 200 OK\r\n"]
    {
        let server = Server::start(&[]).address;
        let url = serve(move |mut client| async move {
            let Some(head) = read_head(&mut client).await else { return };
            let mut upstream = TcpStream::connect(server).await.unwrap();
            upstream.write_all(head.as_bytes()).await.unwrap();
            let head = read_head(&mut upstream).await.unwrap();
            let _ = client.write_all(&[head.as_bytes(), garbage].concat()).await;
            while client.read_u8().await.is_ok() {}
        })
        .await;
        let report = examine(&url, &[]).await;
        assert_eq!(finding(&report, "not_a_frame").severity, Failure, "{}", report.text());
        // It is not taken for a cut.
        assert!(!report.text().contains("cut without a Close frame"), "{}", report.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_stops_sending_does_not_keep_the_doctor() {
    let server = Server::start(&[]).address;
    let url = serve(move |mut client| async move {
        let Some(head) = read_head(&mut client).await else { return };
        let mut upstream = TcpStream::connect(server).await.unwrap();
        upstream.write_all(head.as_bytes()).await.unwrap();
        let head = read_head(&mut upstream).await.unwrap();
        let _ = client.write_all(head.as_bytes()).await;
        while client.write_all(&b"\x89\0".repeat(1000)).await.is_ok() {}
    })
    .await;
    let report = examine(&url, &["--timeout-secs=0.5"]);
    let report = timeout(Duration::from_secs(30), report).await.unwrap();
    assert_eq!(finding(&report, "pings_swallowed").severity, Failure, "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_not_passed_on_is_missed() {
    let server = Server::start(&[]).address;
    let url = serve(move |mut client| async move {
        let mut upstream = TcpStream::connect(server).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut Unending(&mut upstream)).await;
    })
    .await;
    expect_only(&examine(&url, &[]).await, Warning, "end_not_passed_on", "gateway");
}

/// A stream whose end is not seen.
struct Unending<'a>(&'a mut TcpStream);

impl AsyncRead for Unending<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.0).poll_read(cx, buffer);
        if buffer.filled().len() == before { Poll::Pending } else { polled }
    }
}

impl AsyncWrite for Unending<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}
