//! A session that another process may have: one of the two processes has it in the end, and not both.

use std::sync::Arc;

use ws_core::Cause;

use super::executor::{block_on, explore, search};
use super::run_until_closed;
use super::session::{End, Log, NewSession, Sink};
use crate::drain::Drain;

#[test]
fn a_session_at_rest_is_offered_and_ends_when_it_is_handed_over() {
    explore(|| {
        let (drain, timer_task) = Drain::new();
        let (log, sink) = (Arc::new(Log::default()), Arc::new(Sink::default()));
        let session = NewSession::new(drain.token(), &log).spawn();
        drain.freeze(sink.clone());
        block_on(drain.wake_sessions());
        let taken = sink.wait();
        drain.seal();
        log.give_to_successor();
        drain.hand_over(taken, []);
        block_on(drain.wake_sessions());
        session.join().unwrap();
        assert_eq!(log.ends(), [End::HandedOver]);
        drop((drain, timer_task));
    });
}

#[test]
fn a_session_that_is_offered_when_the_batch_is_sealed_goes_on_unless_the_batch_has_it() {
    search(2, || {
        let (drain, timer_task) = Drain::new();
        let (log, sink) = (Arc::new(Log::default()), Arc::new(Sink::default()));
        let session = NewSession::new(drain.token(), &log).spawn();
        drain.freeze(sink.clone());
        drain.seal();
        let taken = sink.drain();
        let end = match taken.as_slice() {
            [] => End::Closed(Cause::Drained),
            _ => End::HandedOver,
        };
        if end == End::HandedOver {
            log.give_to_successor();
        }
        drain.hand_over(taken, []);
        drain.resume();
        block_on(drain.wake_sessions());
        drain.abort();
        run_until_closed(&drain, timer_task);
        session.join().unwrap();
        assert_eq!(log.ends(), [end]);
    });
}

#[test]
fn a_session_that_the_successor_refuses_goes_on() {
    search(2, || {
        let (drain, timer_task) = Drain::new();
        let (log, sink) = (Arc::new(Log::default()), Arc::new(Sink::default()));
        let session = NewSession::new(drain.token(), &log).spawn();
        drain.freeze(sink.clone());
        block_on(drain.wake_sessions());
        drain.hand_over([], sink.wait());
        block_on(drain.wake_sessions());
        drain.abort();
        run_until_closed(&drain, timer_task);
        session.join().unwrap();
        assert_eq!(log.ends(), [End::Closed(Cause::Drained)]);
    });
}
