//! The subscription of a session, and the states that it returns.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use transport::{Bytes, Handler, Message, Next, PreparedMessage};

use crate::channel::{Channel, Newer};
use crate::frozen::{FrozenState, decode_subscription, encode_subscription};
use crate::statistics::{Measurements, Session};
use crate::tag::{Form, Have, Tag};
use crate::wakers::Registration;

/// The handler of a session that sends the newest state and discards the messages of its peer.
///
/// Where a publisher is [measured](crate::Publisher::measure), the session also pings its client after one
/// state in 64. A handler that contains a subscription takes part in this if it calls `poll_next` and passes
/// on [`pong`](Handler::pong).
///
/// It can be [handed over](crate::Publisher#handover) to another process. A handler that contains a
/// subscription calls [`freeze`](Self::freeze) in its own, and adds what it has itself. While it keeps a
/// state that `poll_update` has returned, its own returns `None`.
///
/// A clone starts anew: its session first sends the newest state, also if this one has sent it already or
/// its client has it. It sends tagged states if this one does.
///
/// Another handler can contain a subscription, and call [`poll_update`](Self::poll_update) in its own
/// [`poll_next`](Handler::poll_next):
///
/// ```
/// # use std::task::{Context, Poll};
/// use broadcast::Subscription;
/// use transport::{Handler, Message, Next};
///
/// #[derive(Clone)]
/// struct Greeter {
///     states: Subscription,
///     has_greeted: bool,
/// }
///
/// impl Handler for Greeter {
///     fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
///         if !self.has_greeted {
///             self.has_greeted = true;
///             return Poll::Ready(Next::Send(Message::from("hello")));
///         }
///         self.states.poll_update(cx).map(|update| Next::SendPrepared(update.message))
///     }
///
///     fn receive(&mut self, _: Message) {}
/// }
/// ```
#[derive(Debug)]
pub struct Subscription<V = ()> {
    channel: Arc<Channel<V>>,
    position: Position,
    registration: Option<Registration>,
}

/// A state, as [`Subscription::poll_update`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Update<V = ()> {
    /// The state, for [`Next::SendPrepared`]. It begins with its tag if the client knows of tags.
    pub message: PreparedMessage,
    /// The number of the state among all states of its publisher, from 1. One that was
    /// [published again](crate::Publisher::republish) counts again.
    pub revision: u64,
    /// The number of states that were published since the previous one that this subscription returned,
    /// and that it never returned. 0 for the first state that it returns. A state that was published again
    /// counts again. The state that the client had when it subscribed counts as returned.
    pub skipped: u64,
    /// What was published beside the state.
    pub value: V,
}

/// What the client of a subscription has, the form of its states, and whether it is being measured, in eight
/// bytes.
///
/// The four highest bits are flags. The others are the revision that was returned last, or 0 if there is
/// none; before the first one, they may be the fingerprint of the tag that the client has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position(u64);

impl<V> Subscription<V> {
    pub(crate) fn new(channel: Arc<Channel<V>>, position: Position) -> Self {
        if position.form() == Form::Tagged {
            channel.begin_tagging();
        }
        Self { channel, position, registration: None }
    }

    /// Returns what another process needs to continue this session with
    /// [`Publisher::thaw`](crate::Publisher::thaw): in which form it sends states, and the tag of the newest
    /// state if its client has that one. Has at most 66 bytes.
    ///
    /// The session may go on. If the newest state has no tag, it and all later ones get tags, as for a client
    /// that knows of tags.
    #[must_use]
    pub fn freeze(&self) -> Bytes {
        let is_known = |newest: &FrozenState| self.position.is_at(newest.revision, &newest.tag);
        let known = self.channel.freeze().filter(is_known);
        encode_subscription(self.position.form(), known.map(|state| state.tag).as_ref())
    }

    /// Returns what the client of a clone has.
    pub(crate) fn have_anew(&self) -> Have {
        match self.position.form() {
            Form::Bare => Have::Absent,
            Form::Tagged => Have::Nothing,
        }
    }
}

impl<V: Clone> Subscription<V> {
    /// Returns the newest state, unless this subscription has returned it already, or its client has it.
    ///
    /// `Pending` means that there is no newer state; the waker in `cx` is woken when there is one. Only
    /// the waker of the latest call is woken. A subscription whose publisher was dropped stays pending.
    ///
    /// What the client [has](Have) is compared with the first state that this finds, and not before: a state
    /// that is published between the handshake and the first call counts.
    pub fn poll_update(&mut self, cx: &mut Context<'_>) -> Poll<Update<V>> {
        let (newer, seen) = ready!(self.poll_newer(cx));
        let Newer { revision, message, value, .. } = newer;
        Poll::Ready(Update { message, revision, skipped: skipped(seen, revision), value })
    }

    /// Returns a newer state, and the revision that was returned before it, or 0 if none was.
    fn poll_newer(&mut self, cx: &mut Context<'_>) -> Poll<(Newer<V>, u64)> {
        // Register before looking for a state: a `publish` that the look misses finds the waker.
        self.channel.wakers.register(&mut self.registration, cx.waker());
        let seen = self.position.revision();
        let Some(newer) = self.channel.newer_than(seen, self.position.form()) else {
            return Poll::Pending;
        };
        let is_known = newer.fingerprint.is_some_and(|it| self.position.is_fingerprint(it));
        self.position.advance(newer.revision);
        if is_known {
            return Poll::Pending;
        }
        let skipped = skipped(seen, newer.revision);
        if skipped > 0 && newer.published > 0 {
            self.with_measurements(|measurements| measurements.record_skipped(skipped));
        }
        Poll::Ready((newer, seen))
    }
}

/// Returns the number of states between two that were returned.
fn skipped(before: u64, revision: u64) -> u64 {
    if before == 0 { 0 } else { revision - before - 1 }
}

impl<V: Clone + Send + 'static> Handler for Subscription<V> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.position.has(Position::PING_DUE) {
            self.position.replace(Position::PING_DUE, Position::AWAITS_PONG);
            return Poll::Ready(Next::Ping);
        }
        let (newer, seen) = ready!(self.poll_newer(cx));
        if newer.published > 0 {
            self.sample(seen, newer.revision, newer.published);
        }
        Poll::Ready(Next::SendPrepared(newer.message))
    }

    fn receive(&mut self, _: Message) {}

    fn freeze(&self) -> Option<Bytes> {
        Some(self.freeze())
    }

    fn thaw(&self, frozen: Bytes) -> Option<Self> {
        Some(Self::new(Arc::clone(&self.channel), Position::from_frozen(&frozen)?))
    }

    fn pong(&mut self) {
        // A regular ping may be answered while the own one is not sent yet.
        if self.position.has(Position::AWAITS_PONG) {
            self.position.replace(Position::AWAITS_PONG, 0);
            if let Some(session) = self.session() {
                self.with_measurements(|measurements| measurements.end(session));
            }
        }
    }
}

/// A session takes part in the measurement of one state in this number.
const STATES_PER_SAMPLE: u64 = 64;

impl<V> Subscription<V> {
    /// Begins to measure how long this state takes to the client, if it is the session's turn.
    ///
    /// The turn goes around by the place of the waker, so each state has other sessions, and each session
    /// has a turn in 64 states. If the state of its turn was skipped, the next one is measured. The first
    /// state of a session is not: it was published before the client came.
    fn sample(&mut self, seen: u64, revision: u64, published: u64) {
        let Some(session @ (_, _, place)) = self.session() else { return };
        let round = |revision: u64| (revision + u64::from(place)) / STATES_PER_SAMPLE;
        let is_measured = self.position.has(Position::PING_DUE | Position::AWAITS_PONG);
        if seen > 0 && round(seen) != round(revision) && !is_measured {
            self.position.replace(0, Position::PING_DUE);
            self.with_measurements(|measurements| measurements.begin(session, published));
        }
    }

    fn session(&self) -> Option<Session> {
        let (shard, place) = self.registration.as_ref()?.place();
        Some((Arc::as_ptr(&self.channel).addr(), shard, place))
    }

    fn with_measurements(&self, record: impl FnOnce(&Measurements)) {
        if let Some(measurements) = self.channel.measurements() {
            record(measurements);
        }
    }
}

impl<V> Clone for Subscription<V> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.channel), Position::of(&self.have_anew()))
    }
}

impl<V> Drop for Subscription<V> {
    fn drop(&mut self) {
        let session = self.session();
        if self.position.has(Position::PING_DUE | Position::AWAITS_PONG)
            && let Some(session) = session
        {
            self.with_measurements(|measurements| measurements.cancel(session));
        }
        if let Some(registration) = self.registration.take() {
            self.channel.wakers.deregister(&registration);
            self.channel.take_back(self.position.revision());
        }
    }
}

impl Position {
    const TAGGED: u64 = 1 << 63;
    const FINGERPRINT: u64 = 1 << 62;
    /// A state that is measured was returned, and the ping for it was not.
    const PING_DUE: u64 = 1 << 61;
    /// The ping was returned.
    const AWAITS_PONG: u64 = 1 << 60;
    const NUMBER: u64 = Self::AWAITS_PONG - 1;

    /// Returns the position of a client that has this.
    pub(crate) fn of(have: &Have) -> Self {
        match have {
            Have::Absent => Self::new(Form::Bare, None),
            Have::Nothing => Self::new(Form::Tagged, None),
            Have::State(tag) => Self::new(Form::Tagged, Some(tag)),
        }
    }

    /// Returns the position of a session of another process, or `None` if `frozen` cannot be read.
    pub(crate) fn from_frozen(frozen: &[u8]) -> Option<Self> {
        let (form, tag) = decode_subscription(frozen)?;
        Some(Self::new(form, tag.as_ref()))
    }

    /// Returns a position before the first state. `tag` is that of the state that the client has.
    fn new(form: Form, tag: Option<&Tag>) -> Self {
        let form = match form {
            Form::Bare => 0,
            Form::Tagged => Self::TAGGED,
        };
        let number = tag.map_or(0, |tag| Self::FINGERPRINT | (tag.fingerprint() & Self::NUMBER));
        Self(form | number)
    }

    fn form(self) -> Form {
        if self.has(Self::TAGGED) { Form::Tagged } else { Form::Bare }
    }

    /// Returns the revision that was returned last, or 0 if there is none.
    fn revision(self) -> u64 {
        if self.has(Self::FINGERPRINT) { 0 } else { self.0 & Self::NUMBER }
    }

    /// Returns whether the client has the state whose tag has this fingerprint.
    fn is_fingerprint(self, fingerprint: u64) -> bool {
        self.has(Self::FINGERPRINT) && (self.0 ^ fingerprint) & Self::NUMBER == 0
    }

    /// Returns whether the client has the state with this revision and tag.
    fn is_at(self, revision: u64, tag: &Tag) -> bool {
        self.revision() == revision || self.is_fingerprint(tag.fingerprint())
    }

    fn advance(&mut self, revision: u64) {
        self.0 = (self.0 & !(Self::FINGERPRINT | Self::NUMBER)) | revision;
    }

    /// Returns whether one of these flags is set.
    fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    fn replace(&mut self, flags: u64, by: u64) {
        self.0 = (self.0 & !flags) | by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_subscription_takes_40_bytes() {
        assert_eq!(size_of::<Subscription>(), 40);
        assert_eq!(size_of::<Subscription<String>>(), 40);
    }
}
