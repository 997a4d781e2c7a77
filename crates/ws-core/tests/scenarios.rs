//! Scenarios: keep-alive, stalls, the closing handshake, drains, and the close record.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{TIMING, close, drain, end, open, ping, secs};
use ws_core::{
    Action, Cause, CloseCode, CloseFrame, CloseStatus, Counters, Event, Initiator, Jitter,
    Lifecycle, Limits, Reason, SessionConfig, Timing, Violation,
};

#[test]
fn a_silent_peer_is_pinged_and_then_dropped() {
    let mut session = open();
    assert_eq!(session.deadline(), Some(secs(25.0)));
    ping(session.handle(Event::Tick, secs(25.0)));

    assert_eq!(session.deadline(), Some(secs(35.0)));
    let record = end(session.handle(Event::Tick, secs(35.0)));
    assert_eq!(record.cause, Cause::PongTimeout);
    assert_eq!(record.code, CloseStatus::Abnormal);
    assert_eq!(record.initiator, Initiator::None);
    assert!(!record.clean);
    assert_eq!(record.round_trip, None);
    assert_eq!(session.deadline(), None);
}

#[test]
fn an_answering_peer_is_pinged_at_a_fixed_interval_and_its_round_trip_is_measured() {
    let mut session = open();
    for round in 1..=100_u32 {
        let due = secs(25.0) * round;
        assert_eq!(session.deadline(), Some(due));
        let payload = ping(session.handle(Event::Tick, due));
        assert_eq!(session.handle(Event::Pong(&payload), due + secs(0.04)), None);
        assert_eq!(session.stats().round_trip, Some(secs(0.04)));
    }
}

#[test]
fn the_jitter_makes_the_first_ping_up_to_a_tenth_of_the_interval_earlier() {
    assert_eq!(
        Lifecycle::new(Arc::new(SessionConfig { timing: TIMING, limits: Limits::default() }), 0)
            .deadline(),
        Some(secs(25.0))
    );
    assert_eq!(
        Lifecycle::new(
            Arc::new(SessionConfig { timing: TIMING, limits: Limits::default() }),
            u32::MAX
        )
        .deadline(),
        Some(secs(22.5))
    );
    let middle = Lifecycle::new(
        Arc::new(SessionConfig { timing: TIMING, limits: Limits::default() }),
        u32::MAX / 2,
    )
    .deadline()
    .unwrap();
    assert!(middle > secs(23.7) && middle < secs(23.8), "{middle:?}");
}

#[test]
fn any_frame_ends_the_pong_timeout_but_only_the_matching_pong_is_measured() {
    for event in
        [Event::Message { bytes: 1 }, Event::Pings { count: 1, bytes: 0 }, Event::Pong(b"old")]
    {
        let mut session = open();
        let payload = ping(session.handle(Event::Tick, secs(25.0)));
        assert_eq!(session.handle(event, secs(30.0)), None);
        assert_eq!(session.stats().round_trip, None);
        assert_eq!(session.deadline(), Some(secs(50.0)), "the pong timeout has ended");

        // A late pong is still measured.
        assert_eq!(session.handle(Event::Pong(&payload), secs(40.0)), None);
        assert_eq!(session.stats().round_trip, Some(secs(15.0)));
    }
}

#[test]
fn a_pong_counts_once() {
    let mut session = open();
    let payload = ping(session.handle(Event::Tick, secs(25.0)));
    session.handle(Event::Pong(&payload), secs(26.0));
    session.handle(Event::Pong(&payload), secs(30.0));
    assert_eq!(session.stats().round_trip, Some(secs(1.0)));
}

#[test]
fn the_pong_to_an_older_ping_does_not_measure_the_newer_one() {
    let mut session = open();
    let old = ping(session.handle(Event::Tick, secs(25.0)));
    session.handle(Event::Message { bytes: 1 }, secs(26.0));
    ping(session.handle(Event::Tick, secs(50.0)));
    session.handle(Event::Pong(&old), secs(51.0));
    assert_eq!(session.stats().round_trip, None);
}

#[test]
fn a_flood_of_frames_does_not_prevent_pings() {
    let mut session = open();
    let mut pings = 0;
    for tenth in 1..=1000_u32 {
        let event = Event::Message { bytes: 1 };
        pings += u32::from(session.handle(event, secs(0.1) * tenth).is_some());
    }
    assert_eq!(pings, 4);
}

#[test]
fn output_does_not_keep_a_session_with_a_silent_peer_alive() {
    let mut session = open();
    let mut now = Duration::ZERO;
    let record = loop {
        now += secs(0.1);
        if let Some(Action::End(record)) = session.handle(Event::Sent { bytes: 1 }, now) {
            break record;
        }
    };
    assert_eq!(record.cause, Cause::PongTimeout);
    assert!(now < secs(35.3), "{now:?}");
}

#[test]
fn a_requested_ping_is_sent_at_once_and_the_regular_ones_keep_their_schedule() {
    let mut session = open();
    for due in [25.0, 50.0] {
        let payload = ping(session.handle(Event::PingRequested, secs(due - 5.0)));
        assert_eq!(session.deadline(), Some(secs(due)), "the regular ping is next");
        session.handle(Event::Pong(&payload), secs(due - 4.0));
        assert_eq!(session.stats().round_trip, Some(secs(1.0)));
        let payload = ping(session.handle(Event::Tick, secs(due)));
        session.handle(Event::Pong(&payload), secs(due + 2.0));
        assert_eq!(session.stats().round_trip, Some(secs(2.0)));
    }
    assert_eq!((session.stats().pings, session.stats().pongs), (4, 4));
    // One that is requested when the regular one is due is that one.
    let payload = ping(session.handle(Event::PingRequested, secs(75.0)));
    session.handle(Event::Pong(&payload), secs(76.0));
    assert_eq!(session.deadline(), Some(secs(100.0)));
}

#[test]
fn requested_pings_do_not_extend_the_pong_timeout() {
    let mut session = open();
    ping(session.handle(Event::PingRequested, secs(3.0)));
    for half_second in 7..26 {
        ping(session.handle(Event::PingRequested, secs(f64::from(half_second) / 2.0)));
    }
    assert_eq!(session.deadline(), Some(secs(13.0)));
    let record = end(session.handle(Event::PingRequested, secs(13.0)));
    assert_eq!(record.cause, Cause::PongTimeout);
}

#[test]
fn a_closing_session_sends_no_requested_ping() {
    let mut session = open();
    close(session.handle(drain(), secs(1.0)));
    assert_eq!(session.handle(Event::PingRequested, secs(2.0)), None);
}

#[test]
fn a_peer_that_has_not_answered_is_not_pinged_again() {
    let timing = Timing { ping_interval: secs(1.0), ..TIMING };
    let mut session =
        Lifecycle::new(Arc::new(SessionConfig { timing, limits: Limits::default() }), 0);
    ping(session.handle(Event::Tick, secs(1.0)));
    for second in 2..11_u32 {
        assert_eq!(session.deadline(), Some(secs(1.0) * second));
        assert_eq!(session.handle(Event::Tick, secs(1.0) * second), None);
    }
    assert_eq!(end(session.handle(Event::Tick, secs(11.0))).cause, Cause::PongTimeout);
}

#[test]
fn input_that_arrived_in_time_counts_after_a_stall() {
    let mut session = open();
    let payload = ping(session.handle(Event::Tick, secs(25.0)));
    // The process stalls until 100 s; the driver reads the socket before it checks the deadline.
    ping(session.handle(Event::Pong(&payload), secs(100.0)));
    assert!(session.is_open());
}

#[test]
fn an_event_reported_before_reading_expires_no_timeout() {
    let later = Event::Drain { code: CloseCode::GOING_AWAY, after: secs(60.0), retry: None };
    for event in [Event::WriteBlocked, later, Event::Stalled(secs(1.0)), Event::WriteProgressed] {
        let mut session = open();
        let payload = ping(session.handle(Event::Tick, secs(25.0)));
        // The event is handled exactly at the deadline, while the pong is unread in the socket.
        assert_eq!(session.handle(event.clone(), secs(35.0)), None, "{event:?}");
        session.handle(Event::Pong(&payload), secs(35.0));
        assert!(session.is_open(), "{event:?}");

        let mut session = open();
        ping(session.handle(Event::Tick, secs(25.0)));
        session.handle(event.clone(), secs(35.0));
        assert_eq!(session.deadline(), Some(secs(35.0)), "the deadline is still due: {event:?}");
        let record = end(session.handle(Event::Tick, secs(35.0)));
        assert_eq!(record.cause, Cause::PongTimeout, "{event:?}");
    }
}

#[test]
fn a_stall_extends_a_deadline_once() {
    let mut session = open();
    ping(session.handle(Event::Tick, secs(25.0)));
    assert_eq!(session.handle(Event::Tick, secs(39.0)), None, "four seconds late: extended");
    assert_eq!(session.deadline(), Some(secs(43.0)));
    assert_eq!(end(session.handle(Event::Tick, secs(44.0))).cause, Cause::PongTimeout);
}

#[test]
fn a_long_stall_extends_a_deadline_by_at_most_the_timeout() {
    let mut session = open();
    ping(session.handle(Event::Tick, secs(25.0)));
    assert_eq!(session.handle(Event::Tick, secs(4000.0)), None);
    assert_eq!(session.deadline(), Some(secs(4010.0)));
    end(session.handle(Event::Tick, secs(4010.0)));
}

#[test]
fn after_a_stall_the_pings_keep_their_phase() {
    let mut session = Lifecycle::new(
        Arc::new(SessionConfig { timing: TIMING, limits: Limits::default() }),
        u32::MAX,
    );
    ping(session.handle(Event::Tick, secs(90.0)));
    session.handle(Event::Message { bytes: 1 }, secs(90.0));
    assert_eq!(session.deadline(), Some(secs(97.5)), "22.5 + 3 × 25");
}

#[test]
fn a_close_by_the_peer_is_answered_by_the_codec_and_ends_clean() {
    let mut session = open();
    let frame = CloseFrame { code: CloseCode::NORMAL, reason: "bye".into() };
    assert_eq!(session.handle(Event::PeerClose(Some(frame)), secs(1.0)), None);
    assert!(!session.is_open());
    let record = end(session.handle(Event::Finished, secs(1.1)));
    assert_eq!(record.cause, Cause::PeerClosed);
    assert_eq!(record.code, CloseStatus::Frame(CloseCode::NORMAL));
    assert_eq!(record.reason.as_str(), "bye");
    assert!(record.clean);
    assert_eq!(record.initiator, Initiator::Peer);
    assert_eq!(record.duration, secs(1.1));
    assert_eq!(record.round_trip, None);
    assert_eq!(record.received, Counters { messages: 0, bytes: 5 });
    assert_eq!(record.sent, Counters { messages: 0, bytes: 5 });
}

//= rfc6455#7.1.5-1 rfc6455#7.1.6-1 test
#[test]
fn a_close_without_a_code_is_reported_as_1005() {
    let mut session = open();
    session.handle(Event::PeerClose(None), secs(1.0));
    let record = end(session.handle(Event::Finished, secs(1.0)));
    assert_eq!(u16::from(record.code), 1005);
    assert_eq!(record.received, Counters::default());
}

//= rfc6455#7.1.4-1 test
#[test]
fn a_drained_session_ends_clean_when_the_peer_answers() {
    let mut session = open();
    let Some(Action::Close(frame)) = session.handle(drain(), secs(1.0)) else { panic!() };
    assert_eq!(frame.code, CloseCode::GOING_AWAY);
    let echo = CloseFrame { code: CloseCode::NORMAL, reason: "echo".into() };
    assert_eq!(session.handle(Event::PeerClose(Some(echo)), secs(1.5)), None);
    let record = end(session.handle(Event::Finished, secs(1.5)));
    assert_eq!(record.cause, Cause::Drained);
    assert_eq!(record.code, CloseStatus::Frame(CloseCode::GOING_AWAY), "ours came first");
    assert_eq!(record.reason.as_str(), "drained");
    assert_eq!(record.initiator, Initiator::Local);
    assert!(record.clean);
}

#[test]
fn a_peer_that_ignores_our_close_is_given_up_after_the_close_timeout() {
    let mut session = open();
    session.handle(drain(), secs(1.0));
    // Further input does not extend the close timeout.
    for event in
        [Event::Message { bytes: 1 }, Event::Pings { count: 1, bytes: 1 }, Event::Pong(b"")]
    {
        assert_eq!(session.handle(event, secs(2.0)), None);
        assert_eq!(session.deadline(), Some(secs(4.0)));
    }
    let record = end(session.handle(Event::Tick, secs(4.0)));
    assert_eq!(record.cause, Cause::Drained);
    assert!(!record.clean);
    assert_eq!(record.received.messages, 1);
    let stats = session.stats();
    assert_eq!(stats.control_frames_received, 2);
    assert_eq!(stats.control_frames_sent, 1, "no pong after our close frame");
}

//= rfc6455#7.1.7-3 test
#[test]
fn each_violation_has_its_code_and_its_cause() {
    for (violation, code, cause) in [
        (Violation::InvalidUtf8, 1007, Cause::InvalidUtf8),
        (Violation::ProtocolError, 1002, Cause::ProtocolError),
        (Violation::TooBig, 1009, Cause::TooBig),
    ] {
        let mut session = open();
        let Some(Action::Close(frame)) = session.handle(Event::Violation(violation), secs(1.0))
        else {
            panic!("expected a Close frame")
        };
        assert_eq!(u16::from(frame.code), code);
        assert_eq!(frame.reason.as_str(), cause.as_str());
        let record = end(session.handle(Event::Disconnected, secs(1.2)));
        assert_eq!((record.cause, u16::from(record.code)), (cause, code));
        assert!(!record.clean);
    }
}

//= rfc6455#7.1.5-1 rfc6455#7.1.6-1 test
#[test]
fn a_disconnect_without_a_close_frame_is_reported_as_1006() {
    let record = end(open().handle(Event::Disconnected, secs(7.0)));
    assert_eq!(record.cause, Cause::Disconnected);
    assert_eq!(u16::from(record.code), 1006);
    assert_eq!(record.duration, secs(7.0));
}

#[test]
fn zero_and_maximum_timings_do_not_make_a_driver_spin() {
    for extreme in [Duration::ZERO, Duration::MAX] {
        let timing = Timing {
            ping_interval: extreme,
            pong_timeout: extreme,
            close_timeout: extreme,
            max_age: Some(extreme),
            reconnect_spread: Duration::ZERO,
        };
        let mut session =
            Lifecycle::new(Arc::new(SessionConfig { timing, limits: Limits::default() }), u32::MAX);
        let mut now = Duration::ZERO;
        for _ in 0..10 {
            let Some(deadline) = session.deadline() else { break };
            assert!(deadline > now);
            now = deadline.min(secs(100.0 * 365.0 * 86_400.0));
            session.handle(Event::Tick, now);
        }
    }
}

//= rfc6455#7.4.1-1 rfc6455#7.4.1-2 rfc6455#7.4.1-3 rfc6455#7.4.2-1 test
#[test]
fn a_number_is_a_sendable_close_code_exactly_where_the_registry_says_so() {
    for number in 0..=u16::MAX {
        let sendable = matches!(number, 1000..=1003 | 1007..=1014 | 3000..=4999);
        assert_eq!(CloseCode::try_from(number).is_ok(), sendable, "{number}");
        if let Ok(code) = CloseCode::try_from(number) {
            assert_eq!(u16::from(code), number);
        }
    }
}

//= rfc6455#5.5-2 test
#[test]
fn a_long_reason_is_truncated_at_a_character_boundary() {
    let long = "x".repeat(122) + "é";
    assert_eq!(Reason::from(long).as_str(), "x".repeat(122));
    let fits = "x".repeat(123);
    let frame = CloseFrame { code: CloseCode::NORMAL, reason: fits.clone().into() };
    assert_eq!(frame.reason.as_str(), fits);
    assert_eq!(frame.payload_len(), 125);
}

#[test]
fn the_words_of_the_causes_are_distinct_and_sorted() {
    let words: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
    assert!(words.is_sorted_by(|a, b| a < b), "{words:?}");
    assert!(
        words
            .iter()
            .all(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '8'))
    );
}

#[test]
fn codes_display_as_numbers_and_causes_as_words() {
    assert_eq!(CloseCode::GOING_AWAY.to_string(), "1001");
    assert_eq!(Cause::PeerClosed.to_string(), "peer_closed");
    assert_eq!(Reason::from("bye").to_string(), "bye");
    let unsendable = CloseCode::try_from(1006).unwrap_err();
    assert_eq!(unsendable.to_string(), "1006 must not be sent in a Close frame");
}

#[test]
fn a_drained_session_closes_after_its_delay() {
    for after in [secs(0.0), secs(25.0), secs(100.0)] {
        let mut session = open();
        let code = CloseCode::SERVICE_RESTART;
        let mut action = session.handle(Event::Drain { code, after, retry: None }, secs(7.0));
        let mut now = secs(7.0);
        // Until then the session stays open and sends pings.
        while action.is_none() {
            now = session.deadline().unwrap();
            action = session.handle(Event::Tick, now);
            if let Some(Action::Ping(payload)) = action {
                action = session.handle(Event::Pong(&payload), now);
            }
        }
        assert_eq!(close(action), (1012, "drained".to_owned()));
        assert_eq!(now, secs(7.0) + after);
    }
}

#[test]
fn a_drained_session_is_told_when_its_client_may_come_back() {
    for (retry, reason) in [(4.2, "drained retry=4200"), (0.000_9, "drained retry=0")] {
        let mut session = open();
        let code = CloseCode::GOING_AWAY;
        let drain = Event::Drain { code, after: secs(5.0), retry: Some(secs(retry)) };
        assert_eq!(session.handle(drain, secs(1.0)), None);
        let action = session.handle(Event::Tick, secs(6.0));
        assert_eq!(close(action), (1001, reason.to_owned()));
        let record = end(session.handle(Event::Finished, secs(6.0)));
        assert_eq!((record.cause, record.reason.as_str()), (Cause::Drained, reason));
    }
}

#[test]
fn a_later_drain_replaces_an_earlier_one() {
    let mut session = open();
    let (code, after) = (CloseCode::SERVICE_RESTART, secs(20.0));
    assert_eq!(session.handle(Event::Drain { code, after, retry: None }, secs(1.0)), None);
    assert_eq!(session.deadline(), Some(secs(21.0)));
    assert_eq!(close(session.handle(drain(), secs(2.0))), (1001, "drained".to_owned()));
}

#[test]
fn a_session_closes_at_its_maximum_age_less_the_jitter() {
    let max_age = Some(secs(20.0));
    for (jitter, age) in [(0, 20.0), (u32::MAX, 18.0)] {
        let config =
            SessionConfig { timing: Timing { max_age, ..TIMING }, limits: Limits::default() };
        let mut session = Lifecycle::new(Arc::new(config), Jitter { ping: 0, end: jitter });
        assert_eq!(session.deadline(), Some(secs(age)));
        assert_eq!(session.handle(Event::Message { bytes: 1 }, secs(age - 0.1)), None);
        let action = session.handle(Event::Message { bytes: 1 }, secs(age));
        assert_eq!(close(action), (1001, "max_age".to_owned()));
        let record = end(session.handle(Event::Finished, secs(age)));
        assert_eq!((record.cause, record.clean), (Cause::MaxAge, true));
    }
}

#[test]
fn sessions_of_the_same_age_come_back_at_an_even_rate() {
    let timing = Timing { max_age: Some(secs(20.0)), reconnect_spread: secs(8.0), ..TIMING };
    let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
    for position in 0..=100_u32 {
        // The first is closed after 18 s.
        let jitter = Jitter { ping: 0, end: u32::MAX - u32::MAX / 100 * position };
        let mut session = Lifecycle::new(Arc::clone(&config), jitter);
        let closed = session.deadline().unwrap();
        let (code, reason) = close(session.handle(Event::Tick, closed));
        let retry: u32 = reason.strip_prefix("max_age retry=").unwrap().parse().unwrap();
        let back = closed.as_secs_f64() + f64::from(retry) / 1000.0;
        let expected = 18.0 + 8.0 * f64::from(position) / 100.0;
        assert!((back - expected).abs() < 0.002, "{position}: {back}, {expected}");
        assert_eq!(code, 1001);
    }
}

#[test]
fn stats_count_pings_and_their_own_pongs() {
    let mut session = open();
    let first = ping(session.handle(Event::Tick, secs(25.0)));
    session.handle(Event::Pong(b"other"), secs(25.5));
    let second = ping(session.handle(Event::Tick, secs(50.0)));
    session.handle(Event::Pong(&first), secs(50.1));
    assert_eq!((session.stats().pings, session.stats().pongs), (2, 0));
    session.handle(Event::Pong(&second), secs(50.2));
    session.handle(Event::Pong(&second), secs(50.3));
    let stats = session.stats();
    assert_eq!((stats.pings, stats.pongs), (2, 1));
    assert_eq!(stats.round_trip, Some(secs(0.2)));
    assert_eq!((stats.control_frames_received, stats.control_frames_sent), (4, 2));
    assert_eq!(stats.received, Counters { messages: 0, bytes: 5 + 4 + 4 + 4 });
    session.handle(Event::Pings { count: 1, bytes: 3 }, secs(51.0));
    session.handle(Event::Message { bytes: 7 }, secs(51.0));
    let since = session.stats().received.since(stats.received);
    assert_eq!(since, Counters { messages: 1, bytes: 3 + 7 });
    assert_eq!(session.stats().control_frames_received, 5);
}

#[test]
fn an_open_session_takes_96_bytes() {
    // 96 bytes is a size class of the allocator; one byte more takes 112 (docs/performance.md).
    assert_eq!(size_of::<Lifecycle>(), 96);
}
