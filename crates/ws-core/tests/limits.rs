//! Rate limits, the message timeout and the write timeout.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use support::{close, end, open_with, ping, secs};
use ws_core::{Action, Cause, Event, Limits, Rate};

#[test]
fn a_burst_is_allowed_and_then_the_rate_per_second() {
    let rate = Rate::new(10, 20);
    let mut session = open_with(Limits { messages: rate, ..Limits::default() });
    let message = Event::Message { bytes: 1 };
    for _ in 0..20 {
        assert_eq!(session.handle(message.clone(), secs(1.0)), None);
    }
    // Each tenth of a second earns one token.
    for tenth in 1..=50_u32 {
        assert_eq!(session.handle(message.clone(), secs(1.0) + secs(0.1) * tenth), None);
    }
    let action = session.handle(message, secs(6.05));
    assert_eq!(close(action), (1008, "rate_limited".to_owned()));
    let record = end(session.handle(Event::Finished, secs(6.1)));
    assert_eq!((record.cause, record.clean), (Cause::RateLimited, true));
}

#[test]
fn a_bucket_refills_to_at_most_one_burst() {
    let rate = Rate::new(10, 20);
    let mut session = open_with(Limits { messages: rate, ..Limits::default() });
    let message = Event::Message { bytes: 1 };
    for _ in 0..20 {
        assert_eq!(session.handle(message.clone(), secs(0.0)), None);
    }
    for _ in 0..20 {
        assert_eq!(session.handle(message.clone(), secs(20.0)), None);
    }
    close(session.handle(message, secs(20.0)));
}

#[test]
fn pings_and_unsolicited_pongs_share_a_limit_and_answers_are_exempt() {
    let rate = Rate::new(1, 4);
    let mut session = open_with(Limits { control_frames: rate, ..Limits::default() });
    for round in 1..=10_u32 {
        let now = secs(25.0) * round;
        let payload = ping(session.handle(Event::Tick, now));
        assert_eq!(session.handle(Event::Pong(&payload), now), None);
        assert_eq!(session.handle(Event::Pings { count: 1, bytes: 0 }, now), None);
        assert_eq!(session.handle(Event::Pong(b"unsolicited"), now), None);
        // Messages have a separate bucket.
        assert_eq!(session.handle(Event::Message { bytes: 1 }, now), None);
        assert_eq!(session.handle(Event::Pings { count: 1, bytes: 0 }, now), None);
        assert_eq!(
            session.handle(Event::Pong(&payload), now),
            None,
            "the same pong again is unsolicited"
        );
    }
    close(session.handle(Event::Pings { count: 1, bytes: 0 }, secs(250.0)));
}

#[test]
fn a_message_has_to_end_within_the_message_timeout() {
    let limits = Limits { message_timeout: Some(secs(10.0)), ..Limits::default() };
    let mut session = open_with(limits);
    session.handle(Event::MessageBegan, secs(1.0));
    session.handle(Event::MessageBegan, secs(9.0));
    assert_eq!(session.deadline(), Some(secs(11.0)), "measured from the beginning of the message");
    session.handle(Event::Message { bytes: 1 }, secs(10.0));
    session.handle(Event::MessageBegan, secs(12.0));
    assert_eq!(session.deadline(), Some(secs(22.0)), "a new message starts the timeout again");
    let action = session.handle(Event::Tick, secs(22.0));
    assert_eq!(close(action), (1008, "message_timeout".to_owned()));
}

#[test]
fn output_that_makes_no_progress_ends_the_session() {
    let limits = Limits { write_timeout: Some(secs(10.0)), ..Limits::default() };
    let mut session = open_with(limits);
    session.handle(Event::WriteBlocked, secs(1.0));
    session.handle(Event::WriteBlocked, secs(5.0));
    assert_eq!(session.deadline(), Some(secs(11.0)));
    let record = end(session.handle(Event::Tick, secs(11.0)));
    assert_eq!((record.cause, record.clean), (Cause::WriteTimeout, false));
    assert_eq!(u16::from(record.code), 1006);
}

#[test]
fn a_slow_reader_that_makes_progress_is_not_given_up() {
    let limits = Limits { write_timeout: Some(secs(10.0)), ..Limits::default() };
    let mut session = open_with(limits);
    let mut now = secs(0.0);
    // Its pongs are in the input, which is not read while output waits.
    for _ in 0..1000 {
        now += secs(9.0);
        for event in [Event::WriteProgressed, Event::WriteBlocked] {
            assert!(!matches!(session.handle(event, now), Some(Action::End(_))), "{now:?}");
        }
    }
    // Once all output is written, the whole pong timeout runs.
    session.handle(Event::WriteProgressed, now);
    assert_eq!(session.handle(Event::Tick, now + secs(9.9)), None);
    assert_eq!(end(session.handle(Event::Tick, now + secs(10.0))).cause, Cause::PongTimeout);
}

#[test]
fn output_that_waits_for_a_moment_again_and_again_keeps_no_dead_peer() {
    let limits = Limits {
        write_timeout: Some(secs(10.0)),
        message_timeout: Some(secs(10.0)),
        ..Limits::default()
    };
    // A ping at 25 s, and a message that begins before it.
    for (event, began) in [(Event::Tick, secs(25.0)), (Event::MessageBegan, secs(10.0))] {
        let mut session = open_with(limits);
        session.handle(event.clone(), began);
        let mut now = began;
        loop {
            let action = session.handle(Event::Tick, now);
            if matches!(action, Some(Action::End(_) | Action::Close(_))) {
                break;
            }
            assert!(now < secs(60.0), "{event:?}");
            session.handle(Event::WriteBlocked, now + secs(0.4));
            now += secs(0.5);
            session.handle(Event::WriteProgressed, now);
        }
        // The output has waited for a fifth of the time.
        assert_eq!(now - began, secs(12.5), "{event:?}");
    }
}

#[test]
fn tokens_earned_during_a_stall_are_not_lost() {
    let mut session = open_with(Limits { messages: Rate::new(10, 20), ..Limits::default() });
    let message = Event::Message { bytes: 1 };
    // Nine messages arrive before the stall, and fifty during its five seconds.
    for _ in 0..9 {
        assert_eq!(session.handle(message.clone(), secs(10.0)), None);
    }
    session.handle(Event::Stalled(secs(5.0)), secs(15.0));
    for _ in 0..50 {
        assert_eq!(session.handle(message.clone(), secs(15.0)), None);
    }
    // The rest of the burst is the same as before the stall.
    for _ in 0..11 {
        assert_eq!(session.handle(message.clone(), secs(15.0)), None);
    }
    assert_eq!(close(session.handle(message, secs(15.0))).0, 1008);
}

#[test]
fn a_stall_earns_no_more_than_its_time() {
    let mut session = open_with(Limits { control_frames: Rate::new(10, 20), ..Limits::default() });
    let ping = Event::Pings { count: 1, bytes: 0 };
    // The bucket was full before the stall, so everything that the stall earned is credit.
    session.handle(Event::Stalled(secs(3.0)), secs(10.0));
    for _ in 0..20 + 30 {
        assert_eq!(session.handle(ping.clone(), secs(10.0)), None);
    }
    assert_eq!(close(session.handle(ping, secs(10.0))).0, 1008);
}

#[test]
fn input_of_a_stall_does_not_use_up_the_burst() {
    let mut session = open_with(Limits { messages: Rate::new(10, 20), ..Limits::default() });
    let message = Event::Message { bytes: 1 };
    let payload = ping(session.handle(Event::Stalled(secs(3.0)), secs(25.0)));
    for _ in 0..30 {
        assert_eq!(session.handle(message.clone(), secs(25.0)), None);
    }
    // This pong clears the credit; the burst is still available.
    session.handle(Event::Pong(&payload), secs(25.0));
    for number in 0..20 {
        assert_eq!(session.handle(message.clone(), secs(25.0)), None, "message {number}");
    }
    assert_eq!(close(session.handle(message, secs(25.0))).0, 1008);
}

#[test]
fn only_the_pong_to_a_ping_after_the_stall_clears_the_stall_credit() {
    let limits = Limits { messages: Rate::new(10, 20), ..Limits::default() };
    for (stalled_at, allowed) in [(10.0, 20), (25.0, 20), (25.5, 20 + 30)] {
        let mut session = open_with(limits);
        let mut events = [(Event::Stalled(secs(3.0)), stalled_at), (Event::Tick, 25.0_f64)];
        events.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        let actions = events.map(|(event, at)| session.handle(event, secs(at)));
        // The ping is the action of whichever event is handled at 25 seconds.
        let payload = ping(actions.into_iter().flatten().next());
        session.handle(Event::Pong(&payload), secs(26.0));
        // Five seconds later the bucket is full in each case.
        let message = Event::Message { bytes: 1 };
        for number in 0..allowed {
            let action = session.handle(message.clone(), secs(30.0));
            assert_eq!(action, None, "message {number} after a stall at {stalled_at}");
        }
        assert_eq!(close(session.handle(message, secs(30.0))).0, 1008, "{stalled_at}");
    }
}

#[test]
fn tokens_earned_while_output_is_blocked_are_not_lost() {
    let limits = Limits {
        messages: Rate::new(10, 20),
        write_timeout: Some(secs(10.0)),
        ..Limits::default()
    };
    let mut session = open_with(limits);
    // Nothing is read for eight seconds, in which the stream accepts some output once. The client sends
    // seven messages a second.
    session.handle(Event::WriteBlocked, secs(5.0));
    session.handle(Event::WriteProgressed, secs(9.0));
    session.handle(Event::WriteBlocked, secs(9.0));
    session.handle(Event::WriteProgressed, secs(13.0));
    let message = Event::Message { bytes: 1 };
    for number in 0..56 {
        let action = session.handle(message.clone(), secs(13.0));
        assert_eq!(action, None, "message {number}");
    }
    // Over the whole session the rate holds: eight seconds, and the burst.
    for _ in 56..8 * 10 + 20 {
        assert_eq!(session.handle(message.clone(), secs(13.0)), None);
    }
    assert_eq!(close(session.handle(message, secs(13.0))).0, 1008);
}

#[test]
fn pings_that_arrive_together_take_a_token_each() {
    let limits = Limits { control_frames: Rate::new(10, 20), ..Limits::default() };
    let pings = |count| Event::Pings { count, bytes: 3 };
    for (first, second) in [(1, 20), (20, 1), (12, 9)] {
        let mut session = open_with(limits);
        assert_eq!(session.handle(pings(first), secs(1.0)), None);
        close(session.handle(pings(second), secs(1.0)));
    }
    close(open_with(limits).handle(pings(21), secs(1.0)));
    // A tenth of a second earns one token, and a stall more than the bucket holds.
    let mut session = open_with(limits);
    assert_eq!(session.handle(pings(20), secs(1.0)), None);
    assert_eq!(session.handle(pings(1), secs(1.1)), None);
    assert_eq!(session.handle(Event::Stalled(secs(3.0)), secs(4.1)), None);
    assert_eq!(session.handle(pings(30), secs(4.1)), None);
    close(session.handle(pings(1), secs(4.1)));
    let stats = session.stats();
    assert_eq!((stats.control_frames_received, stats.control_frames_sent), (52, 53));
}
