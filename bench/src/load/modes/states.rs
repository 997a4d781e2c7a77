//! What is broadcast, and that it has come.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use super::{check, millis};
use crate::load::fleet::Fleet;
use crate::load::link::Event;
use crate::load::publication::Publication;
use crate::load::running::Running;

/// Texts that are told apart by the number at their beginning, and compared in every byte.
pub(super) struct States(Vec<String>);

const DIGITS: usize = 8;
/// How long a state may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the clients look away when nothing has come. If they waited for it, a server would pay
/// for waking them with each message, and the slower it is, the more often.
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

    /// Which of them this is.
    pub(super) fn number(&self, payload: &[u8]) -> io::Result<usize> {
        let digits = payload.get(..DIGITS).and_then(|digits| str::from_utf8(digits).ok());
        let number = digits.and_then(|digits| digits.parse().ok());
        let is_whole =
            |number: &usize| self.0.get(*number).is_some_and(|state| state.as_bytes() == payload);
        number.filter(is_whole).ok_or_else(|| io::Error::other("a session got what is no state"))
    }

    pub(super) fn is_newest(&self, number: usize) -> bool {
        number + 1 == self.0.len()
    }

    /// Publishes a state, and waits until all who read have it: as many as there are places in
    /// `readers`, except those with `false`. Gives back after how many milliseconds each got it.
    pub(super) fn deliver(
        &self,
        number: usize,
        fleet: &mut Fleet,
        running: &Running,
        readers: &[bool],
    ) -> io::Result<Vec<f64>> {
        let mut waiting = readers.to_vec();
        let count = readers.iter().filter(|reads| **reads).count();
        let mut times = Vec::with_capacity(count);
        let publication = Publication::start(running.publisher, &self.0[number])?;
        while times.len() < count {
            let missing = count - times.len();
            check(publication.elapsed() < PATIENCE, || {
                format!("{missing} of {count} sessions have not got state {number}")
            })?;
            let handled = fleet.turn(Duration::ZERO, &mut |link, event| {
                let payload = match event {
                    Event::Message(payload) => payload,
                    // Only one who does not read can be lost.
                    Event::Close | Event::Cut | Event::Ended => return Ok(()),
                    _ => return Err(io::Error::other("something else than a state came")),
                };
                if !readers[link.slot] {
                    return Ok(());
                }
                let came = self.number(payload)?;
                check(came == number, || format!("a session got state {came} for {number}"))?;
                let is_first = std::mem::take(&mut waiting[link.slot]);
                check(is_first, || format!("a session got state {number} twice"))?;
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
