//! A driver for [`Lifecycle`] on one thread: a blocking socket, tungstenite's codec, and the machine.
//!
//! The thread waits in one place only, the socket, and never beyond the machine's deadline.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind};
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{HandshakeError, Message, WebSocket, protocol};
use ws_core::{
    Action, CloseCode, CloseFrame, CloseRecord, Event, Lifecycle, Reason, SessionConfig, Violation,
};

use crate::bounded::Bounded;

/// How long the thread stays in the socket before it looks whether it is to leave.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// The most that is held for the server: also what tungstenite reserves for a frame of which only the
/// head has come.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// The client's side of a session.
pub(crate) struct Client {
    socket: WebSocket<Bounded>,
    lifecycle: Lifecycle,
    close_timeout: Duration,
    opened: Instant,
    /// The system did not take all of our output.
    is_blocked: bool,
    /// The server broke a rule, so nothing that it still says is understood.
    is_failing: bool,
}

impl Client {
    /// Opens a session over `stream`, which is connected, before that stream's time is over.
    pub(crate) fn open(url: &str, stream: Bounded, config: SessionConfig) -> Result<Self, Error> {
        let codec = WebSocketConfig::default()
            .max_frame_size(Some(MAX_MESSAGE_BYTES))
            .max_message_size(Some(MAX_MESSAGE_BYTES));
        let (socket, _) = match tungstenite::client::client_with_config(url, stream, Some(codec)) {
            Ok(opened) => opened,
            Err(HandshakeError::Failure(error)) => return Err(error),
            Err(HandshakeError::Interrupted(_)) => {
                return Err(Error::Io(ErrorKind::TimedOut.into()));
            }
        };
        // By chance, so that clients which a server has lost all at once do not ping in step.
        let jitter = u32::try_from(RandomState::new().build_hasher().finish() >> 32);
        Ok(Self {
            socket,
            lifecycle: Lifecycle::new(Arc::new(config), jitter.unwrap_or_default()),
            close_timeout: config.timing.close_timeout,
            opened: Instant::now(),
            is_blocked: false,
            is_failing: false,
        })
    }

    /// Runs the session to its end, which begins at the latest when `leave` is set.
    pub(crate) fn run(mut self, leave: &AtomicBool, mut hear: impl FnMut(&str)) -> CloseRecord {
        loop {
            if let ControlFlow::Break(record) = self.turn(leave, &mut hear) {
                if record.clean {
                    self.wait_for_hang_up();
                }
                return record;
            }
        }
    }

    fn turn(
        &mut self,
        leave: &AtomicBool,
        hear: &mut impl FnMut(&str),
    ) -> ControlFlow<CloseRecord> {
        self.socket.get_mut().until = self.next_look();
        if leave.load(Ordering::Relaxed) {
            // Needless once the end has begun, and harmless.
            let frame = CloseFrame { code: CloseCode::NORMAL, reason: Reason::default() };
            self.tell(Event::handler_closed(frame))?;
        }
        // Before anything is read: a server that sends and does not read must not fill our memory
        // with answers.
        match self.socket.flush() {
            Ok(()) => {}
            Err(error) if is_timeout(&error) => {
                self.is_blocked = true;
                self.tell(Event::WriteBlocked)?;
                // Nothing is read while output is stuck, so there is nothing to hear first.
                return self.tell(Event::Tick);
            }
            Err(_) => return self.tell(Event::Disconnected),
        }
        if mem::take(&mut self.is_blocked) {
            return self.tell(Event::WriteProgressed);
        }
        if self.is_failing {
            return self.read_away();
        }
        if !self.socket.can_read() {
            return self.tell(Event::Finished);
        }
        match self.socket.read() {
            Ok(message) => self.take_in(&message, hear),
            Err(error) => self.take_error(&error),
        }
    }

    /// Tells the machine what happened, and does what it says.
    fn tell(&mut self, event: Event<'_>) -> ControlFlow<CloseRecord> {
        match self.lifecycle.handle(event, self.opened.elapsed()) {
            None => {}
            Some(Action::Close(frame)) => {
                // A pong that is due must not come behind the close frame.
                let _ = self.socket.flush();
                let code = u16::from(frame.code).into();
                let reason = frame.reason.as_str().into();
                // What does not go out now is flushed in the next turn, which also sees the errors.
                let _ = self.socket.close(Some(protocol::CloseFrame { code, reason }));
            }
            Some(Action::End(record)) => return ControlFlow::Break(record),
            Some(Action::Ping(payload)) => {
                let _ = self.socket.write(Message::Ping(payload.to_vec().into()));
            }
        }
        ControlFlow::Continue(())
    }

    fn take_in(
        &mut self,
        message: &Message,
        hear: &mut impl FnMut(&str),
    ) -> ControlFlow<CloseRecord> {
        match message {
            Message::Text(text) => {
                self.tell(Event::Message { bytes: text.len() })?;
                hear(text);
                ControlFlow::Continue(())
            }
            Message::Binary(bytes) => self.tell(Event::Message { bytes: bytes.len() }),
            Message::Ping(payload) => self.tell(Event::Ping { bytes: payload.len() }),
            Message::Pong(payload) => self.tell(Event::Pong(payload)),
            Message::Close(frame) => {
                let frame = frame.as_ref().and_then(|frame| {
                    let code = CloseCode::try_from(u16::from(frame.code)).ok()?;
                    Some(CloseFrame { code, reason: Reason::from(frame.reason.to_string()) })
                });
                self.tell(Event::PeerClose(frame))
            }
            // Reading never gives a single frame.
            Message::Frame(_) => ControlFlow::Continue(()),
        }
    }

    fn take_error(&mut self, error: &Error) -> ControlFlow<CloseRecord> {
        let violation = match error {
            // What has come of a frame stays in the codec, and the next read goes on with it.
            Error::Io(_) if is_timeout(error) => return self.tell(Event::Tick),
            // The end of the stream comes as an error of the protocol.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                return self.tell(Event::Disconnected);
            }
            Error::Capacity(_) => Violation::TooBig,
            Error::Protocol(_) => Violation::ProtocolError,
            Error::Utf8(_) => Violation::InvalidUtf8,
            _ => return self.tell(Event::Disconnected),
        };
        self.is_failing = true;
        self.tell(Event::Violation(violation))
    }

    /// Closing a socket that holds unread input resets the connection, and the server may never see
    /// why; so it is read until the server hangs up.
    fn read_away(&mut self) -> ControlFlow<CloseRecord> {
        match io::copy(self.socket.get_mut(), &mut io::sink()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.tell(Event::Tick),
            Ok(_) | Err(_) => self.tell(Event::Disconnected),
        }
    }

    /// The server closes the TCP connection first (RFC 6455, section 7.1.1), if it does so in time.
    fn wait_for_hang_up(&mut self) {
        let stream = self.socket.get_mut();
        stream.until = Instant::now() + self.close_timeout;
        let _ = io::copy(stream, &mut io::sink());
    }

    /// The machine's deadline, or sooner. Never at once, because the socket is looked at before the
    /// clock: after a stall of this process, what the server said in time still counts.
    fn next_look(&self) -> Instant {
        let deadline = self.lifecycle.deadline().unwrap_or_default();
        let time = deadline.saturating_sub(self.opened.elapsed());
        Instant::now() + time.clamp(Duration::from_millis(1), LOOK_AROUND)
    }
}

/// Whether the time was over before anything was.
fn is_timeout(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == ErrorKind::WouldBlock)
}
