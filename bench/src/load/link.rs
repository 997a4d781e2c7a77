//! One connection of the load generator, which does what a good client does by itself.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::client::{CLOSE, PING, PONG, UPGRADE, frame, split_frame};

/// What the server has to derive from the key of [`UPGRADE`].
const ACCEPT: &str = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";

/// What happened on a connection.
pub enum Event {
    Opened,
    /// The server pinged, and has its pong.
    Ping,
    Pong,
    /// The server said goodbye, or answered ours.
    Close,
    /// There is room for more output; see [`Link::wants_room`].
    Room,
    /// The server hung up after the closing handshake.
    Ended,
}

/// What all connections together have seen.
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
    pub(super) stream: TcpStream,
    pub(super) is_told_of_room: bool,
    stage: Stage,
    said_close: bool,
    /// A frame that was cut by the end of what had come.
    rest: Vec<u8>,
}

impl Link {
    pub(super) fn start(server: SocketAddr, source: Ipv4Addr, slot: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => {
                return Err(error);
            }
            _ => {}
        }
        Ok(Self {
            slot,
            // The room of a socket that connects is that it is connected.
            wants_room: true,
            stream: socket.into(),
            is_told_of_room: true,
            stage: Stage::Connecting,
            said_close: false,
            rest: Vec::new(),
        })
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
        match self.stream.write(bytes)? {
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
        match self.stream.write(bytes) {
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

    pub(super) fn write(&mut self, script: &mut impl Script) -> io::Result<()> {
        if self.stage != Stage::Connecting {
            return script(self, Event::Room);
        }
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        self.wants_room = false;
        self.stage = Stage::Asking;
        self.say(UPGRADE.as_bytes())
    }

    /// Reads once and looks at everything that is whole. Gives back whether the connection goes on.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        may_be_told: Option<u16>,
        tally: &mut Tally,
        script: &mut impl Script,
    ) -> io::Result<bool> {
        let kept = self.rest.len();
        buffer[..kept].copy_from_slice(&self.rest);
        self.rest.clear();
        let filled = match self.stream.read(&mut buffer[kept..]) {
            Ok(0) => return self.end(tally, script),
            Ok(count) => kept + count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => kept,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return self.end(tally, script);
            }
            Err(error) => return Err(error),
        };
        let mut bytes = &buffer[..filled];
        if self.stage == Stage::Asking {
            let Some(end) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                self.rest.extend_from_slice(bytes);
                return Ok(true);
            };
            check_answer(&bytes[..end])?;
            bytes = &bytes[end + 4..];
            self.stage = Stage::Open;
            tally.open += 1;
            script(self, Event::Opened)?;
        }
        while let Some((first, payload, behind)) = split_frame(bytes) {
            self.hear(first, payload, may_be_told, tally, script)?;
            bytes = behind;
        }
        self.rest.extend_from_slice(bytes);
        Ok(true)
    }

    fn hear(
        &mut self,
        first: u8,
        payload: &[u8],
        may_be_told: Option<u16>,
        tally: &mut Tally,
        script: &mut impl Script,
    ) -> io::Result<()> {
        match first {
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
                    if code.is_none() || code != may_be_told {
                        let what = format!("the server closed with the code {code:?}");
                        return Err(io::Error::other(what));
                    }
                    self.say(&frame(CLOSE, payload))?;
                }
                self.stage = Stage::Closed;
                tally.closes += 1;
                script(self, Event::Close)
            }
            _ => Err(io::Error::other(format!("the server sent {first:#x} {payload:?}"))),
        }
    }

    /// The server hung up, which it may do only after the closing handshake.
    fn end(&mut self, tally: &mut Tally, script: &mut impl Script) -> io::Result<bool> {
        if self.stage != Stage::Closed {
            return Err(io::Error::other("the server cut a connection"));
        }
        tally.open -= 1;
        tally.begun -= 1;
        script(self, Event::Ended)?;
        Ok(false)
    }

    /// Hangs up in such a way that neither end keeps anything, so that the next peer begins afresh.
    pub(super) fn cut(self) {
        // It only tidies up.
        let _ = Socket::from(self.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

/// What a mode does about an event on a connection.
pub trait Script: FnMut(&mut Link, Event) -> io::Result<()> {}
impl<F: FnMut(&mut Link, Event) -> io::Result<()>> Script for F {}

fn check_answer(head: &[u8]) -> io::Result<()> {
    let head = String::from_utf8_lossy(head);
    let is_right = head.starts_with("HTTP/1.1 101 ")
        && head.lines().any(|line| line.eq_ignore_ascii_case(ACCEPT));
    if is_right { Ok(()) } else { Err(io::Error::other(format!("the upgrade failed: {head}"))) }
}
