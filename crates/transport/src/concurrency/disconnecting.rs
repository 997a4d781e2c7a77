//! A session that has to be closed from outside is closed, also if it is only just opening.

use std::sync::Arc;

use ws_core::{Cause, CloseCode, CloseFrame};

use super::executor::explore;
use super::session::{End, Log, NewSession};
use crate::drain::Drain;
use crate::identity::Identity;
use crate::registry::SessionRegistry;

fn frame() -> CloseFrame {
    CloseFrame { code: CloseCode::UNAUTHORIZED, reason: "logout".into() }
}

#[test]
fn a_user_who_is_disconnected_while_a_session_opens_does_not_keep_it() {
    explore(|| {
        let registry = SessionRegistry::default();
        let (drain, timer_task) = Drain::with_sessions(registry.clone());
        let (log, user) = (Arc::new(Log::default()), Identity::try_from("user-7").unwrap());
        let calls = registry.calls();
        let session = NewSession::new(drain.token(), &log).spawn_with_identity(user, calls);
        registry.disconnect("user-7", &frame());
        session.join().unwrap();
        assert_eq!(log.ends(), [End::Closed(Cause::DisconnectRequested)]);
        assert_eq!(registry.len(), 0);
        drop((drain, timer_task));
    });
}
