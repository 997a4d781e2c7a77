//! Stories of a process that stands still: what its peers said meanwhile is not held against them.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{CLOSE, PING, PONG, Peer, SIZES, close_payload, frame, in_time, rules};
use tokio::io::duplex;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance};
use transport::ws_core::{Closure, Limits, Rate};
use transport::{Drain, Pulse, Silent, Socket, Surroundings, run};

/// A session that may be sent ten pings a second and twenty at once, and the heart beside it.
fn open(pulse: &Arc<Pulse>, drain: &Drain) -> (Peer, JoinHandle<Closure>) {
    let (near, far) = duplex(64 * 1024);
    let limits = Limits { control_frames: Rate::new(10, 20), ..Limits::default() };
    let surroundings = Surroundings { jitter: 0, pulse: Arc::clone(pulse), watch: drain.watch() };
    let session = run(Socket::new(near, SIZES), rules(limits), Silent, surroundings);
    (Peer(far), tokio::spawn(session))
}

/// Makes the session look around once, so that it has slept for no longer than the stall.
async fn wake(peer: &mut Peer) {
    peer.send(&frame(PING, b"")).await;
    assert_eq!(peer.frame().await, (PONG, vec![]));
}

fn beating() -> Arc<Pulse> {
    let pulse = Arc::new(Pulse::default());
    let heart = Arc::clone(&pulse);
    tokio::spawn(async move { heart.beat().await });
    pulse
}

#[tokio::test(start_paused = true)]
async fn who_kept_to_the_rate_while_the_process_stood_still_is_not_cut() {
    let (pulse, drain) = (beating(), Drain::default());
    let (mut peer, session) = open(&pulse, &drain);
    wake(&mut peer).await;
    for _ in 0..50 {
        peer.send(&frame(PING, b"x")).await;
    }
    advance(Duration::from_secs(5)).await;
    for _ in 0..50 {
        assert_eq!(peer.frame().await.0, PONG);
    }
    drop(peer);
    in_time(session).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn silence_is_no_stall_and_earns_no_more_than_a_burst() {
    let (pulse, drain) = (beating(), Drain::default());
    let (mut peer, _session) = open(&pulse, &drain);
    wake(&mut peer).await;
    // Time passes in small steps, and the process is there at each.
    for _ in 0..100 {
        advance(Duration::from_millis(50)).await;
        yield_now().await;
    }
    for _ in 0..50 {
        peer.send(&frame(PING, b"x")).await;
    }
    let mut pongs = 0;
    let last = loop {
        match peer.frame().await {
            (PONG, _) => pongs += 1,
            other => break other,
        }
    };
    // The codec answers the one that was too many as well.
    assert_eq!((last, pongs), ((CLOSE, close_payload(1008, "rate_limited")), 21));
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_as_long_as_the_heart_was_late_and_counts_for_who_slept_through_it() {
    let pulse = beating();
    yield_now().await;
    let start = Instant::now();
    let second = Duration::from_secs(1);
    advance(4 * second).await;
    // Seen before the heart beats again, and after.
    for _ in 0..2 {
        let end = start + 4 * second;
        let beat = Duration::from_millis(250);
        assert_eq!(pulse.stalled(start, end), 4 * second - beat);
        assert_eq!(pulse.stalled(end - second, end), second, "who woke up in it");
        assert_eq!(pulse.stalled(end, end), Duration::ZERO);
        assert_eq!(pulse.stalled(start, start + second), second - beat, "as far as it was seen");
        yield_now().await;
    }
    assert_eq!(Pulse::default().stalled(start, start + second), Duration::ZERO);
}
