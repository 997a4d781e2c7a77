//! A driver for [`Lifecycle`] on one thread: a blocking socket, tungstenite's codec, and the state machine.
//!
//! The thread blocks only on the socket, and never beyond the state machine's deadline.

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

use crate::deadline_stream::DeadlineStream;

/// The longest time that the thread blocks on the socket before it checks the shutdown flag.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Limit of one message, in bytes. tungstenite reserves up to this size as soon as it has read the header
/// of a frame.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// The client side of a session.
pub(crate) struct Client {
    socket: WebSocket<DeadlineStream>,
    lifecycle: Lifecycle,
    close_timeout: Duration,
    opened: Instant,
    /// The kernel did not accept all of the output.
    is_blocked: bool,
    /// The server violated the protocol: all further input is discarded.
    is_discarding: bool,
}

impl Client {
    /// Opens a session over a connected stream, before the stream's deadline.
    pub(crate) fn open(
        url: &str,
        stream: DeadlineStream,
        config: SessionConfig,
    ) -> Result<Self, Error> {
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
        // Random, so that clients that reconnect at the same time do not ping in step.
        let jitter = u32::try_from(RandomState::new().build_hasher().finish() >> 32);
        Ok(Self {
            socket,
            lifecycle: Lifecycle::new(Arc::new(config), jitter.unwrap_or_default()),
            close_timeout: config.timing.close_timeout,
            opened: Instant::now(),
            is_blocked: false,
            is_discarding: false,
        })
    }

    /// Runs the session to its end. Setting `shutdown` starts the closing handshake.
    pub(crate) fn run(
        mut self,
        shutdown: &AtomicBool,
        mut on_text: impl FnMut(&str),
    ) -> CloseRecord {
        loop {
            if let ControlFlow::Break(record) = self.poll_once(shutdown, &mut on_text) {
                if record.clean {
                    self.wait_for_eof();
                }
                return record;
            }
        }
    }

    fn poll_once(
        &mut self,
        shutdown: &AtomicBool,
        on_text: &mut impl FnMut(&str),
    ) -> ControlFlow<CloseRecord> {
        self.socket.get_mut().deadline = self.next_deadline();
        if shutdown.load(Ordering::Relaxed) {
            // Has no effect if the session is already closing.
            let frame = CloseFrame { code: CloseCode::NORMAL, reason: Reason::default() };
            self.dispatch(Event::handler_closed(frame))?;
        }
        // Flush before reading: a server that sends but does not read must not make the client queue
        // answers without limit.
        match self.socket.flush() {
            Ok(()) => {}
            Err(error) if is_timeout(&error) => {
                self.is_blocked = true;
                self.dispatch(Event::WriteBlocked)?;
                // Nothing is read while output is blocked, so no input can precede this tick.
                return self.dispatch(Event::Tick);
            }
            Err(_) => return self.dispatch(Event::Disconnected),
        }
        if mem::take(&mut self.is_blocked) {
            return self.dispatch(Event::WriteProgressed);
        }
        if self.is_discarding {
            return self.discard_input();
        }
        if !self.socket.can_read() {
            return self.dispatch(Event::Finished);
        }
        match self.socket.read() {
            Ok(message) => self.on_message(&message, on_text),
            Err(error) => self.on_read_error(&error),
        }
    }

    /// Passes an event to the state machine and performs the action that it returns.
    fn dispatch(&mut self, event: Event<'_>) -> ControlFlow<CloseRecord> {
        match self.lifecycle.handle(event, self.opened.elapsed()) {
            None => {}
            Some(Action::Close(frame)) => {
                // A pending pong must be sent before the Close frame.
                let _ = self.socket.flush();
                let code = u16::from(frame.code).into();
                let reason = frame.reason.as_str().into();
                // The next iteration flushes what remains, and handles errors.
                let _ = self.socket.close(Some(protocol::CloseFrame { code, reason }));
            }
            Some(Action::End(record)) => return ControlFlow::Break(record),
            Some(Action::Ping(payload)) => {
                let _ = self.socket.write(Message::Ping(payload.to_vec().into()));
            }
        }
        ControlFlow::Continue(())
    }

    fn on_message(
        &mut self,
        message: &Message,
        on_text: &mut impl FnMut(&str),
    ) -> ControlFlow<CloseRecord> {
        match message {
            Message::Text(text) => {
                self.dispatch(Event::Message { bytes: text.len() })?;
                on_text(text);
                ControlFlow::Continue(())
            }
            Message::Binary(bytes) => self.dispatch(Event::Message { bytes: bytes.len() }),
            Message::Ping(payload) => {
                self.dispatch(Event::Pings { count: 1, bytes: payload.len() })
            }
            Message::Pong(payload) => self.dispatch(Event::Pong(payload)),
            Message::Close(frame) => {
                let frame = frame.as_ref().and_then(|frame| {
                    let code = CloseCode::try_from(u16::from(frame.code)).ok()?;
                    Some(CloseFrame { code, reason: Reason::from(frame.reason.to_string()) })
                });
                self.dispatch(Event::PeerClose(frame))
            }
            // `read` never returns a raw frame.
            Message::Frame(_) => ControlFlow::Continue(()),
        }
    }

    fn on_read_error(&mut self, error: &Error) -> ControlFlow<CloseRecord> {
        let violation = match error {
            // The codec keeps a partial frame, and the next read continues with it.
            Error::Io(_) if is_timeout(error) => return self.dispatch(Event::Tick),
            // tungstenite reports the end of the stream as a protocol error.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                return self.dispatch(Event::Disconnected);
            }
            Error::Capacity(_) => Violation::TooBig,
            Error::Protocol(_) => Violation::ProtocolError,
            Error::Utf8(_) => Violation::InvalidUtf8,
            _ => return self.dispatch(Event::Disconnected),
        };
        self.is_discarding = true;
        self.dispatch(Event::Violation(violation))
    }

    /// Reads and discards until the server closes the connection. Closing a socket with unread input
    /// would reset the connection, and the server could lose the Close frame.
    fn discard_input(&mut self) -> ControlFlow<CloseRecord> {
        match io::copy(self.socket.get_mut(), &mut io::sink()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.dispatch(Event::Tick),
            Ok(_) | Err(_) => self.dispatch(Event::Disconnected),
        }
    }

    /// Waits until the server closes the TCP connection (RFC 6455, section 7.1.1), for `close_timeout` at
    /// most.
    fn wait_for_eof(&mut self) {
        let stream = self.socket.get_mut();
        stream.deadline = Instant::now() + self.close_timeout;
        let _ = io::copy(stream, &mut io::sink());
    }

    /// The state machine's deadline, within `POLL_INTERVAL`. At least 1 ms from now, so that the socket is
    /// read before the deadline is checked: after a stall of this process, input that arrived in time still
    /// counts.
    fn next_deadline(&self) -> Instant {
        let deadline = self.lifecycle.deadline().unwrap_or_default();
        let time = deadline.saturating_sub(self.opened.elapsed());
        Instant::now() + time.clamp(Duration::from_millis(1), POLL_INTERVAL)
    }
}

/// Whether the stream's deadline passed.
fn is_timeout(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == ErrorKind::WouldBlock)
}
