//! The client of one session: what it sends, and what it must receive. It has no I/O: bytes go in by
//! `on_bytes` and out by `outbox`, whatever the connection is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::messages::{CONTINUATION, FIN, Messages};
use super::plan::{Ask, Ending, Have, Plan};
use super::world::{Resident, Way, World, number};
use crate::client::{BINARY, CLOSE, COMPRESSED_TEXT, PING, PONG, TEXT, frame, head, next_frame};
use crate::handover::faults::Kind;

/// Limits for a response, for a pong, and for the end of a session. They find what hangs, and are longer
/// than any stall of a machine that others use as well.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
const PONG_TIMEOUT: Duration = Duration::from_secs(20);
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// The time for which a stalled client does not read: longer than the server's timeouts.
const STALL: Duration = Duration::from_secs(9);
/// The largest message of a client, and the largest that the server accepts.
const MAX_MESSAGE: usize = 4096;

/// The text "stored" as DEFLATE stores it without compression (RFC 1951, section 3.2.4), without the end that
/// a sender removes (RFC 7692, section 7.2.1).
const STORED: [u8; 12] = *b"\x00\x06\x00\xf9\xffstored\x00";

/// How the connection has to end the client's side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum HangUp {
    Finish,
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Requested,
    Open,
    /// It has begun to end the session.
    Ending,
    /// The server has sent its Close frame.
    Closed,
    Ended,
}

pub(super) struct Client {
    /// Bytes to be sent.
    pub(super) outbox: Vec<u8>,
    pub(super) plan: Plan,
    world: Arc<World>,
    way: Way,
    rng: Rng,
    resident: Option<Arc<Resident>>,
    stage: Stage,
    /// When the stage began.
    since: Instant,
    /// When it sends something again.
    due: Instant,
    /// When it ends the session.
    ends: Option<Instant>,
    hang_up: Option<HangUp>,
    has_hung_up: bool,
    inbox: Vec<u8>,
    messages: Messages,
    /// The newest state that it has.
    newest: u64,
    /// The newest state that was published when it asked: the first one must not be older.
    floor: u64,
    pings: u64,
    ping_sent: Option<Instant>,
}

impl Client {
    pub(super) fn new(
        world: &Arc<World>,
        way: Way,
        plan: Plan,
        resident: Option<Arc<Resident>>,
        rng: Rng,
    ) -> Self {
        let newest = if let Have::State(number, _) = plan.have { number } else { 0 };
        let now = Instant::now();
        Self {
            outbox: Vec::new(),
            world: Arc::clone(world),
            way,
            rng,
            resident,
            stage: Stage::Requested,
            since: now,
            due: now + RESPONSE_TIMEOUT,
            ends: None,
            hang_up: None,
            has_hung_up: false,
            inbox: Vec::new(),
            messages: Messages::new(plan.offers_deflate),
            newest,
            floor: world.newest.number(),
            pings: 0,
            ping_sent: None,
            plan,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    pub(super) fn is_requested(&self) -> bool {
        self.stage == Stage::Requested
    }

    /// Whether it reads at this time.
    pub(super) fn reads(&self, now: Instant) -> bool {
        let is_stalled = self.stage == Stage::Ending && self.plan.ending == Ending::Stall;
        !is_stalled || now >= self.since + STALL
    }

    /// Returns when `act` has to be called.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether its side has been ended.
    pub(super) fn has_hung_up(&self) -> bool {
        self.has_hung_up
    }

    /// Returns how its side has to be ended, once, when all output was taken.
    pub(super) fn take_hang_up(&mut self) -> Option<HangUp> {
        let hang_up = self.hang_up.take_if(|_| self.outbox.is_empty());
        self.has_hung_up |= hang_up.is_some();
        if hang_up == Some(HangUp::Reset) {
            self.end(&format!("{:?}", self.plan.ending));
        }
        hang_up
    }

    /// The server has accepted the session.
    pub(super) fn on_opened(&mut self, now: Instant) {
        if self.plan.ask != Ask::Session {
            self.fault(Kind::Connect, "a request that must be refused was accepted");
        }
        self.world.count(format!("opened: {}", self.way.name()));
        self.enter(Stage::Open, now);
        self.ends = self.plan.lifetime.map(|time| now + time);
        self.schedule(now);
        if let Some(resident) = &self.resident {
            resident.newest.store(self.newest, Ordering::SeqCst);
            resident.is_open.store(true, Ordering::SeqCst);
        }
    }

    /// The server has refused the session. The status is known over HTTP/1.1.
    pub(super) fn on_refused(&mut self, status: Option<&str>) {
        if self.plan.ask == Ask::Session {
            let text = format!("refused with {}", status.unwrap_or("an unknown status"));
            self.lost(Kind::Connect, self.may_be_drained(), text);
        } else if status.is_some_and(|status| status != self.plan.ask.status()) {
            self.fault(Kind::Connect, &format!("refused with {status:?}"));
        }
        self.end("refused");
    }

    pub(super) fn on_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.inbox.extend_from_slice(bytes);
        while let Some((first, payload)) = next_frame(&mut self.inbox) {
            if self.has_ended() {
                return;
            }
            if let Err(error) = self.on_frame(first, payload, now) {
                self.fault(Kind::Closed, &error.to_string());
                self.hang_up = Some(HangUp::Reset);
            }
        }
    }

    /// The server has ended its side, or the connection was lost.
    pub(super) fn on_end(&mut self, error: &str) {
        match self.stage {
            Stage::Ended => return,
            Stage::Requested => {
                self.lost(Kind::Connect, self.may_be_drained(), format!("no response: {error}"));
            }
            Stage::Open => {
                let text = format!("ended without a Close frame: {error}");
                self.lost(Kind::Closed, self.may_be_drained(), text);
            }
            Stage::Ending if !self.plan.ending.may_be_cut() => {
                let text = format!("{:?} ended without a Close frame: {error}", self.plan.ending);
                self.lost(Kind::Closed, true, text);
            }
            Stage::Ending | Stage::Closed => {}
        }
        let ending = format!("{:?}", self.plan.ending);
        self.end(if self.plan.lifetime.is_some() { &ending } else { "drained" });
    }

    /// The client's connection is cut on purpose.
    pub(super) fn on_cut(&mut self) {
        self.end("cut with its connection");
    }

    /// Does what is due.
    pub(super) fn act(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        match self.stage {
            Stage::Ended => {}
            Stage::Requested => {
                self.fault(Kind::Connect, "no response");
                self.hang_up = Some(HangUp::Reset);
            }
            Stage::Open if self.ends.is_some_and(|ends| now >= ends) => self.begin_ending(now),
            Stage::Open => {
                self.talk(now);
                self.schedule(now);
            }
            Stage::Ending | Stage::Closed if now < self.since + END_TIMEOUT => {
                self.due = self.since + END_TIMEOUT;
            }
            Stage::Ending | Stage::Closed => {
                let text = format!("{:?} does not end after {:?}", self.plan.ending, self.stage);
                self.fault(Kind::Closed, &text);
                self.hang_up = Some(HangUp::Reset);
            }
        }
    }

    fn on_frame(&mut self, first: u8, payload: Vec<u8>, now: Instant) -> io::Result<()> {
        match first {
            CLOSE => self.on_close(&payload, now),
            PING if self.answers() => self.outbox.extend(frame(PONG, &payload)),
            PING => {}
            PONG => self.on_pong(&payload)?,
            _ => {
                if let Some(message) = self.messages.on_frame(first, payload)? {
                    self.on_message(&message)?;
                }
            }
        }
        Ok(())
    }

    fn on_message(&mut self, text: &str) -> io::Result<()> {
        let (tag, text) = match self.plan.have {
            Have::Unsaid => (None, text),
            Have::Nothing | Have::State(..) => {
                let tagged = text.strip_prefix("have=").and_then(|text| text.split_once('\n'));
                let (tag, text) = tagged.ok_or_else(|| io::Error::other("a state has no tag"))?;
                (Some(tag), text)
            }
        };
        let state = number(text)?;
        if state <= self.newest {
            self.fault(Kind::OutOfOrder, &format!("{state} after {}", self.newest));
        } else if state < self.floor {
            // In a handover the predecessor still answers the requests on connections that it has accepted,
            // and the successor publishes already.
            let text = "the first state is older than what was published".to_owned();
            self.lost(Kind::OutOfOrder, true, text);
        }
        if let Some(tag) = tag {
            self.world.learn(state, tag);
        }
        self.newest = self.newest.max(state);
        if let Some(resident) = &self.resident {
            resident.newest.store(self.newest, Ordering::SeqCst);
        }
        Ok(())
    }

    fn on_pong(&mut self, payload: &[u8]) -> io::Result<()> {
        let is_flood = self.plan.ending == Ending::RateExceeded && self.stage == Stage::Ending;
        let is_latest = payload == self.pings.to_be_bytes();
        if is_flood || is_latest && self.ping_sent.take().is_some() {
            return Ok(());
        }
        Err(io::Error::other("received an unsolicited pong"))
    }

    fn on_close(&mut self, payload: &[u8], now: Instant) {
        let (code, reason) = payload.split_first_chunk().unwrap_or((&[0, 0], &[]));
        let (code, reason) = (u16::from_be_bytes(*code), String::from_utf8_lossy(reason));
        let is_wanted = self.stage == Stage::Ending && self.plan.ending.close_code() == Some(code);
        // A client that does not await a Close frame may get one for what the server reads last.
        let is_ignored = self.stage == Stage::Ending && self.plan.ending.close_code().is_none();
        if !is_wanted && !is_ignored {
            let may_be_drained =
                code == 1001 && (self.may_be_drained() || self.stage != Stage::Open);
            let text = format!("{:?}: closed with {code} {reason:?}", self.plan.ending);
            self.lost(Kind::Closed, may_be_drained, text);
        }
        match self.stage {
            Stage::Open => self.outbox.extend(frame(CLOSE, payload)),
            // A Close frame is not possible within another frame.
            Stage::Ending if self.plan.ending != Ending::Close => {
                self.hang_up = Some(HangUp::Finish);
            }
            Stage::Ending | Stage::Closed | Stage::Requested | Stage::Ended => {}
        }
        self.leave_open();
        self.enter(Stage::Closed, now);
        self.due = now + END_TIMEOUT;
    }

    /// Sends a ping or a message.
    fn talk(&mut self, now: Instant) {
        if self.ping_sent.is_some_and(|sent| now > sent + PONG_TIMEOUT) {
            self.ping_sent = None;
            self.fault(Kind::Unanswered, "a ping");
        }
        match self.rng.u8(..4) {
            0 | 1 if self.ping_sent.is_none() => {
                self.pings += 1;
                self.ping_sent = Some(now);
                self.outbox.extend(frame(PING, &self.pings.to_be_bytes()));
            }
            2 => {
                let length = self.rng.usize(..MAX_MESSAGE);
                self.outbox.extend(frame(BINARY, &vec![7; length]));
            }
            3 if self.plan.offers_deflate => {
                self.outbox.extend(frame(COMPRESSED_TEXT, &STORED));
            }
            _ => {
                let parts = [(TEXT & !FIN, "a message "), (CONTINUATION, "in "), (FIN, "parts")];
                self.outbox
                    .extend(parts.iter().flat_map(|(first, part)| frame(*first, part.as_bytes())));
            }
        }
    }

    fn schedule(&mut self, now: Instant) {
        let next = now + Duration::from_millis(self.rng.u64(500..3000));
        self.due = self.ends.map_or(next, |ends| ends.min(next));
    }

    fn begin_ending(&mut self, now: Instant) {
        self.leave_open();
        self.enter(Stage::Ending, now);
        self.due = now + END_TIMEOUT;
        let half = || [head(BINARY, 100), vec![1; 20]].concat();
        match self.plan.ending {
            Ending::Close => self.outbox.extend(frame(CLOSE, &1000_u16.to_be_bytes())),
            Ending::Finish => self.hang_up = Some(HangUp::Finish),
            Ending::FinishInFrame => {
                self.outbox.extend(half());
                self.hang_up = Some(HangUp::Finish);
            }
            Ending::InvalidUtf8 => self.outbox.extend(frame(TEXT, &[b'a', 0xff])),
            // An opcode that is reserved.
            Ending::ProtocolError => self.outbox.extend(frame(FIN | 3, b"")),
            Ending::RateExceeded => self.outbox.extend(frame(PING, b"flood").repeat(60)),
            Ending::RemainInFrame => self.outbox.extend(half()),
            Ending::Reset => self.hang_up = Some(HangUp::Reset),
            Ending::ResetInFrame => {
                self.outbox.extend(half());
                self.hang_up = Some(HangUp::Reset);
            }
            Ending::Silence => {}
            Ending::Stall => self.due = now + STALL,
            Ending::TooBig => self.outbox.extend(head(BINARY, MAX_MESSAGE + 1)),
        }
    }

    /// Whether it answers pings.
    fn answers(&self) -> bool {
        // In the midst of a frame or after a Close frame nothing may be sent.
        self.stage == Stage::Open
    }

    /// Whether the server may drain its session in a handover: a session over plain HTTP/1.1 that is at rest
    /// must be handed over.
    fn may_be_drained(&self) -> bool {
        self.way.http2 || self.way.tls
    }

    fn enter(&mut self, stage: Stage, now: Instant) {
        (self.stage, self.since) = (stage, now);
    }

    fn leave_open(&self) {
        if let Some(resident) = &self.resident {
            resident.is_open.store(false, Ordering::SeqCst);
        }
    }

    fn end(&mut self, how: &str) {
        self.leave_open();
        self.stage = Stage::Ended;
        self.world.count(format!("ended: {how}"));
    }

    fn fault(&self, kind: Kind, text: &str) {
        self.lost(kind, false, text.to_owned());
    }

    fn lost(&self, kind: Kind, may_be_drained: bool, text: String) {
        self.world.lost(kind, may_be_drained, format!("{}: {text}", self.way.name()));
    }
}
