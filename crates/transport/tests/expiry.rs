//! The end of a session's permission: it closes the session at its time, and nothing postpones it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/http2_client.rs"]
mod http2_client;
mod support;

use std::future::ready;
use std::time::{Duration, SystemTime};

use endpoint::{AdmitBy, Fixture, request_head, valid_request};
use support::{CLOSE, FloodingHandler, PING, PONG, Peer, TEXT, close, frame};
use tokio::io::duplex;
use tokio::time::{Instant, sleep};
use transport::{Admission, Admit, Discard, DrainOptions, Handler, Handshake};

const PIPE_BYTES: usize = 64 * 1024;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Admits everybody with such a handler, until this time.
fn until<H: Handler + Clone + Sync>(
    handler: H,
    limit: impl Fn(Admission<H>) -> Admission<H> + Send + Sync + 'static,
) -> Fixture<impl Admit<Handler = H>> {
    Fixture::with(AdmitBy(move |_: &Handshake<'_>| {
        ready(Ok(limit(Admission::new(handler.clone()))))
    }))
}

/// Answers pings until the Close frame, and answers that. Returns the time of the Close frame, and its code
/// and reason.
async fn closed(peer: &mut Peer) -> (Instant, u16, String) {
    let begin = Instant::now();
    // A session that never closes would ping or flood the client without end.
    for _ in 0..20_000 {
        match peer.frame().await {
            (PING, payload) if begin.elapsed() < seconds(400) => {
                peer.send(&frame(PONG, &payload)).await;
            }
            (TEXT, _) => {}
            (CLOSE, payload) => {
                let at = Instant::now();
                let (code, reason) = payload.split_at(2);
                let code = u16::from_be_bytes(code.try_into().unwrap());
                peer.send(&close(code, "")).await;
                return (at, code, String::from_utf8(reason.to_vec()).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("there is no Close frame");
}

/// Returns after which time a session that is limited like this is closed with 3000 `expired`; `None` if it
/// is open after five minutes.
async fn lifetime(
    limit: impl Fn(Admission<Discard>) -> Admission<Discard> + Send + Sync + 'static,
) -> Option<Duration> {
    let fixture = until(Discard, limit);
    let begin = Instant::now();
    let mut peer = fixture.open(&valid_request(), PIPE_BYTES).await;
    let closed = tokio::time::timeout(seconds(300), closed(&mut peer)).await;
    closed.ok().map(|(at, code, reason)| {
        assert_eq!((code, reason.as_str()), (3000, "expired"));
        at - begin
    })
}

#[tokio::test(start_paused = true)]
async fn a_session_is_closed_when_its_permission_ends_before_and_after_its_first_ping() {
    for time in [1, 7, 60, 200].map(seconds) {
        assert_eq!(lifetime(move |admission| admission.expires_in(time)).await, Some(time));
    }
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_over_already_closes_the_session_at_once() {
    let at_once = Duration::from_millis(1);
    let now = |admission: Admission<Discard>| admission.expires_in(Duration::ZERO);
    assert_eq!(lifetime(now).await, Some(at_once));
    let past = |admission: Admission<Discard>| admission.expires_at(SystemTime::UNIX_EPOCH);
    assert_eq!(lifetime(past).await, Some(at_once));
}

#[tokio::test(start_paused = true)]
async fn a_time_of_the_calendar_is_converted_when_it_is_set() {
    let next = SystemTime::now() + seconds(200);
    // The calendar is not paused, so it may be somewhat later now.
    let lifetime = lifetime(move |admission| admission.expires_at(next)).await.unwrap();
    assert!((seconds(100)..=seconds(200)).contains(&lifetime), "{lifetime:?}");
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_two_ends_counts() {
    let (first, second) = (seconds(5), seconds(9));
    for (one, other) in [(first, second), (second, first), (first, Duration::MAX)] {
        let both = move |admission: Admission<Discard>| admission.expires_in(one).expires_in(other);
        assert_eq!(lifetime(both).await, Some(first));
    }
    let later = |admission: Admission<Discard>| {
        admission.expires_at(SystemTime::now() + seconds(3000)).expires_in(seconds(5))
    };
    assert_eq!(lifetime(later).await, Some(first));
}

#[tokio::test(start_paused = true)]
async fn a_time_that_no_clock_reaches_is_no_end() {
    for time in [Duration::MAX, seconds(u64::MAX), seconds(u64::MAX / 4), seconds(1 << 40)] {
        assert_eq!(lifetime(move |admission| admission.expires_in(time)).await, None, "{time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_counts_from_the_admission_and_not_from_the_opening() {
    let fixture = until(Discard, |admission| admission.expires_in(seconds(7)));
    let cases = [(seconds(4), seconds(7)), (seconds(20), Duration::from_millis(20_001))];
    for (delay, expected) in cases {
        let begin = Instant::now();
        let opening = fixture.opening(&valid_request()).await;
        sleep(delay).await;
        let (near, far) = duplex(PIPE_BYTES);
        opening.begin(near);
        let (at, code, _) = closed(&mut Peer(far)).await;
        assert_eq!((at - begin, code), (expected, 3000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_over_http_1_1_and_one_over_http_2_expire_alike() {
    let fixture = until(Discard, |admission| admission.expires_in(seconds(7)));
    let begin = Instant::now();
    let mut peer = fixture.connect();
    request_head(&mut peer).await;
    let client = fixture.connect_http2().await;
    let mut stream = client.open().await;
    peer.expect_close(3000, "expired").await;
    stream.expect(CLOSE, &support::close_payload(3000, "expired")).await;
    assert_eq!(begin.elapsed(), seconds(7));
    // Neither answers, so both end after the close timeout.
    sleep(seconds(4)).await;
    assert_eq!(fixture.log.take_main()[2..], ["closed 1 expired", "closed 2 expired"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_output_is_blocked_expires_in_time() {
    let fixture = until(FloodingHandler::default(), |admission| admission.expires_in(seconds(5)));
    let _peer = fixture.open(&valid_request(), 64).await;
    // The close timeout is three seconds; the write timeout would end the session after ten.
    sleep(Duration::from_millis(7999)).await;
    assert_eq!(fixture.log.take_main().len(), 1);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(fixture.log.take_main(), ["closed 1 expired"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_again_after_the_end_of_its_permission_receives_the_close_frame() {
    let fixture = until(FloodingHandler::default(), |admission| admission.expires_in(seconds(5)));
    let mut peer = fixture.open(&valid_request(), 64).await;
    sleep(seconds(6)).await;
    let (_, code, reason) = closed(&mut peer).await;
    assert_eq!((code, reason.as_str()), (3000, "expired"));
    peer.expect_end().await;
    assert_eq!(fixture.log.take_main().last().unwrap(), "closed 1 expired");
}

#[tokio::test(start_paused = true)]
async fn a_drain_with_a_spread_postpones_no_end_and_is_postponed_by_none() {
    for (expires_in, expected) in [(30, (30, 3000, "expired")), (90, (61, 1001, "drained"))] {
        let fixture = until(Discard, move |admission| admission.expires_in(seconds(expires_in)));
        // The first session of a drain has the offset zero, and the second 0.618 of the spread.
        let mut first = fixture.open(&valid_request(), PIPE_BYTES).await;
        let mut second = fixture.open(&valid_request(), PIPE_BYTES).await;
        let begin = Instant::now();
        fixture.drain.start(DrainOptions { spread: seconds(100), ..DrainOptions::default() });
        first.expect_close(1001, "drained").await;
        let (at, code, reason) = closed(&mut second).await;
        assert_eq!(((at - begin).as_secs(), code, reason.as_str()), expected);
    }
}
