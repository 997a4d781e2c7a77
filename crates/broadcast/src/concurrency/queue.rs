//! Events reach the session of a mailbox in order.

use std::future::poll_fn;
use std::num::NonZeroUsize;

use loom::thread;

use super::executor::{block_on, explore};
use crate::mailbox::{Sent, WhenFull, mailbox};

#[test]
fn a_session_that_begins_to_wait_while_events_are_sent_gets_each() {
    explore(|| {
        let (sender, mut events) = mailbox(NonZeroUsize::new(2).unwrap(), WhenFull::Refuse);
        let session = thread::spawn(move || {
            for dropped in [0, 0] {
                let event = block_on(poll_fn(|cx| events.poll_event(cx))).unwrap();
                assert_eq!(event.dropped, dropped);
            }
        });
        assert_eq!(sender.send("first"), Ok(Sent::Queued));
        assert_eq!(sender.send("second"), Ok(Sent::Queued));
        session.join().unwrap();
    });
}
