//! What goes into the machine, and what comes out of it.

use core::time::Duration;

use crate::close::{Cause, CloseCode, CloseFrame, CloseRecord};

/// Something that happened to a session.
///
/// A driver tells each as it sees it. What it never tells only costs what depends on that, which the
/// event's own lines say. [`Lifecycle`](crate::Lifecycle) has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The stream refuses output. Only the write timeout needs it, together with `WriteProgressed`.
    WriteBlocked,
    /// This side wants to end the session at once, for `cause` and with `frame`. There is a
    /// constructor for each such cause.
    Close {
        /// What the closure record shall say.
        cause: Cause,
        /// What the peer shall be told.
        frame: CloseFrame,
    },
    /// Nothing is unfinished of what the peer sent. Only the message timeout needs it, together with
    /// `MessageBegan`.
    MessageEnded,
    /// The stream ended, failed or was given up.
    Disconnected,
    /// The process shuts down, or lets go of its sessions in another way. This takes the place of an
    /// end that a greatest age or an earlier drain had set.
    Drain {
        /// What the peer shall be told: 1001, or 1012 where the service comes back.
        code: CloseCode,
        /// From now to the Close frame, if nothing else ends the session before. Zero is at once;
        /// sessions that are to leave one after the other get different ones.
        after: Duration,
    },
    /// The closing handshake is complete and everything is flushed: a Close frame went each way. For
    /// a client, too, this is before the server has closed the TCP connection.
    Finished,
    /// A whole data message came.
    Message {
        /// The length of its payload.
        bytes: usize,
    },
    /// There is a beginning of something whose end has not come.
    MessageBegan,
    /// A Close frame came, with or without a body.
    /// Whatever answer it needs is the codec's business.
    PeerClose(Option<CloseFrame>),
    /// A ping came. The codec answers it, unless the session is closing already.
    Ping {
        /// The length of its payload.
        bytes: usize,
    },
    /// A pong came, with this payload.
    Pong(&'a [u8]),
    /// A whole data message of ours was handed to the codec.
    Sent {
        /// The length of its payload.
        bytes: usize,
    },
    /// The process has stood still for so long since this was last told, so what the peer said
    /// meanwhile comes all at once, and is told next. Whoever cannot tell leaves it out: a burst then
    /// has to cover it.
    Stalled(Duration),
    /// Time has passed. Harmless at any moment, and needed at [`deadline`](crate::Lifecycle::deadline).
    Tick,
    /// The peer broke a rule, and the codec is not to be read again.
    Violation(Violation),
    /// Some of the output that waited went out. If the rest is refused, it is `WriteBlocked` anew.
    WriteProgressed,
}

impl Event<'_> {
    /// Whether a driver tells it before it reads, so that the peer's answer may still lie unread.
    pub(crate) fn precedes_reading(&self) -> bool {
        matches!(
            self,
            Self::WriteBlocked | Self::Drain { .. } | Self::Stalled(_) | Self::WriteProgressed
        )
    }

    /// The application closes the session with a code and a reason of its own.
    ///
    /// ```
    /// use ws_core::{Cause, CloseCode, CloseFrame, Event};
    ///
    /// let frame = CloseFrame { code: CloseCode::NORMAL, reason: "goodbye".into() };
    /// let Event::Close { cause, .. } = Event::handler_closed(frame) else { panic!() };
    /// assert_eq!(cause, Cause::HandlerClosed);
    /// ```
    #[must_use]
    pub fn handler_closed(frame: CloseFrame) -> Self {
        Self::Close { cause: Cause::HandlerClosed, frame }
    }

    /// The code that serves the session panicked: 1011.
    ///
    /// ```
    /// use ws_core::{Cause, CloseCode, Event};
    ///
    /// let Event::Close { cause, frame } = Event::panicked() else { panic!() };
    /// assert_eq!((cause, frame.code), (Cause::Panicked, CloseCode::INTERNAL_ERROR));
    /// ```
    #[must_use]
    pub fn panicked() -> Self {
        let frame = CloseFrame::for_cause(Cause::Panicked, CloseCode::INTERNAL_ERROR);
        Self::Close { cause: Cause::Panicked, frame }
    }
}

/// What the driver has to do next. The driver of the [front page](crate#a-driver) does each.
///
/// A driver matches these without `_`, so that it cannot overlook a new one; therefore a new one is
/// a breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this Close frame.
    ///
    /// If a [`Violation`] led to it, what the peer still sends is to be read and thrown away until
    /// the peer hangs up, which is [`Event::Disconnected`]: closing a TCP socket that holds unread
    /// input resets the connection, and the frame may be lost with it.
    Close(CloseFrame),
    /// The session is over: let go of the stream and report this.
    ///
    /// After a clean end a server closes the TCP connection, and a client gives it a moment to do so
    /// first (RFC 6455, section 7.1.1).
    End(CloseRecord),
    /// Send a ping with this payload.
    Ping(PingPayload),
}

/// The payload of a ping: a counter, so that a late pong is not taken for the answer to a newer ping.
/// A driver sends it as it is. [`Lifecycle`](crate::Lifecycle) has an example.
pub type PingPayload = [u8; 4];

/// A peer's fault that ends the session after the peer was told.
///
/// ```
/// # use std::sync::Arc;
/// use std::time::Duration;
/// use ws_core::{Action, CloseCode, Event, Violation};
/// # use ws_core::{Lifecycle, Limits, SessionConfig, Timing};
/// # let time = Duration::from_secs(25);
/// # let timing =
/// #     Timing { ping_interval: time, pong_timeout: time, close_timeout: time, max_age: None };
/// # let config = SessionConfig { timing, limits: Limits::default() };
/// # let mut session = Lifecycle::new(Arc::new(config), 0);
///
/// let event = Event::Violation(Violation::TooBig);
/// let Some(Action::Close(frame)) = session.handle(event, Duration::from_secs(1)) else { panic!() };
/// assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::MESSAGE_TOO_BIG, "too_big"));
///
/// // What still comes is thrown away until the peer hangs up.
/// let Some(Action::End(record)) = session.handle(Event::Disconnected, Duration::from_secs(2))
/// else {
///     panic!()
/// };
/// assert!(!record.clean);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// A text message or a close reason was not UTF-8: 1007.
    InvalidUtf8,
    /// The framing rules were broken: 1002.
    ProtocolError,
    /// A frame or a message was larger than allowed: 1009.
    TooBig,
}

impl Violation {
    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::InvalidUtf8 => Cause::InvalidUtf8,
            Self::ProtocolError => Cause::ProtocolError,
            Self::TooBig => Cause::TooBig,
        }
    }

    /// RFC 6455, section 7.4.1, says which code is for what.
    pub(crate) fn close_frame(self) -> CloseFrame {
        let code = match self {
            Self::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::ProtocolError => CloseCode::PROTOCOL_ERROR,
            Self::TooBig => CloseCode::MESSAGE_TOO_BIG,
        };
        CloseFrame::for_cause(self.cause(), code)
    }
}
