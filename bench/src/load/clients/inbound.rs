//! Handles the readiness of a connection: dispatches input to its sessions, and writes output.

use std::cell::RefCell;
use std::io::{self, ErrorKind};

use super::Clients;
use crate::load::connection::Connection;
use crate::load::http2::{self, StreamEvent};
use crate::load::session::{Event, Expected, OnEvent, Session};

impl Clients {
    pub(super) fn write(
        &mut self,
        connection: &RefCell<Connection>,
        on_event: &mut impl OnEvent,
    ) -> io::Result<()> {
        connection.borrow_mut().flush()?;
        let streams = connection.borrow().session_keys.len();
        for stream in 0..streams {
            let session = self.session_of(connection, stream);
            if let Some(session) = session.filter(|session| session.can_write(&connection.borrow()))
            {
                on_event(session, Event::Writable)?;
            }
        }
        Ok(())
    }

    /// Reads once, and dispatches the input to the sessions. Returns whether the connection stays open.
    pub(super) fn read(
        &mut self,
        connection: &RefCell<Connection>,
        on_event: &mut impl OnEvent,
    ) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut connection_mut = connection.borrow_mut();
        let kept = connection_mut.partial.len();
        buffer[..kept].copy_from_slice(&connection_mut.partial);
        connection_mut.partial.clear();
        let filled = match connection_mut.byte_stream.read(&mut buffer[kept..]) {
            Ok(count) => Some(kept + count).filter(|_| count > 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(kept),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => return Err(error),
        };
        connection_mut.is_batching = true;
        drop(connection_mut);
        match filled {
            None => self.end_sessions(connection, on_event)?,
            Some(filled) => self.on_data(connection, &buffer[..filled], on_event)?,
        }
        self.buffer = buffer;
        let mut connection = connection.borrow_mut();
        connection.is_batching = false;
        if filled.is_some() {
            connection.flush()?;
        }
        // A connection whose sessions have all ended is closed, even if it has streams left.
        Ok(filled.is_some() && !connection.is_finished())
    }

    fn on_data(
        &mut self,
        connection: &RefCell<Connection>,
        mut bytes: &[u8],
        on_event: &mut impl OnEvent,
    ) -> io::Result<()> {
        if connection.borrow().http2.is_none() {
            return self.on_stream_event(connection, 0, StreamEvent::Bytes(bytes), on_event);
        }
        while let Some((frame, rest)) = http2::split(bytes) {
            let event = connection.borrow_mut().http2.as_mut().map(|http2| http2.on_frame(frame));
            if let Some((stream, event)) = event.transpose()?.flatten() {
                self.on_stream_event(connection, stream, event, on_event)?;
            }
            bytes = rest;
        }
        connection.borrow_mut().partial.extend_from_slice(bytes);
        Ok(())
    }

    fn on_stream_event(
        &mut self,
        connection: &RefCell<Connection>,
        stream: usize,
        event: StreamEvent<'_>,
        on_event: &mut impl OnEvent,
    ) -> io::Result<()> {
        let key = connection.borrow().session_keys.get(stream).copied().flatten();
        // RST_STREAM may follow END_STREAM.
        let Some(key) = key else { return Ok(()) };
        let Some(session) = self.sessions.entries[key].as_mut() else { return Ok(()) };
        let counters = &mut self.counters;
        match event {
            StreamEvent::Opened => session.opened(counters, on_event),
            StreamEvent::Bytes(bytes) => {
                let expected =
                    Expected { close_code: self.expected_close, messages: self.expects_messages };
                session.on_data(bytes, expected, counters, on_event)
            }
            StreamEvent::Refused => Err(io::Error::other("the server refused a stream")),
            StreamEvent::LastBytes(bytes) => {
                Err(io::Error::other(format!("a stream ended with {bytes:?}")))
            }
            StreamEvent::Ended => {
                session.end(counters, on_event)?;
                self.sessions.remove(key);
                Ok(())
            }
        }
    }

    /// Ends all sessions of a connection that the server closed.
    fn end_sessions(
        &mut self,
        connection: &RefCell<Connection>,
        on_event: &mut impl OnEvent,
    ) -> io::Result<()> {
        let streams = connection.borrow().session_keys.len();
        (0..streams).try_for_each(|stream| {
            self.on_stream_event(connection, stream, StreamEvent::Ended, on_event)
        })
    }

    /// Sends the requests of the sessions that waited for the connection.
    pub(super) fn request(&mut self, connection: &RefCell<Connection>) -> io::Result<()> {
        if connection.borrow().has_requested || !connection.borrow().is_ready() {
            return Ok(());
        }
        connection.borrow_mut().has_requested = true;
        let streams = connection.borrow().session_keys.len();
        for stream in 0..streams {
            if let Some(session) = self.session_of(connection, stream) {
                session.request()?;
            }
        }
        Ok(())
    }

    fn session_of(
        &mut self,
        connection: &RefCell<Connection>,
        stream: usize,
    ) -> Option<&mut Session> {
        let key = connection.borrow().session_keys.get(stream).copied().flatten()?;
        self.sessions.entries[key].as_mut()
    }
}
