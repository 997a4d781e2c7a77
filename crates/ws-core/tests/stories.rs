//! What sometimes holds, told as stories.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects in the shortest way"
)]

use std::sync::Arc;
use std::time::Duration;

use ws_core::{
    Action, Cause, CloseCode, CloseFrame, Closure, ClosureCode, Event, Initiator, Lifecycle,
    Limits, Rate, Reason, Rules, Tally, Timing, Violation,
};

const TIMING: Timing = Timing {
    ping_interval: Duration::from_secs(25),
    pong_timeout: Duration::from_secs(10),
    close_timeout: Duration::from_secs(3),
};

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn open() -> Lifecycle {
    Lifecycle::new(Arc::new(Rules { timing: TIMING, limits: Limits::default() }), 0)
}

#[track_caller]
fn ping(action: Option<Action>) -> [u8; 4] {
    match action {
        Some(Action::Ping(payload)) => payload,
        other => panic!("a ping was expected, not {other:?}"),
    }
}

#[track_caller]
fn end(action: Option<Action>) -> Closure {
    match action {
        Some(Action::End(closure)) => closure,
        other => panic!("the end was expected, not {other:?}"),
    }
}

#[test]
fn a_silent_peer_is_pinged_and_then_dropped() {
    let mut session = open();
    assert_eq!(session.deadline(), Some(secs(25.0)));
    ping(session.handle(Event::Tick, secs(25.0)));

    assert_eq!(session.deadline(), Some(secs(35.0)));
    let closure = end(session.handle(Event::Tick, secs(35.0)));
    assert_eq!(closure.cause, Cause::PongTimeout);
    assert_eq!(closure.code, ClosureCode::Abnormal);
    assert_eq!(closure.initiator, Initiator::Nobody);
    assert!(!closure.clean);
    assert_eq!(closure.round_trip, None);
    assert_eq!(session.deadline(), None);
}

#[test]
fn an_answering_peer_is_pinged_at_a_fixed_interval_and_measured() {
    let mut session = open();
    for round in 1..=100_u32 {
        let due = secs(25.0) * round;
        assert_eq!(session.deadline(), Some(due));
        let payload = ping(session.handle(Event::Tick, due));
        assert_eq!(session.handle(Event::Pong(&payload), due + secs(0.04)), None);
        assert_eq!(session.round_trip(), Some(secs(0.04)));
    }
}

#[test]
fn the_first_ping_comes_between_nine_tenths_and_the_whole_of_the_interval() {
    assert_eq!(
        Lifecycle::new(Arc::new(Rules { timing: TIMING, limits: Limits::default() }), 0).deadline(),
        Some(secs(25.0))
    );
    assert_eq!(
        Lifecycle::new(Arc::new(Rules { timing: TIMING, limits: Limits::default() }), u32::MAX)
            .deadline(),
        Some(secs(22.5))
    );
    let middle =
        Lifecycle::new(Arc::new(Rules { timing: TIMING, limits: Limits::default() }), u32::MAX / 2)
            .deadline()
            .unwrap();
    assert!(middle > secs(23.7) && middle < secs(23.8), "{middle:?}");
}

#[test]
fn any_frame_proves_life_but_only_the_matching_pong_measures() {
    for event in [Event::Message { bytes: 1 }, Event::Ping { bytes: 0 }, Event::Pong(b"old")] {
        let mut session = open();
        let payload = ping(session.handle(Event::Tick, secs(25.0)));
        assert_eq!(session.handle(event, secs(30.0)), None);
        assert_eq!(session.round_trip(), None);
        assert_eq!(session.deadline(), Some(secs(50.0)), "the deadline is lifted");

        // The pong comes late, and still measures.
        assert_eq!(session.handle(Event::Pong(&payload), secs(40.0)), None);
        assert_eq!(session.round_trip(), Some(secs(15.0)));
    }
}

#[test]
fn a_pong_counts_once() {
    let mut session = open();
    let payload = ping(session.handle(Event::Tick, secs(25.0)));
    session.handle(Event::Pong(&payload), secs(26.0));
    session.handle(Event::Pong(&payload), secs(30.0));
    assert_eq!(session.round_trip(), Some(secs(1.0)));
}

#[test]
fn the_pong_to_an_older_ping_does_not_measure_the_newer_one() {
    let mut session = open();
    let old = ping(session.handle(Event::Tick, secs(25.0)));
    session.handle(Event::Message { bytes: 1 }, secs(26.0));
    ping(session.handle(Event::Tick, secs(50.0)));
    session.handle(Event::Pong(&old), secs(51.0));
    assert_eq!(session.round_trip(), None);
}

#[test]
fn a_flood_of_frames_does_not_keep_a_ping_from_being_sent() {
    let mut session = open();
    let mut pings = 0;
    for tenth in 1..=1000_u32 {
        let event = Event::Message { bytes: 1 };
        pings += u32::from(session.handle(event, secs(0.1) * tenth).is_some());
    }
    assert_eq!(pings, 4);
}

#[test]
fn a_talkative_handler_does_not_keep_a_mute_peer_alive() {
    let mut session = open();
    let mut now = Duration::ZERO;
    let closure = loop {
        now += secs(0.1);
        if let Some(Action::End(closure)) = session.handle(Event::Sent { bytes: 1 }, now) {
            break closure;
        }
    };
    assert_eq!(closure.cause, Cause::PongTimeout);
    assert!(now < secs(35.3), "{now:?}");
}

#[test]
fn a_peer_that_owes_an_answer_is_not_pinged_again() {
    let timing = Timing { ping_interval: secs(1.0), ..TIMING };
    let mut session = Lifecycle::new(Arc::new(Rules { timing, limits: Limits::default() }), 0);
    ping(session.handle(Event::Tick, secs(1.0)));
    for second in 2..11_u32 {
        assert_eq!(session.deadline(), Some(secs(1.0) * second));
        assert_eq!(session.handle(Event::Tick, secs(1.0) * second), None);
    }
    assert_eq!(end(session.handle(Event::Tick, secs(11.0))).cause, Cause::PongTimeout);
}

#[test]
fn what_the_peer_said_in_time_counts_after_a_stall() {
    let mut session = open();
    let payload = ping(session.handle(Event::Tick, secs(25.0)));
    // The process stood still until 100; the driver looks at the socket before the clock.
    ping(session.handle(Event::Pong(&payload), secs(100.0)));
    assert!(session.is_open());
}

#[test]
fn a_stall_of_the_process_is_given_back_once() {
    let mut session = open();
    ping(session.handle(Event::Tick, secs(25.0)));
    assert_eq!(session.handle(Event::Tick, secs(39.0)), None, "four seconds late");
    assert_eq!(session.deadline(), Some(secs(43.0)));
    assert_eq!(end(session.handle(Event::Tick, secs(44.0))).cause, Cause::PongTimeout);
}

#[test]
fn a_long_stall_gives_the_peer_no_more_than_a_whole_timeout() {
    let mut session = open();
    ping(session.handle(Event::Tick, secs(25.0)));
    assert_eq!(session.handle(Event::Tick, secs(4000.0)), None);
    assert_eq!(session.deadline(), Some(secs(4010.0)));
    end(session.handle(Event::Tick, secs(4010.0)));
}

#[test]
fn after_a_stall_the_pings_keep_their_phase() {
    let mut session =
        Lifecycle::new(Arc::new(Rules { timing: TIMING, limits: Limits::default() }), u32::MAX);
    ping(session.handle(Event::Tick, secs(90.0)));
    session.handle(Event::Message { bytes: 1 }, secs(90.0));
    assert_eq!(session.deadline(), Some(secs(97.5)), "22.5 + 3 × 25");
}

#[test]
fn a_peer_that_closes_is_answered_by_the_codec_and_ends_clean() {
    let mut session = open();
    let frame = CloseFrame { code: CloseCode::NORMAL, reason: "bye".into() };
    assert_eq!(session.handle(Event::PeerClose(Some(frame)), secs(1.0)), None);
    assert!(!session.is_open());
    let closure = end(session.handle(Event::Finished, secs(1.1)));
    assert_eq!(
        closure,
        Closure {
            cause: Cause::PeerClosed,
            code: ClosureCode::Frame(CloseCode::NORMAL),
            reason: "bye".into(),
            clean: true,
            initiator: Initiator::Peer,
            duration: secs(1.1),
            round_trip: None,
            received: Tally { messages: 1, bytes: 5 },
            sent: Tally { messages: 1, bytes: 5 },
        }
    );
}

#[test]
fn a_close_without_a_code_is_reported_as_1005() {
    let mut session = open();
    session.handle(Event::PeerClose(None), secs(1.0));
    let closure = end(session.handle(Event::Finished, secs(1.0)));
    assert_eq!(u16::from(closure.code), 1005);
    assert_eq!(closure.received, Tally { messages: 1, bytes: 0 });
}

#[test]
fn a_drained_session_ends_clean_when_the_peer_answers() {
    let mut session = open();
    let Some(Action::Close(frame)) = session.handle(Event::drained(), secs(1.0)) else { panic!() };
    assert_eq!(frame.code, CloseCode::GOING_AWAY);
    let echo = CloseFrame { code: CloseCode::NORMAL, reason: "so long".into() };
    assert_eq!(session.handle(Event::PeerClose(Some(echo)), secs(1.5)), None);
    let closure = end(session.handle(Event::Finished, secs(1.5)));
    assert_eq!(closure.cause, Cause::Drained);
    assert_eq!(closure.code, ClosureCode::Frame(CloseCode::GOING_AWAY), "ours came first");
    assert_eq!(closure.reason.as_str(), "drained");
    assert_eq!(closure.initiator, Initiator::Local);
    assert!(closure.clean);
}

#[test]
fn a_peer_that_ignores_our_close_is_given_up_after_the_close_timeout() {
    let mut session = open();
    session.handle(Event::drained(), secs(1.0));
    // Whatever it says meanwhile does not prolong its time.
    for event in [Event::Message { bytes: 1 }, Event::Ping { bytes: 1 }, Event::Pong(b"")] {
        assert_eq!(session.handle(event, secs(2.0)), None);
        assert_eq!(session.deadline(), Some(secs(4.0)));
    }
    let closure = end(session.handle(Event::Tick, secs(4.0)));
    assert_eq!(closure.cause, Cause::Drained);
    assert!(!closure.clean);
    assert_eq!(closure.received.messages, 3);
    assert_eq!(closure.sent.messages, 1, "no pong after our close frame");
}

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
            panic!("the peer is told")
        };
        assert_eq!(u16::from(frame.code), code);
        assert_eq!(frame.reason.as_str(), cause.as_str());
        let closure = end(session.handle(Event::Disconnected, secs(1.2)));
        assert_eq!((closure.cause, u16::from(closure.code)), (cause, code));
        assert!(!closure.clean);
    }
}

#[test]
fn a_vanished_peer_is_reported_as_1006() {
    let closure = end(open().handle(Event::Disconnected, secs(7.0)));
    assert_eq!(closure.cause, Cause::Disconnected);
    assert_eq!(u16::from(closure.code), 1006);
    assert_eq!(closure.duration, secs(7.0));
}

#[test]
fn timings_of_nothing_and_of_eternity_do_not_make_a_driver_spin() {
    for extreme in [Duration::ZERO, Duration::MAX] {
        let timing =
            Timing { ping_interval: extreme, pong_timeout: extreme, close_timeout: extreme };
        let mut session =
            Lifecycle::new(Arc::new(Rules { timing, limits: Limits::default() }), u32::MAX);
        let mut now = Duration::ZERO;
        for _ in 0..10 {
            let Some(deadline) = session.deadline() else { break };
            assert!(deadline > now);
            now = deadline.min(Duration::MAX - secs(1.0));
            session.handle(Event::Tick, now);
        }
    }
}

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

#[test]
fn a_reason_is_cut_between_characters_so_that_the_frame_stays_legal() {
    let long = "x".repeat(122) + "é";
    assert_eq!(Reason::from(long).as_str(), "x".repeat(122));
    let fits = "x".repeat(123);
    let frame = CloseFrame { code: CloseCode::NORMAL, reason: fits.clone().into() };
    assert_eq!(frame.reason.as_str(), fits);
    assert_eq!(frame.payload_len(), 125);
}

#[test]
fn each_cause_has_a_word_of_its_own_and_the_words_are_in_order() {
    let words = Cause::ALL.map(Cause::as_str);
    assert!(words.is_sorted_by(|a, b| a < b), "{words:?}");
    assert!(
        words
            .iter()
            .all(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '8'))
    );
}

#[test]
fn what_is_shown_to_people_is_the_number_or_the_word() {
    assert_eq!(CloseCode::GOING_AWAY.to_string(), "1001");
    assert_eq!(Cause::PeerClosed.to_string(), "peer_closed");
    assert_eq!(Reason::from("bye").to_string(), "bye");
    let unsendable = CloseCode::try_from(1006).unwrap_err();
    assert_eq!(unsendable.to_string(), "1006 must not stand in a close frame");
}

fn limited(limits: Limits) -> Lifecycle {
    Lifecycle::new(Arc::new(Rules { timing: TIMING, limits }), 0)
}

#[track_caller]
fn told(action: Option<Action>) -> (u16, String) {
    match action {
        Some(Action::Close(frame)) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("a close was expected, not {other:?}"),
    }
}

#[test]
fn a_burst_is_allowed_and_then_so_many_a_second() {
    let rate = Rate::new(10, 20);
    let mut session = limited(Limits { messages: rate, ..Limits::default() });
    let message = Event::Message { bytes: 1 };
    for _ in 0..20 {
        assert_eq!(session.handle(message.clone(), secs(1.0)), None);
    }
    // A tenth of a second earns one more, again and again.
    for tenth in 1..=50_u32 {
        assert_eq!(session.handle(message.clone(), secs(1.0) + secs(0.1) * tenth), None);
    }
    let refused = session.handle(message, secs(6.05));
    assert_eq!(told(refused), (1008, "rate_limited".to_owned()));
    let closure = end(session.handle(Event::Finished, secs(6.1)));
    assert_eq!((closure.cause, closure.clean), (Cause::RateLimited, true));
}

#[test]
fn a_burst_is_earned_anew_and_not_more_than_once() {
    let rate = Rate::new(10, 20);
    let mut session = limited(Limits { messages: rate, ..Limits::default() });
    let message = Event::Message { bytes: 1 };
    for _ in 0..20 {
        assert_eq!(session.handle(message.clone(), secs(0.0)), None);
    }
    for _ in 0..20 {
        assert_eq!(session.handle(message.clone(), secs(20.0)), None);
    }
    told(session.handle(message, secs(20.0)));
}

#[test]
fn pings_and_unasked_pongs_are_counted_together_and_answers_are_not() {
    let rate = Rate::new(1, 4);
    let mut session = limited(Limits { control_frames: rate, ..Limits::default() });
    for round in 1..=10_u32 {
        let now = secs(25.0) * round;
        let payload = ping(session.handle(Event::Tick, now));
        assert_eq!(session.handle(Event::Pong(&payload), now), None);
        assert_eq!(session.handle(Event::Ping { bytes: 0 }, now), None);
        assert_eq!(session.handle(Event::Pong(b"unasked"), now), None);
        // Messages have a bucket of their own.
        assert_eq!(session.handle(Event::Message { bytes: 1 }, now), None);
        assert_eq!(session.handle(Event::Ping { bytes: 0 }, now), None);
        assert_eq!(session.handle(Event::Pong(&payload), now), None, "the second time is unasked");
    }
    told(session.handle(Event::Ping { bytes: 0 }, secs(250.0)));
}

#[test]
fn a_message_that_is_begun_has_to_end_in_time() {
    let limits = Limits { message_timeout: Some(secs(10.0)), ..Limits::default() };
    let mut session = limited(limits);
    session.handle(Event::Partial, secs(1.0));
    session.handle(Event::Partial, secs(9.0));
    assert_eq!(session.deadline(), Some(secs(11.0)), "from its beginning");
    session.handle(Event::Message { bytes: 1 }, secs(10.0));
    session.handle(Event::Partial, secs(12.0));
    assert_eq!(session.deadline(), Some(secs(22.0)), "another one, another time");
    let refused = session.handle(Event::Tick, secs(22.0));
    assert_eq!(told(refused), (1008, "message_timeout".to_owned()));
}

#[test]
fn output_that_does_not_go_out_ends_the_session() {
    let limits = Limits { write_timeout: Some(secs(10.0)), ..Limits::default() };
    let mut session = limited(limits);
    session.handle(Event::Blocked, secs(1.0));
    session.handle(Event::Blocked, secs(5.0));
    assert_eq!(session.deadline(), Some(secs(11.0)));
    let closure = end(session.handle(Event::Tick, secs(11.0)));
    assert_eq!((closure.cause, closure.clean), (Cause::WriteTimeout, false));
    assert_eq!(u16::from(closure.code), 1006);
}

#[test]
fn a_slow_and_steady_reader_is_healthy() {
    let limits = Limits { write_timeout: Some(secs(10.0)), ..Limits::default() };
    let mut session = limited(limits);
    let mut now = secs(0.0);
    // Its pongs sit in what we do not read while our output waits for it.
    for _ in 0..1000 {
        now += secs(9.0);
        for event in [Event::Written, Event::Blocked] {
            assert!(!matches!(session.handle(event, now), Some(Action::End(_))), "{now:?}");
        }
    }
    // Once everything went out, it has the whole time for its pong.
    session.handle(Event::Written, now);
    assert_eq!(session.handle(Event::Tick, now + secs(9.9)), None);
    assert_eq!(end(session.handle(Event::Tick, now + secs(10.0))).cause, Cause::PongTimeout);
}
