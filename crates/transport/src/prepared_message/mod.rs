//! Messages that are encoded, and compressed, once for many sessions.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::compression::{Compression, MAX_INPUT_BYTES, WINDOW_BYTES, WindowId};
use crate::frame::{compressed_frame, plain_frame};
use crate::message::Message;

/// A message that is encoded once, to be sent by any number of sessions.
///
/// The frames of a server are not masked (RFC 6455, section 5.1), so they are the same for every client.
/// Clones share the bytes, and sessions write them without a copy. See
/// [`Next::SendPrepared`](crate::Next::SendPrepared).
///
/// A [compressible](Self::compressible) message is also compressed once for all sessions that negotiated
/// it, when the first of them sends it. It is sent as it is where that is not longer, and if it has more
/// than 256 KiB.
///
/// ```
/// use transport::{Message, PreparedMessage};
///
/// let prepared = PreparedMessage::from(Message::from("all is well"));
/// assert_eq!(prepared.payload_len(), 11);
/// ```
#[derive(Clone)]
pub struct PreparedMessage(Handle);

#[derive(Clone)]
enum Handle {
    /// With the reference count of all clones.
    Shared(Arc<Content>),
    /// With a reference count of its own.
    #[expect(clippy::redundant_allocation, reason = "the outer count is the clones' own")]
    Own(Arc<Arc<Content>>),
}

struct Content {
    frame: Bytes,
    header_len: u8,
    opcode: OpCode,
    is_compressible: bool,
    /// Allocated when a session needs a compressed frame, or when the message before was sent compressed.
    compressed: OnceLock<Box<Compressed>>,
}

/// The compressed frames of a message.
struct Compressed {
    /// The window of a client that inflated this message last.
    window: WindowId,
    /// Whether there are such clients, which keep their window.
    is_in_windows: AtomicBool,
    base: Option<Base>,
    fresh: Frame,
    difference: Frame,
    repeated: Frame,
}

/// Made by the first session that needs it. The sessions of other threads that need it at the same time
/// wait, which takes less of the processor than to compress it on each thread. `None` if it would not be
/// shorter than the message as it is.
type Frame = OnceLock<Option<Box<[u8]>>>;

/// A message before this one.
struct Base {
    window: WindowId,
    /// The dictionary, until the difference is made.
    payload: Mutex<Option<Bytes>>,
}

/// The frame of a prepared message that a session sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Without compression.
    Plain,
    /// Compressed by itself.
    Fresh,
    /// For a client that inflated the [base](Base) last.
    Difference,
    /// For a client that inflated the message itself last.
    Repeated,
}

impl PreparedMessage {
    /// Returns the length of the message's payload in bytes, without compression.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload().len()
    }

    /// Returns the payload.
    ///
    /// ```
    /// use transport::{Message, PreparedMessage};
    ///
    /// let prepared = PreparedMessage::from(Message::from("all is well"));
    /// assert_eq!(prepared.payload(), b"all is well");
    /// ```
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let Content { frame, header_len, .. } = self.content();
        frame.get(usize::from(*header_len)..).unwrap_or_default()
    }

    /// Returns whether the payload is text, which is UTF-8, and not binary.
    ///
    /// ```
    /// use transport::{Message, PreparedMessage};
    ///
    /// assert!(PreparedMessage::from(Message::from("all is well")).is_text());
    /// assert!(!PreparedMessage::from(Message::from(vec![0xff])).is_text());
    /// ```
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.content().opcode == OpCode::Data(Data::Text)
    }

    /// Encodes a message that sessions may send compressed.
    ///
    /// The length of a compressed message tells whether its parts are alike. So it must not have a secret
    /// beside anything that an attacker has chosen (RFC 7692, section 8). That is why other prepared
    /// messages are sent as they are.
    ///
    /// ```
    /// use transport::{Message, PreparedMessage};
    ///
    /// let weather = PreparedMessage::compressible(&Message::from("sunny, sunny, sunny"));
    /// assert_eq!(weather, PreparedMessage::from(Message::from("sunny, sunny, sunny")));
    /// ```
    #[must_use]
    pub fn compressible(message: &Message) -> Self {
        Self::new(message.opcode(), message.payload(), true)
    }

    /// Encodes the same message with a text before its payload.
    ///
    /// It may be compressed if this one may, and follows no other message. Its bytes are its own.
    ///
    /// ```
    /// use transport::{Message, PreparedMessage};
    ///
    /// let weather = PreparedMessage::from(Message::from("sunny"));
    /// assert_eq!(weather.with_prefix("today: ").payload(), b"today: sunny");
    /// ```
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Self {
        let Content { opcode, is_compressible, .. } = *self.content();
        let payload = [prefix.as_bytes(), self.payload()].concat();
        Self::new(opcode, &payload, is_compressible)
    }

    fn new(opcode: OpCode, payload: &[u8], is_compressible: bool) -> Self {
        let (frame, header_len) = plain_frame(opcode, payload);
        Self(Handle::Shared(Arc::new(Content {
            frame: frame.into(),
            header_len,
            opcode,
            is_compressible,
            compressed: OnceLock::new(),
        })))
    }

    /// Links a [compressible](Self::compressible) message to one that it replaces, and returns it.
    ///
    /// Where the compression of messages may be [shared](Compression::Shared), a session whose client has
    /// inflated `previous` last sends a frame that was compressed with `previous` as the dictionary, and
    /// is about as long as the difference between the two. All sessions share that frame. Other sessions
    /// send the whole message. A state of 9 KB in JSON of which 5 % changed takes 161 bytes then, where
    /// it takes 1722 compressed by itself.
    ///
    /// Until the frame is made, the message keeps the payload of `previous`, and nothing of those before.
    /// The link is left out where it would be of no use: if this message is not compressible, if no session
    /// has sent `previous` compressed, or if `previous` has more than 32 KiB, which is what an inflater
    /// keeps. If `previous` has not been sent, but the one that it is linked to, this message is linked to
    /// that.
    ///
    /// ```
    /// use transport::{Message, PreparedMessage};
    ///
    /// let message = |text| PreparedMessage::compressible(&Message::from(text));
    /// let first = message(r#"{"home":1,"away":1}"#);
    /// let second = message(r#"{"home":2,"away":1}"#).following(&first);
    /// assert_eq!(second.payload(), br#"{"home":2,"away":1}"#);
    /// ```
    #[must_use]
    pub fn following(self, previous: &Self) -> Self {
        if self.may_compress()
            && let Some(base) = previous.as_base()
        {
            // A message that was sent compressed before stays as it is.
            let _ = self.content().compressed.set(Box::new(Compressed::new(Some(base))));
        }
        self
    }

    /// Returns the same message with a reference count of its own. The bytes are not copied.
    ///
    /// All clones of a prepared message share one reference count, for whose cache line the cores
    /// contend. A handler of many sessions takes one of these for each thread, and sends clones of it.
    ///
    /// ```
    /// use transport::{Message, PreparedMessage};
    ///
    /// let prepared = PreparedMessage::from(Message::from("all is well"));
    /// assert_eq!(prepared.with_own_refcount(), prepared);
    /// ```
    #[must_use]
    pub fn with_own_refcount(&self) -> Self {
        Self(Handle::Own(Arc::new(Arc::clone(match &self.0 {
            Handle::Shared(content) => content,
            Handle::Own(content) => content,
        }))))
    }

    /// Selects the frame for a session, and makes it if no session has needed it yet. `window` is that of
    /// the session's client, before the frame and after it.
    pub(crate) fn select(&self, compression: Compression, window: &mut WindowId) -> Form {
        if !self.may_compress() {
            return Form::Plain;
        }
        let compressed = self.compressed();
        let form = match compression {
            //= rfc7692#7.2.1-3
            Compression::Fresh => Form::Fresh,
            Compression::Shared => compressed.form_for(*window, self.payload_len()),
        };
        if self.make(form).is_none() {
            return Form::Plain;
        }
        match compression {
            Compression::Fresh => {}
            Compression::Shared => {
                *window = compressed.window;
                // Threads share the cache line, so it is written once.
                if !compressed.is_in_windows.load(Ordering::Relaxed) {
                    compressed.is_in_windows.store(true, Ordering::Relaxed);
                }
            }
        }
        form
    }

    /// Returns the frame of a form that was [selected](Self::select): its header and its payload.
    pub(crate) fn frame(&self, form: Form) -> &[u8] {
        self.make(form).expect("a form is selected only if its frame was made")
    }

    fn make(&self, form: Form) -> Option<&[u8]> {
        let compress = |dictionary: Option<&[u8]>| {
            let frame = compressed_frame(self.content().opcode, self.payload(), dictionary);
            frame.map(Vec::into_boxed_slice)
        };
        match form {
            Form::Plain => Some(&self.content().frame),
            Form::Fresh => self.compressed().fresh.get_or_init(|| compress(None)).as_deref(),
            Form::Difference => {
                let base = self.compressed().base.as_ref()?;
                let make = || base.make_difference(|dictionary| compress(Some(dictionary)));
                self.compressed().difference.get_or_init(make).as_deref()
            }
            Form::Repeated => {
                let frame = &self.compressed().repeated;
                frame.get_or_init(|| compress(Some(self.payload()))).as_deref()
            }
        }
    }

    /// Returns the newest of this message and those before that clients may have inflated last, if it is
    /// of use to the next one.
    fn as_base(&self) -> Option<Base> {
        let Content { frame, header_len, compressed, .. } = self.content();
        let compressed = compressed.get()?;
        if !compressed.is_in_windows.load(Ordering::Relaxed) {
            return compressed.base.as_ref()?.duplicate();
        }
        let payload = frame.slice(usize::from(*header_len)..);
        (payload.len() <= WINDOW_BYTES).then(|| Base::new(compressed.window, payload))
    }

    fn may_compress(&self) -> bool {
        self.content().is_compressible && self.payload_len() <= MAX_INPUT_BYTES
    }

    fn content(&self) -> &Content {
        match &self.0 {
            Handle::Shared(content) => content,
            Handle::Own(content) => content,
        }
    }

    fn compressed(&self) -> &Compressed {
        self.content().compressed.get_or_init(|| Box::new(Compressed::new(None)))
    }
}

/// Encodes a message that is sent as it is.
impl From<Message> for PreparedMessage {
    fn from(message: Message) -> Self {
        Self::new(message.opcode(), message.payload(), false)
    }
}

/// Messages are equal if their frames without compression are.
impl PartialEq for PreparedMessage {
    fn eq(&self, other: &Self) -> bool {
        self.content().frame == other.content().frame
    }
}

impl Eq for PreparedMessage {}

impl fmt::Debug for PreparedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedMessage").field("frame", &self.content().frame).finish()
    }
}

impl Compressed {
    fn new(base: Option<Base>) -> Self {
        Self {
            window: WindowId::of_new_message(),
            is_in_windows: AtomicBool::new(false),
            base,
            fresh: OnceLock::new(),
            difference: OnceLock::new(),
            repeated: OnceLock::new(),
        }
    }

    /// Returns the form that is the shortest for a client with this window.
    fn form_for(&self, window: WindowId, payload_len: usize) -> Form {
        if window == self.window && payload_len <= WINDOW_BYTES {
            Form::Repeated
        } else if self.base.as_ref().is_some_and(|base| base.window == window) {
            Form::Difference
        } else {
            Form::Fresh
        }
    }
}

impl Base {
    fn new(window: WindowId, payload: Bytes) -> Self {
        Self { window, payload: Mutex::new(Some(payload)) }
    }

    /// Returns the same base for another message, unless the difference from it was made.
    fn duplicate(&self) -> Option<Self> {
        let payload = self.payload.lock().clone()?;
        Some(Self::new(self.window, payload))
    }

    /// Makes the frame that needs the payload, and frees the payload.
    fn make_difference(
        &self,
        compress: impl FnOnce(&[u8]) -> Option<Box<[u8]>>,
    ) -> Option<Box<[u8]>> {
        let dictionary = self.payload.lock().clone()?;
        let frame = compress(&dictionary);
        // Without a frame, clients still have this window, and the next message may be linked to it.
        if frame.is_some() {
            self.payload.lock().take();
        }
        frame
    }
}
