//! Stories of peers that do too much, and of peers that take too long.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects in the shortest way"
)]

mod support;

use support::{end, limited, ping, secs, told};
use ws_core::{Action, Cause, Event, Limits, Rate};

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
    let record = end(session.handle(Event::Finished, secs(6.1)));
    assert_eq!((record.cause, record.clean), (Cause::RateLimited, true));
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
    session.handle(Event::MessageBegan, secs(1.0));
    session.handle(Event::MessageBegan, secs(9.0));
    assert_eq!(session.deadline(), Some(secs(11.0)), "from its beginning");
    session.handle(Event::Message { bytes: 1 }, secs(10.0));
    session.handle(Event::MessageBegan, secs(12.0));
    assert_eq!(session.deadline(), Some(secs(22.0)), "another one, another time");
    let refused = session.handle(Event::Tick, secs(22.0));
    assert_eq!(told(refused), (1008, "message_timeout".to_owned()));
}

#[test]
fn output_that_does_not_go_out_ends_the_session() {
    let limits = Limits { write_timeout: Some(secs(10.0)), ..Limits::default() };
    let mut session = limited(limits);
    session.handle(Event::WriteBlocked, secs(1.0));
    session.handle(Event::WriteBlocked, secs(5.0));
    assert_eq!(session.deadline(), Some(secs(11.0)));
    let record = end(session.handle(Event::Tick, secs(11.0)));
    assert_eq!((record.cause, record.clean), (Cause::WriteTimeout, false));
    assert_eq!(u16::from(record.code), 1006);
}

#[test]
fn a_slow_and_steady_reader_is_healthy() {
    let limits = Limits { write_timeout: Some(secs(10.0)), ..Limits::default() };
    let mut session = limited(limits);
    let mut now = secs(0.0);
    // Its pongs sit in what we do not read while our output waits for it.
    for _ in 0..1000 {
        now += secs(9.0);
        for event in [Event::WriteProgressed, Event::WriteBlocked] {
            assert!(!matches!(session.handle(event, now), Some(Action::End(_))), "{now:?}");
        }
    }
    // Once everything went out, it has the whole time for its pong.
    session.handle(Event::WriteProgressed, now);
    assert_eq!(session.handle(Event::Tick, now + secs(9.9)), None);
    assert_eq!(end(session.handle(Event::Tick, now + secs(10.0))).cause, Cause::PongTimeout);
}

#[test]
fn what_was_earned_while_the_process_stood_still_is_not_lost() {
    let mut session = limited(Limits { messages: Rate::new(10, 20), ..Limits::default() });
    let message = Event::Message { bytes: 1 };
    // Nine were sent before the stall, and fifty in its five seconds.
    for _ in 0..9 {
        assert_eq!(session.handle(message.clone(), secs(10.0)), None);
    }
    session.handle(Event::Stalled(secs(5.0)), secs(15.0));
    for _ in 0..50 {
        assert_eq!(session.handle(message.clone(), secs(15.0)), None);
    }
    // What is left of the burst is what was left before.
    for _ in 0..11 {
        assert_eq!(session.handle(message.clone(), secs(15.0)), None);
    }
    assert_eq!(told(session.handle(message, secs(15.0))).0, 1008);
}

#[test]
fn a_stall_earns_no_more_than_its_time() {
    let mut session = limited(Limits { control_frames: Rate::new(10, 20), ..Limits::default() });
    let ping = Event::Ping { bytes: 0 };
    // The bucket was full all along, so everything that the stall earned lies above its brim.
    session.handle(Event::Stalled(secs(3.0)), secs(10.0));
    for _ in 0..20 + 30 {
        assert_eq!(session.handle(ping.clone(), secs(10.0)), None);
    }
    assert_eq!(told(session.handle(ping, secs(10.0))).0, 1008);
}

#[test]
fn what_came_in_a_stall_is_not_paid_for_with_the_burst() {
    let mut session = limited(Limits { messages: Rate::new(10, 20), ..Limits::default() });
    let message = Event::Message { bytes: 1 };
    let payload = ping(session.handle(Event::Stalled(secs(3.0)), secs(25.0)));
    for _ in 0..30 {
        assert_eq!(session.handle(message.clone(), secs(25.0)), None);
    }
    // With this pong the forgiveness is over, and the peer goes on as before.
    session.handle(Event::Pong(&payload), secs(25.0));
    for number in 0..20 {
        assert_eq!(session.handle(message.clone(), secs(25.0)), None, "message {number}");
    }
    assert_eq!(told(session.handle(message, secs(25.0))).0, 1008);
}

#[test]
fn a_pong_that_cannot_have_overtaken_anything_ends_the_forgiveness() {
    let limits = Limits { messages: Rate::new(10, 20), ..Limits::default() };
    for (stalled_at, allowed) in [(10.0, 20), (25.0, 20), (25.5, 20 + 30)] {
        let mut session = limited(limits);
        let mut moments = [(Event::Stalled(secs(3.0)), stalled_at), (Event::Tick, 25.0_f64)];
        moments.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        let actions = moments.map(|(event, at)| session.handle(event, secs(at)));
        // Whichever event comes at 25 seconds brings it.
        let payload = ping(actions.into_iter().flatten().next());
        session.handle(Event::Pong(&payload), secs(26.0));
        // Long after, when the bucket is full again whatever there was before.
        let message = Event::Message { bytes: 1 };
        for number in 0..allowed {
            let action = session.handle(message.clone(), secs(30.0));
            assert_eq!(action, None, "message {number} after a stall at {stalled_at}");
        }
        assert_eq!(told(session.handle(message, secs(30.0))).0, 1008, "{stalled_at}");
    }
}
