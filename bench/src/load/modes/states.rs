//! The broadcast states, and the verification that sessions receive them.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use super::{ensure, millis};
use crate::load::clients::Clients;
use crate::load::peer_process::PeerProcess;
use crate::load::publication::Publication;
use crate::load::session::Event;

/// Texts that start with their number. Received texts are compared in full.
pub(super) struct States(Vec<String>);

const DIGITS: usize = 8;
/// Limit for the delivery of a state.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause of the load generator when no connection is ready. If it blocked in epoll instead, each message
/// of the server would have to wake it, and more often the slower the server is.
const PAUSE: Duration = Duration::from_micros(500);

impl States {
    pub(super) fn new(count: usize, length: usize) -> Self {
        let text = |number: usize| {
            let mut text = format!("{number:0DIGITS$}");
            let filler = (b'a'..=b'z').cycle().skip(number % 26).map(char::from);
            text.extend(filler.take(length - DIGITS));
            text
        };
        Self((0..count).map(text).collect())
    }

    /// Returns the number of a received state.
    pub(super) fn number(&self, payload: &[u8]) -> io::Result<usize> {
        let digits = payload.get(..DIGITS).and_then(|digits| str::from_utf8(digits).ok());
        let number = digits.and_then(|digits| digits.parse().ok());
        let is_whole =
            |number: &usize| self.0.get(*number).is_some_and(|state| state.as_bytes() == payload);
        number
            .filter(is_whole)
            .ok_or_else(|| io::Error::other("a session received an unknown state"))
    }

    pub(super) fn is_newest(&self, number: usize) -> bool {
        number + 1 == self.0.len()
    }

    /// Publishes a state, and waits until every session with `true` in `readers` has received it.
    /// Returns the delivery times in milliseconds.
    pub(super) fn deliver(
        &self,
        number: usize,
        clients: &mut Clients,
        peer_process: &PeerProcess,
        readers: &[bool],
    ) -> io::Result<Vec<f64>> {
        let mut waiting = readers.to_vec();
        let count = readers.iter().filter(|reads| **reads).count();
        let mut times = Vec::with_capacity(count);
        let publication = Publication::start(peer_process.publisher, &self.0[number])?;
        while times.len() < count {
            let missing = count - times.len();
            ensure(publication.elapsed() < TIMEOUT, || {
                format!("{missing} of {count} sessions have not received state {number}")
            })?;
            let handled = clients.poll(Duration::ZERO, &mut |session, event| {
                let payload = match event {
                    Event::Message(payload) => payload,
                    // Only a session that does not read can be closed.
                    Event::Close | Event::Disconnected | Event::Ended => return Ok(()),
                    _ => return Err(io::Error::other("received something other than a state")),
                };
                if !readers[session.key] {
                    return Ok(());
                }
                let received = self.number(payload)?;
                ensure(received == number, || {
                    format!("a session received state {received} instead of {number}")
                })?;
                let is_first = std::mem::take(&mut waiting[session.key]);
                ensure(is_first, || format!("a session received state {number} twice"))?;
                times.push(millis(publication.elapsed()));
                Ok(())
            })?;
            if handled == 0 {
                sleep(PAUSE);
            }
        }
        publication.finish()?;
        Ok(times)
    }
}
