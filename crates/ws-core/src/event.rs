//! The input and the output of the state machine: events and actions.

use core::time::Duration;

use crate::close::{Cause, CloseCode, CloseFrame, CloseRecord};

/// An input of the state machine: something that happened to the session.
///
/// A driver reports each event when it observes it. If it never reports one of the optional events,
/// only the feature that depends on it is lost; the documentation of the event names it.
/// [`Lifecycle`](crate::Lifecycle) has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// This side closes the session at once.
    ///
    /// [`handler_closed`](Event::handler_closed), [`disconnect_requested`](Event::disconnect_requested)
    /// and [`panicked`](Event::panicked) create it.
    Close {
        /// The cause for the close record.
        cause: Cause,
        /// The Close frame for the peer.
        frame: CloseFrame,
    },
    /// The stream ended, failed or was given up.
    Disconnected,
    /// The process shuts down or releases its sessions for another reason.
    ///
    /// This replaces a close that the maximum age or an earlier drain has scheduled, but not the end of
    /// the session's permission.
    Drain {
        /// The close code for the peer: 1001, or 1012 if the service restarts.
        code: CloseCode,
        /// Time from now to the Close frame, if nothing ends the session earlier. Zero closes at once;
        /// different values spread the closes of many sessions.
        after: Duration,
        /// Time from the Close frame after which the client may come back, for the reason of the frame:
        /// `drained retry=4200`, in milliseconds, up to 49 days. [`retry_after`](crate::retry_after) chooses it for many
        /// sessions. `None` says nothing.
        retry: Option<Duration>,
    },
    /// The closing handshake is complete: each side sent a Close frame, and all output is flushed.
    ///
    /// A client reports it, too, before the server has closed the TCP connection.
    Finished,
    /// A whole data message was received.
    Message {
        /// Payload length in bytes.
        bytes: usize,
    },
    /// The beginning of a message or frame was received, but not its end.
    ///
    /// Optional: only the message timeout needs it, together with [`MessageEnded`](Event::MessageEnded).
    MessageBegan,
    /// No message or frame is incomplete in the input.
    ///
    /// Optional: only the message timeout needs it, together with [`MessageBegan`](Event::MessageBegan).
    MessageEnded,
    /// A Close frame was received; `None` is one without a body. The codec echoes it if necessary.
    PeerClose(Option<CloseFrame>),
    /// Pings were received at the same time: usually one. The codec answers them, unless the session is
    /// closing.
    Pings {
        /// How many, at least 1.
        count: u16,
        /// Payload length in bytes, of all of them.
        bytes: usize,
    },
    /// The application wants to know when the peer has received what was sent up to now: a ping is sent at
    /// once, in addition to the regular ones.
    ///
    /// Its pong is the answer to the latest ping ([`Stats::pongs`](crate::Stats::pongs)), and later than
    /// all that was sent before the ping. If an earlier ping waits for its pong, its timeout goes on, and
    /// that pong counts as one that nothing has asked for. So a driver requests few of them.
    PingRequested,
    /// A pong with this payload was received.
    Pong(&'a [u8]),
    /// The driver passed a whole data message to the codec, to send it.
    Sent {
        /// Payload length in bytes.
        bytes: usize,
    },
    /// The process did not run for this time since the last `Stalled`. The input that arrived
    /// meanwhile is read all at once, and the following events report it.
    ///
    /// Optional: without it, the burst of each [`Rate`](crate::Rate) has to cover such input.
    Stalled(Duration),
    /// Time passed. Harmless at any time, and required at [`deadline`](crate::Lifecycle::deadline).
    Tick,
    /// The peer violated the protocol. The codec must not be read any more.
    Violation(Violation),
    /// The stream accepts no more output. The pong and message timeouts are suspended until it does.
    ///
    /// Optional: only the write timeout needs it, together with
    /// [`WriteProgressed`](Event::WriteProgressed).
    WriteBlocked,
    /// Some of the waiting output was written. If the stream does not accept the rest, the driver
    /// reports [`WriteBlocked`](Event::WriteBlocked) again.
    ///
    /// A driver reads nothing while output waits. What it then reads at once counts against the rates as
    /// if it had been read when it came, if there is a write timeout.
    WriteProgressed,
}

impl Event<'_> {
    /// Returns whether drivers report this event before they read the stream: input that arrived in
    /// time may still be unread.
    pub(crate) fn precedes_reading(&self) -> bool {
        matches!(
            self,
            Self::WriteBlocked | Self::Drain { .. } | Self::Stalled(_) | Self::WriteProgressed
        )
    }

    /// Creates the event for a close by the application, with its own code and reason.
    ///
    /// ```
    /// use ws_core::{Cause, CloseCode, CloseFrame, Event};
    ///
    /// let frame = CloseFrame { code: CloseCode::NORMAL, reason: "done".into() };
    /// let Event::Close { cause, .. } = Event::handler_closed(frame) else { panic!() };
    /// assert_eq!(cause, Cause::HandlerClosed);
    /// ```
    #[must_use]
    pub fn handler_closed(frame: CloseFrame) -> Self {
        Self::Close { cause: Cause::HandlerClosed, frame }
    }

    /// Creates the event for a close of this session from outside, by the operator or the application.
    ///
    /// ```
    /// use ws_core::{Cause, CloseCode, CloseFrame, Event};
    ///
    /// let frame = CloseFrame { code: CloseCode::UNAUTHORIZED, reason: "logout".into() };
    /// let Event::Close { cause, .. } = Event::disconnect_requested(frame) else { panic!() };
    /// assert_eq!(cause, Cause::DisconnectRequested);
    /// ```
    #[must_use]
    pub fn disconnect_requested(frame: CloseFrame) -> Self {
        Self::Close { cause: Cause::DisconnectRequested, frame }
    }

    /// Creates the event for a panic in the code that serves the session: it closes with 1011.
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

/// An output of the state machine: what the driver has to do next.
///
/// The driver of the [front page](crate#a-driver) performs each of them.
/// A driver matches them without a `_` arm, so that it cannot miss a new one; a new one is therefore
/// a breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this Close frame.
    ///
    /// If a [`Violation`] caused it, read and discard further input until the peer closes the
    /// connection, which is [`Event::Disconnected`]: closing a TCP socket that has unread input
    /// resets the connection, and the Close frame may be lost.
    Close(CloseFrame),
    /// The session is over: close the stream and report this record.
    ///
    /// After a clean end a server closes the TCP connection; a client first gives the server some time
    /// to do so (RFC 6455, section 7.1.1).
    End(CloseRecord),
    /// Send a ping with this payload.
    Ping(PingPayload),
}

/// The payload of a ping: a counter, so that a late pong is not mistaken for the answer to a newer
/// ping. A driver sends it unchanged.
///
/// [`Lifecycle`](crate::Lifecycle) has an example.
pub type PingPayload = [u8; 4];

/// A protocol violation by the peer. This side sends a Close frame, and the session ends.
///
/// ```
/// # use std::sync::Arc;
/// use std::time::Duration;
/// use ws_core::{Action, CloseCode, Event, Violation};
/// # use ws_core::{Lifecycle, Limits, SessionConfig, Timing};
/// # let time = Duration::from_secs(25);
/// # let timing =
/// #     Timing { ping_interval: time, pong_timeout: time, close_timeout: time, max_age: None, reconnect_spread: Duration::ZERO };
/// # let config = SessionConfig { timing, limits: Limits::default() };
/// # let mut session = Lifecycle::new(Arc::new(config), 0);
///
/// let event = Event::Violation(Violation::TooBig);
/// let Some(Action::Close(frame)) = session.handle(event, Duration::from_secs(1)) else { panic!() };
/// assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::MESSAGE_TOO_BIG, "too_big"));
///
/// // The driver discards further input until the peer closes the connection.
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
    /// A frame broke the framing rules: 1002.
    ProtocolError,
    /// A frame or a message exceeded the size limit: 1009.
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

    /// Returns the frame with the code for this violation (RFC 6455, section 7.4.1).
    pub(crate) fn close_frame(self) -> CloseFrame {
        //= rfc6455#7.1.7-3 rfc6455#10.7-2
        let code = match self {
            Self::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::ProtocolError => CloseCode::PROTOCOL_ERROR,
            Self::TooBig => CloseCode::MESSAGE_TOO_BIG,
        };
        CloseFrame::for_cause(self.cause(), code)
    }
}
