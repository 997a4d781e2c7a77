//! Whether this process accepts connections: during a handover another one may.

use std::future::{Future, pending};

use tokio::sync::watch;

/// Whether connections are accepted. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Accepting(watch::Sender<State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Accepting,
    /// Connections wait in the backlog of the listening socket.
    Paused,
    /// The listening sockets are another process's.
    GivenUp,
}

/// A task's view of [`Accepting`].
#[derive(Debug)]
pub(crate) struct AcceptingReceiver(watch::Receiver<State>);

impl Default for Accepting {
    fn default() -> Self {
        Self(watch::Sender::new(State::Accepting))
    }
}

impl Accepting {
    /// Leaves connections in the backlogs until one of the other methods is called.
    pub(crate) fn pause(&self) {
        self.set(State::Paused);
    }

    /// Accepts again.
    pub(crate) fn resume(&self) {
        self.set(State::Accepting);
    }

    /// Accepts no connection any more, and closes the listening sockets without a response to what waits in
    /// their backlogs: another process accepts it.
    pub(crate) fn give_up(&self) {
        self.set(State::GivenUp);
    }

    /// Waits for the end of a pause. Cancel safe.
    pub(crate) async fn settled(&self) {
        // The sender is alive.
        let _ = self.0.subscribe().wait_for(|state| *state != State::Paused).await;
    }

    pub(crate) fn receiver(&self) -> AcceptingReceiver {
        AcceptingReceiver(self.0.subscribe())
    }

    pub(crate) fn is_given_up(&self) -> bool {
        *self.0.borrow() == State::GivenUp
    }

    /// Nothing follows a sender that gave up.
    fn set(&self, next: State) {
        self.0.send_if_modified(|state| {
            let is_changed = *state != State::GivenUp && *state != next;
            if is_changed {
                *state = next;
            }
            is_changed
        });
    }
}

impl AcceptingReceiver {
    /// Waits for `accept` while connections are accepted; a pause drops it, and afterwards it is called anew.
    /// Returns `None` once the sockets are given up. Cancel safe if `accept` is.
    pub(crate) async fn accept<F: Future>(
        &mut self,
        mut accept: impl FnMut() -> F,
    ) -> Option<F::Output> {
        loop {
            let state = *self.0.borrow_and_update();
            let accepted = async {
                match state {
                    State::Accepting => Some(accept().await),
                    State::Paused => pending().await,
                    State::GivenUp => None,
                }
            };
            tokio::select! {
                biased;
                accepted = accepted => return accepted,
                changed = self.0.changed() => if changed.is_err() { return None },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_pause_leaves_connections_and_what_is_given_up_is_accepted_no_more() {
        let accepting = Accepting::default();
        let mut receiver = accepting.receiver();
        assert_eq!(receiver.accept(|| ready(1)).now_or_never(), Some(Some(1)));
        accepting.pause();
        assert_eq!(receiver.accept(|| ready(2)).now_or_never(), None);
        accepting.resume();
        assert_eq!(receiver.accept(|| ready(3)).now_or_never(), Some(Some(3)));
        accepting.give_up();
        accepting.resume();
        assert_eq!(receiver.accept(|| ready(4)).now_or_never(), Some(None));
    }
}
