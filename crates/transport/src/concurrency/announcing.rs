//! The phases of a drain reach every session, and its end is seen.

use std::sync::Arc;

use loom::thread;
use ws_core::{Cause, CloseCode, CloseStatus};

use super::executor::{block_on, explore, search};
use super::run_until_closed;
use super::session::{End, Log, NewSession};
use crate::drain::{Drain, DrainOptions};

#[test]
fn a_session_that_opens_while_the_drain_begins_is_closed_as_its_options_say() {
    search(3, || {
        let (drain, timer_task) = Drain::new();
        let log = Arc::new(Log::default());
        let session = NewSession::new(drain.token(), &log).spawn();
        drain.start(options());
        run_until_closed(&drain, timer_task);
        session.join().unwrap();
        assert_eq!(log.ends(), [End::Closed(Cause::Drained)]);
        assert_eq!(log.code(), Some(CloseStatus::Frame(CloseCode::SERVICE_RESTART)));
    });
}

#[test]
fn two_sessions_are_closed_by_a_drain_that_another_thread_begins() {
    search(2, || {
        let (drain, timer_task) = Drain::new();
        let logs = [(); 2].map(|()| Arc::new(Log::default()));
        let sessions = logs.each_ref().map(|log| NewSession::new(drain.token(), log).spawn());
        drain.start(options());
        run_until_closed(&drain, timer_task);
        sessions.into_iter().for_each(|session| session.join().unwrap());
        for log in logs {
            assert_eq!(log.ends(), [End::Closed(Cause::Drained)]);
        }
    });
}

#[test]
fn a_session_that_closes_for_the_drain_is_ended_by_the_abort() {
    search(2, || {
        let (drain, timer_task) = Drain::new();
        let log = Arc::new(Log::default());
        let session = NewSession::with_silent_peer(drain.token(), &log).spawn();
        let drain = Arc::new(drain);
        let announcer = Arc::clone(&drain);
        let announcer = thread::spawn(move || {
            announcer.start(options());
            announcer.abort();
        });
        run_until_closed(&drain, timer_task);
        announcer.join().unwrap();
        session.join().unwrap();
        assert_eq!(log.ends(), [End::Closed(Cause::Drained)]);
    });
}

#[test]
fn a_drain_is_closed_when_the_last_of_its_tokens_is_dropped() {
    explore(|| {
        let (drain, _) = Drain::new();
        let holders = [drain.token(), drain.token()].map(|token| thread::spawn(|| drop(token)));
        block_on(drain.closed());
        holders.into_iter().for_each(|holder| holder.join().unwrap());
    });
}

fn options() -> DrainOptions {
    DrainOptions { code: CloseCode::SERVICE_RESTART, ..DrainOptions::default() }
}
