//! One session of a client. It answers pings and Close frames itself.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::client::{CLOSE, PING, PONG, TEXT, UPGRADE, frame, split_frame};

/// What a session has received.
pub(super) enum Event {
    /// The Close frame, with its code and its reason.
    Closed(u16, String),
    Opened,
    /// The pong to the ping with this payload.
    Pong([u8; 8]),
    /// The state with this number.
    State(u64),
}

#[derive(PartialEq)]
enum Stage {
    Connecting,
    Requested,
    Open,
}

pub(super) struct Session {
    pub(super) stream: TcpStream,
    stage: Stage,
    /// The received part of an incomplete response or frame.
    partial: Vec<u8>,
}

impl Session {
    /// Begins to connect. The session has to be registered for writability.
    pub(super) fn connect(server: SocketAddr, source: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => {
                return Err(error);
            }
            _ => {}
        }
        Ok(Self { stream: socket.into(), stage: Stage::Connecting, partial: Vec::new() })
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Sends the request. After that, writability does not matter.
    pub(super) fn on_connected(&mut self) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        self.stage = Stage::Requested;
        self.send(UPGRADE.as_bytes())
    }

    /// Sends a ping.
    pub(super) fn ping(&mut self, payload: [u8; 8]) -> io::Result<()> {
        self.send(&frame(PING, &payload))
    }

    /// Reads once. An end of the stream is an error.
    pub(super) fn on_readable(
        &mut self,
        buffer: &mut [u8],
        mut on_event: impl FnMut(Event),
    ) -> io::Result<()> {
        let count = match self.stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            outcome => outcome?,
        };
        if count == 0 {
            return Err(io::Error::other("the connection was ended"));
        }
        if self.partial.is_empty() {
            let used = self.process(&buffer[..count], &mut on_event)?;
            self.partial.extend_from_slice(&buffer[used..count]);
        } else {
            let mut bytes = std::mem::take(&mut self.partial);
            bytes.extend_from_slice(&buffer[..count]);
            let used = self.process(&bytes, &mut on_event)?;
            bytes.drain(..used);
            self.partial = bytes;
        }
        Ok(())
    }

    /// Returns the number of bytes of the complete frames.
    fn process(&mut self, bytes: &[u8], on_event: &mut impl FnMut(Event)) -> io::Result<usize> {
        let mut rest = bytes;
        if self.stage != Stage::Open {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                let line = String::from_utf8_lossy(&bytes[..end]);
                let line = line.lines().next().unwrap_or_default();
                return Err(io::Error::other(format!("the response is {line:?}")));
            }
            self.stage = Stage::Open;
            on_event(Event::Opened);
            rest = &bytes[end + 4..];
        }
        while let Some((first, payload, after)) = split_frame(rest) {
            self.on_frame(first, payload, on_event)?;
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    fn on_frame(
        &mut self,
        first: u8,
        payload: &[u8],
        on_event: &mut impl FnMut(Event),
    ) -> io::Result<()> {
        let invalid = || io::Error::other(format!("received the frame {first:#x} {payload:?}"));
        match first {
            TEXT => {
                let number = str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
                on_event(Event::State(number.ok_or_else(invalid)?));
            }
            PONG => on_event(Event::Pong(payload.try_into().map_err(|_| invalid())?)),
            PING => self.send(&frame(PONG, payload))?,
            CLOSE => {
                self.send(&frame(CLOSE, payload))?;
                let (code, reason) = payload.split_first_chunk().unwrap_or((&[0, 0], &[]));
                let reason = String::from_utf8_lossy(reason).into_owned();
                on_event(Event::Closed(u16::from_be_bytes(*code), reason));
            }
            _ => return Err(invalid()),
        }
        Ok(())
    }

    /// Writes as a whole: a session writes less than any buffer of a socket has room for.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }
}
