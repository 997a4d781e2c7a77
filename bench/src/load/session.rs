//! One session of the load generator. It answers pings and Close frames itself.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use super::connection::Connection;
use super::deflate::Deflate;
use crate::client::{
    CLOSE, COMPRESSED_TEXT, PING, PONG, TEXT, UPGRADE, UPGRADE_WITH_OFFER, frame, split_frame,
};

/// The accept value for the key of [`UPGRADE`] (RFC 6455, section 1.3).
const ACCEPT: &str = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";

/// The bit of the last frame of a message (RFC 6455, section 5.2), and the opcode of its other frames than
/// the first.
const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;

/// An event of a session.
pub enum Event<'a> {
    Opened,
    /// The server sent this text message.
    Message(&'a [u8]),
    /// The server sent a text message that is compressed.
    Compressed(&'a [u8], Deflate),
    /// The server sent a ping, which was answered.
    Ping,
    Pong,
    /// The server sent a Close frame.
    Close,
    /// More output can be sent; see [`Session::wants_write`].
    Writable,
    /// The server closed the connection or ended the stream, after the closing handshake.
    Ended,
    /// The server closed a paused session without a closing handshake.
    Disconnected,
}

/// What the server may send unsolicited.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    /// The code of a Close frame, if the server may send one.
    pub(super) close_code: Option<u16>,
    pub(super) messages: bool,
}

/// Totals over all sessions.
#[derive(Clone, Copy, Default)]
pub struct Counters {
    /// Sessions that started and have not ended.
    pub started: usize,
    /// Sessions that are open.
    pub open: usize,
    /// All bytes that open sessions received, with the headers of their frames.
    pub bytes: usize,
    pub pings: usize,
    pub pongs: usize,
    pub closes: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Connecting,
    Requested,
    Open,
    Closed,
}

pub struct Session {
    /// Its key in `Clients`.
    pub key: usize,
    /// Whether [`Event::Writable`] is requested.
    pub wants_write: bool,
    /// Whether the server may close it without a closing handshake, because it was paused.
    pub(super) may_be_disconnected: bool,
    pub(super) connection: Rc<RefCell<Connection>>,
    /// Its index among the sessions of its connection.
    pub(super) stream: usize,
    stage: Stage,
    close_sent: bool,
    /// Whether messages are compressed.
    deflate: Option<Deflate>,
    /// The received part of an incomplete frame.
    partial: Vec<u8>,
    /// The first byte of a message in several frames, and the payloads of those that were received.
    fragments: Option<(u8, Vec<u8>)>,
}

impl Session {
    pub(super) fn start(key: usize, connection: Rc<RefCell<Connection>>) -> Self {
        let mut connection_mut = connection.borrow_mut();
        connection_mut.session_keys.push(Some(key));
        let stream = connection_mut.session_keys.len() - 1;
        drop(connection_mut);
        Self {
            key,
            wants_write: false,
            may_be_disconnected: false,
            connection,
            stream,
            stage: Stage::Connecting,
            close_sent: false,
            deflate: None,
            partial: Vec::new(),
            fragments: None,
        }
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the compression of messages was negotiated.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.deflate.is_some()
    }

    /// Writes all of `bytes`, which are expected to fit into the send buffer.
    ///
    /// # Errors
    ///
    /// The connection was lost, or did not accept all bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.connection.borrow_mut().send(self.stream, bytes)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(io::Error::other("the server does not read")),
        }
    }

    /// Writes as much as the connection accepts, and returns the number of bytes.
    ///
    /// # Errors
    ///
    /// The connection was lost.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.connection.borrow_mut().send(self.stream, bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            outcome => outcome,
        }
    }

    /// Starts the closing handshake.
    ///
    /// # Errors
    ///
    /// As for [`Session::send`].
    pub fn start_close(&mut self) -> io::Result<()> {
        self.close_sent = true;
        self.send(&frame(CLOSE, &1000u16.to_be_bytes()))
    }

    /// Sends the request; called when the connection is ready.
    pub(super) fn request(&mut self) -> io::Result<()> {
        if self.stage != Stage::Connecting {
            return Ok(());
        }
        self.stage = Stage::Requested;
        let mut connection = self.connection.borrow_mut();
        match &mut connection.http2 {
            Some(http2) => {
                http2.request();
                connection.flush()
            }
            None => {
                let upgrade = if connection.offers_deflate { UPGRADE_WITH_OFFER } else { UPGRADE };
                drop(connection);
                self.send(upgrade.as_bytes())
            }
        }
    }

    /// Whether to deliver [`Event::Writable`] now.
    pub(super) fn can_write(&self, connection: &Connection) -> bool {
        self.wants_write && self.is_open() && connection.has_capacity(self.stream)
    }

    /// The server accepted the request.
    pub(super) fn opened(
        &mut self,
        counters: &mut Counters,
        on_event: &mut impl OnEvent,
    ) -> io::Result<()> {
        self.stage = Stage::Open;
        counters.open += 1;
        on_event(self, Event::Opened)
    }

    /// Processes received bytes.
    pub(super) fn on_data(
        &mut self,
        bytes: &[u8],
        expected: Expected,
        counters: &mut Counters,
        on_event: &mut impl OnEvent,
    ) -> io::Result<()> {
        if self.is_open() {
            counters.bytes += bytes.len();
        }
        if self.partial.is_empty() {
            let used = self.process(bytes, expected, counters, on_event)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        // Appended in place, so that the first part of a long frame is not copied for each further part.
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let used = self.process(&partial, expected, counters, on_event)?;
        partial.drain(..used);
        self.partial = partial;
        Ok(())
    }

    /// Processes the complete frames, and returns their length in bytes.
    fn process(
        &mut self,
        all: &[u8],
        expected: Expected,
        counters: &mut Counters,
        on_event: &mut impl OnEvent,
    ) -> io::Result<usize> {
        let mut bytes = all;
        if self.stage == Stage::Requested {
            let Some(end) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                return Ok(0);
            };
            self.deflate = check_response(&bytes[..end])?;
            if self.is_compressed() && !self.connection.borrow().offers_deflate {
                return Err(io::Error::other("the server negotiated what was not offered"));
            }
            bytes = &bytes[end + 4..];
            self.opened(counters, on_event)?;
        }
        while let Some((first, payload, rest)) = split_frame(bytes) {
            self.on_frame(first, payload, expected, counters, on_event)?;
            bytes = rest;
        }
        Ok(all.len() - bytes.len())
    }

    /// Appends a frame to a message in several frames. Returns the first byte and the payload of the
    /// message, as if it had been one frame, when it is complete.
    fn join(&mut self, first: u8, payload: &[u8]) -> io::Result<Option<(u8, Vec<u8>)>> {
        let is_start = first & !FIN != CONTINUATION;
        if is_start != self.fragments.is_none() {
            return Err(io::Error::other("the server mixed the frames of two messages"));
        }
        let (head, mut message) = self.fragments.take().unwrap_or((first | FIN, Vec::new()));
        message.extend_from_slice(payload);
        if first & FIN != 0 {
            return Ok(Some((head, message)));
        }
        self.fragments = Some((head, message));
        Ok(None)
    }

    fn on_frame(
        &mut self,
        first: u8,
        payload: &[u8],
        expected: Expected,
        counters: &mut Counters,
        on_event: &mut impl OnEvent,
    ) -> io::Result<()> {
        const FIRST_FRAME: u8 = TEXT & !FIN;
        const FIRST_COMPRESSED_FRAME: u8 = COMPRESSED_TEXT & !FIN;
        const LAST_FRAME: u8 = CONTINUATION | FIN;
        match first {
            FIRST_FRAME | FIRST_COMPRESSED_FRAME | CONTINUATION | LAST_FRAME => {
                match self.join(first, payload)? {
                    Some((first, payload)) => {
                        self.on_frame(first, &payload, expected, counters, on_event)
                    }
                    None => Ok(()),
                }
            }
            TEXT if expected.messages => on_event(self, Event::Message(payload)),
            COMPRESSED_TEXT if expected.messages => {
                let deflate = self.deflate.ok_or_else(|| {
                    io::Error::other("the server compressed a message, but had not negotiated that")
                })?;
                on_event(self, Event::Compressed(payload, deflate))
            }
            PONG => {
                counters.pongs += 1;
                on_event(self, Event::Pong)
            }
            PING => {
                counters.pings += 1;
                self.send(&frame(PONG, payload))?;
                on_event(self, Event::Ping)
            }
            CLOSE => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                if !self.close_sent {
                    if (code.is_none() || code != expected.close_code) && !self.may_be_disconnected
                    {
                        let message = format!("the server closed with the code {code:?}");
                        return Err(io::Error::other(message));
                    }
                    match self.send(&frame(CLOSE, payload)) {
                        // The server may have closed the connection already.
                        Err(_) if self.may_be_disconnected => {}
                        outcome => outcome?,
                    }
                }
                self.stage = Stage::Closed;
                counters.closes += 1;
                on_event(self, Event::Close)
            }
            _ => Err(io::Error::other(format!("the server sent {first:#x} {payload:?}"))),
        }
    }

    /// The server ended the session, which is an error before the closing handshake.
    pub(super) fn end(
        &mut self,
        counters: &mut Counters,
        on_event: &mut impl OnEvent,
    ) -> io::Result<()> {
        let is_unclean = self.stage != Stage::Closed;
        if is_unclean && !self.may_be_disconnected {
            return Err(io::Error::other(
                "the server closed a session without a closing handshake",
            ));
        }
        let mut connection = self.connection.borrow_mut();
        connection.session_keys[self.stream] = None;
        if let Some(http2) = &mut connection.http2 {
            http2.end(self.stream);
        }
        drop(connection);
        counters.open -= 1;
        counters.started -= 1;
        on_event(self, if is_unclean { Event::Disconnected } else { Event::Ended })
    }
}

/// The callback for the events of all sessions.
pub trait OnEvent: FnMut(&mut Session, Event<'_>) -> io::Result<()> {}
impl<F: FnMut(&mut Session, Event<'_>) -> io::Result<()>> OnEvent for F {}

/// Returns what was negotiated.
fn check_response(head: &[u8]) -> io::Result<Option<Deflate>> {
    let head = String::from_utf8_lossy(head);
    let is_right = head.starts_with("HTTP/1.1 101 ")
        && head.lines().any(|line| line.eq_ignore_ascii_case(ACCEPT));
    if is_right {
        Deflate::negotiated(&head)
    } else {
        Err(io::Error::other(format!("the upgrade failed: {head}")))
    }
}
