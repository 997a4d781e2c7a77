//! What becomes of the readiness of a connection: its sessions hear what has come, and say more.

use std::cell::RefCell;
use std::io::{self, ErrorKind};

use super::Fleet;
use crate::load::carrier::Carrier;
use crate::load::http2::{self, News};
use crate::load::link::{Event, Leave, Link, Script};

impl Fleet {
    pub(super) fn write(
        &mut self,
        carrier: &RefCell<Carrier>,
        script: &mut impl Script,
    ) -> io::Result<()> {
        carrier.borrow_mut().flush()?;
        let streams = carrier.borrow().slots.len();
        for stream in 0..streams {
            let link = self.link_of(carrier, stream);
            if let Some(link) = link.filter(|link| link.can_use_room(&carrier.borrow())) {
                script(link, Event::Room)?;
            }
        }
        Ok(())
    }

    /// Reads once, and lets the sessions look at it. Gives back whether the connection goes on.
    pub(super) fn read(
        &mut self,
        carrier: &RefCell<Carrier>,
        script: &mut impl Script,
    ) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut it = carrier.borrow_mut();
        let kept = it.rest.len();
        buffer[..kept].copy_from_slice(&it.rest);
        it.rest.clear();
        let filled = match it.wire.read(&mut buffer[kept..]) {
            Ok(count) => Some(kept + count).filter(|_| count > 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(kept),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => return Err(error),
        };
        it.is_busy = true;
        drop(it);
        match filled {
            None => self.end_all(carrier, script)?,
            Some(filled) => self.receive(carrier, &buffer[..filled], script)?,
        }
        self.buffer = buffer;
        let mut carrier = carrier.borrow_mut();
        carrier.is_busy = false;
        if filled.is_some() {
            carrier.flush()?;
        }
        // One whose sessions have all ended is left, even if it could have more.
        Ok(filled.is_some() && !carrier.is_over())
    }

    fn receive(
        &mut self,
        carrier: &RefCell<Carrier>,
        mut bytes: &[u8],
        script: &mut impl Script,
    ) -> io::Result<()> {
        if carrier.borrow().http2.is_none() {
            return self.hear(carrier, 0, News::Bytes(bytes), script);
        }
        while let Some((frame, behind)) = http2::split(bytes) {
            let news = carrier.borrow_mut().http2.as_mut().map(|http2| http2.hear(frame));
            if let Some((stream, news)) = news.transpose()?.flatten() {
                self.hear(carrier, stream, news, script)?;
            }
            bytes = behind;
        }
        carrier.borrow_mut().rest.extend_from_slice(bytes);
        Ok(())
    }

    fn hear(
        &mut self,
        carrier: &RefCell<Carrier>,
        stream: usize,
        news: News<'_>,
        script: &mut impl Script,
    ) -> io::Result<()> {
        let slot = carrier.borrow().slots.get(stream).copied().flatten();
        // A stream may be ended and then reset.
        let Some(slot) = slot else { return Ok(()) };
        let Some(link) = self.links.0[slot].as_mut() else { return Ok(()) };
        let tally = &mut self.tally;
        match news {
            News::Opened => link.opened(tally, script),
            News::Bytes(bytes) => {
                let leave = Leave { close: self.may_be_told, messages: self.may_be_sent };
                link.receive(bytes, leave, tally, script)
            }
            News::Ended => {
                link.end(tally, script)?;
                self.links.leave(slot);
                Ok(())
            }
        }
    }

    /// The server hung up.
    fn end_all(&mut self, carrier: &RefCell<Carrier>, script: &mut impl Script) -> io::Result<()> {
        let streams = carrier.borrow().slots.len();
        (0..streams).try_for_each(|stream| self.hear(carrier, stream, News::Ended, script))
    }

    /// Asks for the sessions that have waited for their connection.
    pub(super) fn ask(&mut self, carrier: &RefCell<Carrier>) -> io::Result<()> {
        if carrier.borrow().has_asked || !carrier.borrow().is_ready() {
            return Ok(());
        }
        carrier.borrow_mut().has_asked = true;
        let streams = carrier.borrow().slots.len();
        for stream in 0..streams {
            if let Some(link) = self.link_of(carrier, stream) {
                link.ask()?;
            }
        }
        Ok(())
    }

    fn link_of(&mut self, carrier: &RefCell<Carrier>, stream: usize) -> Option<&mut Link> {
        let slot = carrier.borrow().slots.get(stream).copied().flatten()?;
        self.links.0[slot].as_mut()
    }
}
