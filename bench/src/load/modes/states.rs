//! The broadcast states, and the verification that sessions receive them.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use fastrand::Rng;

use super::{ensure, millis};
use crate::load::clients::Clients;
use crate::load::deflate::Inflater;
use crate::load::peer_process::PeerProcess;
use crate::load::publication::Publication;
use crate::load::session::Event;

/// Different texts, of which each is published once. Received texts are compared in full.
pub(super) struct States {
    texts: Vec<String>,
    inflater: Inflater,
}

const DIGITS: usize = 8;
/// Limit for the delivery of a state. Servers that compress it for each session need seconds.
const TIMEOUT: Duration = Duration::from_secs(40);
/// Short against a delivery to thousands of sessions.
const PAUSE: Duration = Duration::from_micros(500);

/// How the load generator waits when no connection is ready.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// It blocks in epoll: the server's next message wakes it, within the server's system call, and more
    /// often the slower the server is.
    Epoll,
    /// It sleeps for a moment, in which messages gather, and no message wakes it.
    Pause,
}

impl States {
    /// Texts of this length that start with their number.
    pub(super) fn numbered(count: usize, length: usize) -> Self {
        let text = |number: usize| {
            let mut text = format!("{number:0DIGITS$}");
            let filler = (b'a'..=b'z').cycle().skip(number % 26).map(char::from);
            text.extend(filler.take(length - DIGITS));
            text
        };
        Self::of((0..count).map(text).collect())
    }

    /// Lists of services in JSON, the same in every run. Each differs from the one before in 5 % of its
    /// entries of about 90 bytes.
    pub(super) fn services(count: usize, entries: usize) -> Self {
        let mut rng = Rng::with_seed(1);
        let mut services: Vec<String> = (0..entries).map(|_| service(&mut rng)).collect();
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            for _ in 0..entries.div_ceil(20) {
                let changed = rng.usize(..entries);
                services[changed] = service(&mut rng);
            }
            texts.push(format!("{{\"services\":[{}]}}", services.join(",")));
        }
        Self::of(texts)
    }

    fn of(texts: Vec<String>) -> Self {
        Self { texts, inflater: Inflater::default() }
    }

    /// Returns the number of a received state.
    pub(super) fn number(&self, payload: &[u8]) -> io::Result<usize> {
        let number = self.texts.iter().position(|state| state.as_bytes() == payload);
        number.ok_or_else(|| io::Error::other("a session received an unknown state"))
    }

    pub(super) fn is_newest(&self, number: usize) -> bool {
        number + 1 == self.texts.len()
    }

    /// Publishes a state, and waits until every session with `true` in `readers` has received it.
    /// Returns the delivery times in milliseconds.
    pub(super) fn deliver(
        &mut self,
        number: usize,
        clients: &mut Clients,
        peer_process: &PeerProcess,
        readers: &[bool],
        wait: Wait,
    ) -> io::Result<Vec<f64>> {
        let mut waiting = readers.to_vec();
        let count = readers.iter().filter(|reads| **reads).count();
        let mut times = Vec::with_capacity(count);
        let text = &self.texts[number];
        let publication = Publication::start(peer_process.publisher, text)?;
        while times.len() < count {
            let missing = count - times.len();
            ensure(publication.elapsed() < TIMEOUT, || {
                format!("{missing} of {count} sessions have not received state {number}")
            })?;
            let max_wait = match wait {
                Wait::Epoll => Duration::from_secs(1),
                Wait::Pause => Duration::ZERO,
            };
            let handled = clients.poll(max_wait, &mut |session, event| {
                let is_reader = readers[session.key];
                match event {
                    Event::Message(_) | Event::Compressed(..) if !is_reader => return Ok(()),
                    Event::Message(_) if session.is_compressed() => {
                        let message = format!("a session received state {number} uncompressed");
                        return Err(io::Error::other(message));
                    }
                    Event::Message(payload) => ensure(payload == text.as_bytes(), || {
                        format!("a session received something other than state {number}")
                    })?,
                    Event::Compressed(payload, deflate) => {
                        self.inflater.verify(deflate, payload, text.as_bytes())?;
                    }
                    // Only a session that does not read can be closed.
                    Event::Close | Event::Disconnected | Event::Ended => return Ok(()),
                    // Our publisher measures how long states take, by a ping to one session in 64.
                    Event::Ping => return Ok(()),
                    _ => return Err(io::Error::other("received something other than a state")),
                }
                let is_first = std::mem::take(&mut waiting[session.key]);
                ensure(is_first, || format!("a session received state {number} twice"))?;
                times.push(millis(publication.elapsed()));
                Ok(())
            })?;
            if handled == 0 && matches!(wait, Wait::Pause) {
                sleep(PAUSE);
            }
        }
        self.inflater.finish(text.as_bytes());
        publication.finish()?;
        Ok(times)
    }
}

/// An entry of the list, with random numbers.
fn service(rng: &mut Rng) -> String {
    let region = ["eu-west", "us-east", "ap-south"][rng.usize(..3)];
    let (id, latency, rate) = (rng.u32(..), rng.u32(..50_000), rng.u32(..100_000));
    format!(
        r#"{{"id":"{id:08x}","region":"{region}","state":"ok","latency_us":{latency},"requests_per_s":{rate}}}"#
    )
}
