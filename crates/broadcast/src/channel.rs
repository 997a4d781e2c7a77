//! The newest state of a publisher or of a topic.

use std::array;
use std::mem;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use transport::PreparedMessage;

use crate::frozen::FrozenState;
use crate::statistics::Measurements;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, OnceLock};
use crate::tag::{Form, Tag, random_epoch};
use crate::wakers::Wakers;

/// The newest state, and the sessions that wait for a newer one.
///
/// A channel keeps one state alive. Those that it replaced live only in the output of sessions, except for
/// the payload of the one before, which the newest is compressed with
/// ([`PreparedMessage::following`]).
///
/// With more than 64 sessions, delivering a state writes to no memory that threads share, unless the session
/// has skipped states and that is measured: it loads the revision, and takes the state from the copy of its
/// thread. A thread locks `newest` once for
/// each state. With fewer sessions the copies would take more memory than they save time.
///
/// `newest` is the innermost lock of this crate: it is taken while a copy or a map of topics is locked, not
/// vice versa. A prepared message locks its link for a moment within.
#[derive(Debug)]
pub(crate) struct Channel<V> {
    /// The number of states published, which is the revision of the newest one.
    revision: AtomicU64,
    newest: Mutex<Newest<V>>,
    copies: OnceLock<Box<[ThreadCopy<V>; COPIES]>>,
    /// Not within `newest`, so that a session whose client reads slowly records it without that lock.
    measurements: OnceLock<Arc<Measurements>>,
    pub(crate) wakers: Wakers,
}

#[derive(Debug)]
struct Newest<V> {
    state: Option<State<V>>,
    /// The first part of the tags of states that were published without one. Set by the first session that
    /// is sent tagged states; until then no tagged message is made.
    epoch: Option<NonZeroU64>,
    /// Whether this process has published or removed a state, and not only restored it.
    is_changed: bool,
    /// How often sessions have taken the newest state from here, and not from a copy. A session that ends
    /// takes back its own, so this may be negative. With 32 bits, the flag beside it takes no memory.
    taken: i32,
}

#[derive(Debug)]
pub(crate) struct State<V> {
    revision: u64,
    /// When it was published, as the measurements know it; 0 if there are none.
    published: u64,
    message: PreparedMessage,
    /// Set if the state was published with a tag, or once there is an epoch.
    tagged: Option<Box<Tagged>>,
    value: V,
}

/// The tag of a state, and the message that begins with it.
#[derive(Debug)]
struct Tagged {
    tag: Tag,
    fingerprint: u64,
    /// Set once there is an epoch.
    message: Option<PreparedMessage>,
}

/// A state for one session.
#[derive(Debug)]
pub(crate) struct Newer<V> {
    pub(crate) revision: u64,
    /// When it was published; 0 if that is not measured.
    pub(crate) published: u64,
    pub(crate) message: PreparedMessage,
    /// The fingerprint of the tag, if the state has one.
    pub(crate) fingerprint: Option<u64>,
    pub(crate) value: V,
}

/// A state whose messages have reference counts of their own, for one thread or a few. Copies are in
/// different cache lines, so their locks are not contended for unless there are more threads than copies.
#[derive(Debug)]
#[repr(align(64))]
struct ThreadCopy<V>(Mutex<Copied<V>>);

#[derive(Debug)]
struct Copied<V> {
    state: Option<State<V>>,
    /// The revision that was copied last, and how often sessions have taken it from here. They stay when
    /// the state is dropped.
    revision: u64,
    taken: i64,
}

const COPIES: usize = 16;

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The copy that this thread uses in each channel.
    static COPY: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed) % COPIES;
}

impl<V> Channel<V> {
    pub(crate) fn new() -> Self {
        Self {
            revision: AtomicU64::new(0),
            newest: Mutex::new(Newest::new()),
            measurements: OnceLock::new(),
            copies: OnceLock::new(),
            wakers: Wakers::new(),
        }
    }

    /// Makes this the newest state, and returns the one that it replaces, to be dropped without a lock.
    /// [`notify`](Self::notify) has to follow.
    #[must_use]
    pub(crate) fn store(
        &self,
        message: PreparedMessage,
        tag: Option<Tag>,
        value: V,
    ) -> Option<State<V>> {
        let mut newest = self.newest.lock();
        newest.is_changed = true;
        let revision = self.revision.load(Ordering::Relaxed) + 1;
        let tagged = tag.map(|tag| Box::new(Tagged::new(tag)));
        let published = self.record_published();
        let replaced = newest.replace(State { revision, published, message, tagged, value });
        self.revision.store(revision, Ordering::Release);
        replaced
    }

    /// Makes a state of the process before this one the newest state, unless it is that already, or one was
    /// published or removed here. Returns the state that it replaces, or else the value, to be dropped
    /// without a lock. [`notify`](Self::notify) has to follow.
    pub(crate) fn restore(&self, frozen: FrozenState, value: V) -> Result<Option<State<V>>, V> {
        let mut newest = self.newest.lock();
        if newest.is_changed || newest.tag() == Some(&frozen.tag) {
            return Err(value);
        }
        let FrozenState { revision, tag, message } = frozen;
        let revision = revision.max(self.revision.load(Ordering::Relaxed) + 1);
        let tagged = Some(Box::new(Tagged::new(tag)));
        let published = self.record_published();
        let replaced = newest.replace(State { revision, published, message, tagged, value });
        self.revision.store(revision, Ordering::Release);
        Ok(replaced)
    }

    /// Returns the newest state for another process. Begins to tag states if this one has no tag.
    pub(crate) fn freeze(&self) -> Option<FrozenState> {
        let mut newest = self.newest.lock();
        if newest.state.is_some() && newest.tag().is_none() {
            drop(newest);
            self.begin_tagging();
            newest = self.newest.lock();
        }
        let tag = newest.tag()?.clone();
        let State { revision, message, .. } = newest.state.as_ref()?;
        Some(FrozenState { revision: *revision, tag, message: message.clone() })
    }

    /// Makes the newest state newer than it is, and returns whether there is one.
    /// [`notify`](Self::notify) has to follow.
    #[must_use]
    pub(crate) fn renew(&self) -> bool {
        let mut newest = self.newest.lock();
        if newest.state.is_none() {
            return false;
        }
        newest.taken = 0;
        let published = self.record_published();
        let revision = self.revision.load(Ordering::Relaxed) + 1;
        if let Some(state) = &mut newest.state {
            (state.revision, state.published) = (revision, published);
        }
        self.revision.store(revision, Ordering::Release);
        true
    }

    /// Makes the tagged messages of the newest state and of all later ones.
    pub(crate) fn begin_tagging(&self) {
        let mut newest = self.newest.lock();
        if newest.epoch.is_some() {
            return;
        }
        let epoch = *newest.epoch.insert(random_epoch());
        if let Some(state) = &mut newest.state {
            state.make_tagged(epoch);
        }
        drop(newest);
        self.drop_copies(); // They were made of the state before it had a tagged message.
    }

    /// Drops the copies of the state that was replaced, and wakes all sessions.
    pub(crate) fn notify(&self) {
        self.drop_copies();
        self.wakers.wake_all();
    }

    /// Removes the state and returns it, to be dropped without a lock.
    /// [`drop_copies`](Self::drop_copies) has to follow.
    #[must_use]
    pub(crate) fn take(&self) -> Option<State<V>> {
        let mut newest = self.newest.lock();
        newest.is_changed = true;
        newest.state.take()
    }

    pub(crate) fn drop_copies(&self) {
        for copy in self.copies.get().into_iter().flat_map(|copies| copies.iter()) {
            let stale = copy.0.lock().state.take();
            drop(stale); // Without the lock: the drop of a value may run any code.
        }
    }

    pub(crate) fn has_state(&self) -> bool {
        self.newest.lock().state.is_some()
    }

    /// Measures from now on, unless it is measured already.
    pub(crate) fn measure(&self, measurements: impl FnOnce() -> Arc<Measurements>) {
        self.measurements.get_or_init(measurements);
    }

    pub(crate) fn measurements(&self) -> Option<&Measurements> {
        self.measurements.get().map(|measurements| &**measurements)
    }

    /// Records that a state is published now, if that is measured, and returns the time, or 0.
    fn record_published(&self) -> u64 {
        self.measurements().map_or(0, Measurements::record_published)
    }

    /// Returns the number of registered sessions, and of those that have not taken the newest state.
    pub(crate) fn count_sessions(&self) -> (usize, usize) {
        let registered = self.wakers.len();
        let newest = self.newest.lock();
        let revision = newest.state.as_ref().map(|state| state.revision);
        let mut taken = i64::from(newest.taken);
        drop(newest);
        let Some(revision) = revision else { return (registered, 0) };
        for copy in self.copies.get().into_iter().flat_map(|copies| copies.iter()) {
            let copy = copy.0.lock();
            taken += if copy.revision == revision { copy.taken } else { 0 };
        }
        // Sessions that take the state or end meanwhile may be in one number and not in the other.
        (registered, registered.saturating_sub(usize::try_from(taken).unwrap_or_default()))
    }

    /// Records that a session ends which has taken the state with this revision.
    pub(crate) fn take_back(&self, revision: u64) {
        let mut newest = self.newest.lock();
        if newest.state.as_ref().is_some_and(|state| state.revision == revision) {
            newest.taken -= 1;
        }
    }
}

impl<V: Clone> Channel<V> {
    /// Returns the newest state if there is one and its revision is greater than `seen`. A tagged one is
    /// returned only after [`begin_tagging`](Self::begin_tagging).
    pub(crate) fn newer_than(&self, seen: u64, form: Form) -> Option<Newer<V>> {
        let revision = self.revision.load(Ordering::Acquire);
        if revision == seen {
            return None;
        }
        if !self.wakers.is_sharded() {
            let mut newest = self.newest.lock();
            let newer = newest.state.as_ref()?.in_form(form)?;
            newest.taken += 1;
            return Some(newer);
        }
        let copies = self.copies.get_or_init(|| Box::new(array::from_fn(|_| ThreadCopy::new())));
        let copy = &copies.get(COPY.with(|index| *index)).expect("the index is less than COPIES").0;
        let mut copy = copy.lock();
        let mut stale = None;
        if copy.state.as_ref().is_none_or(|state| state.revision < revision) {
            // `notify` drops the copies after `store`, so a copy of a replaced state does not stay.
            let newest = self.newest.lock().state.as_ref().map(State::with_own_refcounts);
            stale = copy.replace(newest);
        }
        let newer = copy.state.as_ref().and_then(|state| state.in_form(form));
        copy.taken += i64::from(newer.is_some());
        drop(copy);
        drop(stale); // Without the lock, as in `drop_copies`.
        newer
    }
}

impl<V> ThreadCopy<V> {
    fn new() -> Self {
        Self(Mutex::new(Copied { state: None, revision: 0, taken: 0 }))
    }
}

impl<V> Copied<V> {
    fn replace(&mut self, newest: Option<State<V>>) -> Option<State<V>> {
        if let Some(state) = &newest
            && state.revision != self.revision
        {
            (self.revision, self.taken) = (state.revision, 0);
        }
        mem::replace(&mut self.state, newest)
    }
}

impl<V> Newest<V> {
    fn new() -> Self {
        Self { state: None, epoch: None, is_changed: false, taken: 0 }
    }

    fn tag(&self) -> Option<&Tag> {
        self.state.as_ref()?.tagged.as_ref().map(|tagged| &tagged.tag)
    }

    /// Returns the state that this one replaces.
    fn replace(&mut self, mut state: State<V>) -> Option<State<V>> {
        if let Some(epoch) = self.epoch {
            state.make_tagged(epoch);
        }
        if let Some(previous) = &self.state {
            state.follow(previous);
        }
        self.taken = 0;
        self.state.replace(state)
    }
}

impl<V> State<V> {
    fn make_tagged(&mut self, epoch: NonZeroU64) {
        let Self { revision, message, tagged, .. } = self;
        let new = || Box::new(Tagged::new(Tag::numbered(epoch, *revision)));
        let tagged = tagged.get_or_insert_with(new);
        tagged.message = Some(message.with_prefix(&format!("have={}\n", tagged.tag)));
    }

    /// Links each message to the one that it replaces.
    fn follow(&mut self, previous: &Self) {
        let message = self.message.clone();
        self.message = message.following(&previous.message);
        let Some(tagged) = &mut self.tagged else { return };
        let previous = previous.tagged.as_ref().and_then(|previous| previous.message.as_ref());
        if let Some(previous) = previous {
            tagged.message = tagged.message.take().map(|message| message.following(previous));
        }
    }
}

impl<V: Clone> State<V> {
    fn in_form(&self, form: Form) -> Option<Newer<V>> {
        let (message, fingerprint) = match form {
            Form::Bare => (&self.message, self.tagged.as_ref().map(|tagged| tagged.fingerprint)),
            Form::Tagged => {
                let tagged = self.tagged.as_ref()?;
                (tagged.message.as_ref()?, Some(tagged.fingerprint))
            }
        };
        let (message, value) = (message.clone(), self.value.clone());
        let Self { revision, published, .. } = *self;
        Some(Newer { revision, published, message, fingerprint, value })
    }

    fn with_own_refcounts(&self) -> Self {
        Self {
            revision: self.revision,
            published: self.published,
            message: self.message.with_own_refcount(),
            tagged: self.tagged.as_ref().map(|tagged| Box::new(tagged.with_own_refcount())),
            value: self.value.clone(),
        }
    }
}

impl Tagged {
    fn new(tag: Tag) -> Self {
        Self { fingerprint: tag.fingerprint(), tag, message: None }
    }

    fn with_own_refcount(&self) -> Self {
        Self {
            tag: self.tag.clone(),
            fingerprint: self.fingerprint,
            message: self.message.as_ref().map(PreparedMessage::with_own_refcount),
        }
    }
}
