//! One session of the load generator, which does what a good client does by itself.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use super::carrier::Carrier;
use crate::client::{CLOSE, PING, PONG, TEXT, UPGRADE, frame, split_frame};

/// What the server has to derive from the key of [`UPGRADE`].
const ACCEPT: &str = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";

/// What happened in a session.
pub enum Event<'a> {
    Opened,
    /// The server sent this text.
    Message(&'a [u8]),
    /// The server pinged, and has its pong.
    Ping,
    Pong,
    /// The server said goodbye, or answered ours.
    Close,
    /// There is room for more output; see [`Link::wants_room`].
    Room,
    /// The server hung up, or ended the stream, after the closing handshake.
    Ended,
    /// The server hung up without one, on a session that has paused.
    Cut,
}

/// What the server may say by itself.
#[derive(Clone, Copy)]
pub(super) struct Leave {
    /// The code of a Close frame, if it may send one.
    pub(super) close: Option<u16>,
    pub(super) messages: bool,
}

/// What all sessions together have seen.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    /// Begun and not yet ended.
    pub begun: usize,
    /// Upgraded and not yet ended.
    pub open: usize,
    pub pings: usize,
    pub pongs: usize,
    pub closes: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Connecting,
    Asking,
    Open,
    Closed,
}

pub struct Link {
    /// Its place in the fleet.
    pub slot: usize,
    /// Whether the script wants to hear of [`Event::Room`].
    pub wants_room: bool,
    /// Whether the server may give it up, since it has not read for a while.
    pub(super) may_be_cut: bool,
    pub(super) carrier: Rc<RefCell<Carrier>>,
    /// Its place among the sessions of its carrier.
    pub(super) stream: usize,
    stage: Stage,
    said_close: bool,
    /// A frame that was cut by the end of what had come.
    rest: Vec<u8>,
}

impl Link {
    pub(super) fn start(slot: usize, carrier: Rc<RefCell<Carrier>>) -> Self {
        let mut it = carrier.borrow_mut();
        it.slots.push(Some(slot));
        let stream = it.slots.len() - 1;
        drop(it);
        Self {
            slot,
            wants_room: false,
            may_be_cut: false,
            carrier,
            stream,
            stage: Stage::Connecting,
            said_close: false,
            rest: Vec::new(),
        }
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Writes something small.
    ///
    /// # Errors
    ///
    /// The connection is lost, or does not take even that.
    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.carrier.borrow_mut().say(self.stream, bytes)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(io::Error::other("the server does not read")),
        }
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub fn offer(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.carrier.borrow_mut().say(self.stream, bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            outcome => outcome,
        }
    }

    /// Begins the closing handshake.
    ///
    /// # Errors
    ///
    /// As for [`Link::say`].
    pub fn leave(&mut self) -> io::Result<()> {
        self.said_close = true;
        self.say(&frame(CLOSE, &1000u16.to_be_bytes()))
    }

    /// Asks for the session as soon as its carrier is ready.
    pub(super) fn ask(&mut self) -> io::Result<()> {
        if self.stage != Stage::Connecting {
            return Ok(());
        }
        self.stage = Stage::Asking;
        let mut carrier = self.carrier.borrow_mut();
        match &mut carrier.http2 {
            Some(http2) => {
                http2.ask();
                carrier.flush()
            }
            None => {
                drop(carrier);
                self.say(UPGRADE.as_bytes())
            }
        }
    }

    /// Whether it is to be told of room that there is.
    pub(super) fn can_use_room(&self, carrier: &Carrier) -> bool {
        self.wants_room && self.is_open() && carrier.has_room(self.stream)
    }

    /// The server agreed.
    pub(super) fn opened(&mut self, tally: &mut Tally, script: &mut impl Script) -> io::Result<()> {
        self.stage = Stage::Open;
        tally.open += 1;
        script(self, Event::Opened)
    }

    /// Looks at everything that is whole in what has come.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        leave: Leave,
        tally: &mut Tally,
        script: &mut impl Script,
    ) -> io::Result<()> {
        if self.rest.is_empty() {
            let used = self.take_in(bytes, leave, tally, script)?;
            self.rest.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        // The beginning of a long frame is not copied again for each of its pieces.
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let used = self.take_in(&rest, leave, tally, script)?;
        rest.drain(..used);
        self.rest = rest;
        Ok(())
    }

    /// Gives back how many bytes were whole.
    fn take_in(
        &mut self,
        all: &[u8],
        leave: Leave,
        tally: &mut Tally,
        script: &mut impl Script,
    ) -> io::Result<usize> {
        let mut bytes = all;
        if self.stage == Stage::Asking {
            let Some(end) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                return Ok(0);
            };
            check_answer(&bytes[..end])?;
            bytes = &bytes[end + 4..];
            self.opened(tally, script)?;
        }
        while let Some((first, payload, behind)) = split_frame(bytes) {
            self.hear(first, payload, leave, tally, script)?;
            bytes = behind;
        }
        Ok(all.len() - bytes.len())
    }

    fn hear(
        &mut self,
        first: u8,
        payload: &[u8],
        leave: Leave,
        tally: &mut Tally,
        script: &mut impl Script,
    ) -> io::Result<()> {
        match first {
            TEXT if leave.messages => script(self, Event::Message(payload)),
            PONG => {
                tally.pongs += 1;
                script(self, Event::Pong)
            }
            PING => {
                tally.pings += 1;
                self.say(&frame(PONG, payload))?;
                script(self, Event::Ping)
            }
            CLOSE => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                if !self.said_close {
                    if (code.is_none() || code != leave.close) && !self.may_be_cut {
                        let what = format!("the server closed with the code {code:?}");
                        return Err(io::Error::other(what));
                    }
                    match self.say(&frame(CLOSE, payload)) {
                        // The server may be gone for long.
                        Err(_) if self.may_be_cut => {}
                        outcome => outcome?,
                    }
                }
                self.stage = Stage::Closed;
                tally.closes += 1;
                script(self, Event::Close)
            }
            _ => Err(io::Error::other(format!("the server sent {first:#x} {payload:?}"))),
        }
    }

    /// The server is through with it, which it may be only after the closing handshake.
    pub(super) fn end(&mut self, tally: &mut Tally, script: &mut impl Script) -> io::Result<()> {
        let is_cut = self.stage != Stage::Closed;
        if is_cut && !self.may_be_cut {
            return Err(io::Error::other("the server cut a session"));
        }
        let mut carrier = self.carrier.borrow_mut();
        carrier.slots[self.stream] = None;
        if let Some(http2) = &mut carrier.http2 {
            http2.end(self.stream);
        }
        drop(carrier);
        tally.open -= 1;
        tally.begun -= 1;
        script(self, if is_cut { Event::Cut } else { Event::Ended })
    }
}

/// What a mode does about an event in a session.
pub trait Script: FnMut(&mut Link, Event<'_>) -> io::Result<()> {}
impl<F: FnMut(&mut Link, Event<'_>) -> io::Result<()>> Script for F {}

fn check_answer(head: &[u8]) -> io::Result<()> {
    let head = String::from_utf8_lossy(head);
    let is_right = head.starts_with("HTTP/1.1 101 ")
        && head.lines().any(|line| line.eq_ignore_ascii_case(ACCEPT));
    if is_right { Ok(()) } else { Err(io::Error::other(format!("the upgrade failed: {head}"))) }
}
