//! The peers: the behaviour and the network of each kind, and the expected end of its session.

use std::collections::VecDeque;
use std::future::pending;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Interval, interval, sleep_until};
use transport::ws_core::Cause;
use transport::{Handler, Message, Next};

use super::deflate::Inflater;
use super::frames::{self, close, frame};
use super::history::History;
use super::network::{End, LinkConditions, Rng};
use super::{CLOSE, EXCHANGE, PING, PONG, SLOW};
use crate::Subscription;

/// Kinds of peers. Times count from the opening of the session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Answers, sends a few frames, and closes.
    Healthy { leaves: Duration },
    /// Healthy, behind a network partition that is shorter than the pong timeout.
    BriefPartition { leaves: Duration },
    /// Healthy, behind a network partition that does not end.
    LastingPartition { from: Duration, is_sent_much: bool },
    /// Reads and sends nothing.
    Silent,
    /// Reads nothing from a handler that always sends.
    ReadsNothing,
    /// Reads slowly from a handler that always sends, and disconnects.
    SlowReader { leaves: Duration },
    /// Disconnects without a Close frame.
    Disconnecting { leaves: Duration },
    /// Loses its connection to a reset.
    Reset { at: Duration },
    /// Exceeds its rate limit, and answers the Close frame or ignores it.
    Flooder { from: Duration, ignores_close: bool },
    /// Violates the protocol.
    Violator { at: Duration, cause: Cause },
    /// Begins a message and never ends it.
    UnfinishedMessage { from: Duration },
    /// Does not answer Close frames, and disconnects.
    IgnoresClose { leaves: Duration },
}

/// How a session may end unless it is drained first.
pub(crate) struct Expected {
    pub(crate) causes: Vec<Cause>,
    pub(crate) clean: bool,
    pub(crate) not_before: Duration,
    pub(crate) within: Duration,
}

/// The behaviour of a client.
pub(crate) struct Behavior {
    reads: Reads,
    answers_pings: bool,
    answers_close: bool,
    /// Frames to send in turn, the time of the first, and the interval.
    sends: Option<(Vec<Vec<u8>>, Instant, Duration)>,
    leaves: Option<(Instant, Exit)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Reads {
    Everything,
    /// At most this many bytes per interval.
    Slowly(usize, Duration),
    Nothing,
}

#[derive(Clone, Copy)]
enum Exit {
    /// Drops the connection.
    Disconnect,
    /// Starts the closing handshake.
    Close,
}

/// What a client received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) end: ReceivedEnd,
    /// The number of the latest state, or 0.
    pub(crate) state: u64,
    pub(crate) is_in_order: bool,
}

/// The end of the session as a client sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ReceivedEnd {
    /// A Close frame with this code, or 0 for a frame without one.
    Close(u16),
    NoCloseFrame,
}

const SECOND: Duration = Duration::from_secs(1);
/// Milliseconds a brief partition lasts at most: less than the pong timeout at any latency.
const BRIEF_PARTITION: u64 = 7000;
/// Longer than a scenario runs.
const NEVER: Duration = Duration::from_secs(86_400);

impl Kind {
    /// Picks a random client that opens its session at `opened`.
    pub(crate) fn random(rng: &mut Rng, opened: Instant) -> (Self, Behavior, LinkConditions) {
        let time = rng.millis(200..120_000);
        let latency = rng.within(1..250);
        let mut link = LinkConditions {
            latency: latency..latency + rng.within(1..150),
            piece: rng.size(64..1500),
            pipe: rng.size(1024..8192),
            buffer: 0,
            partition: None,
            reset: None,
        };
        // The rate limits allow the frames that a partition holds back; those of a stall are credited.
        let frames = vec![frame(frames::TEXT, b"well?"), frame(frames::PING, b"there?")];
        let mut behavior = Behavior {
            reads: Reads::Everything,
            answers_pings: true,
            answers_close: true,
            sends: Some((frames, opened + rng.millis(0..9000), rng.millis(4500..20_000))),
            leaves: Some((opened + time, Exit::Close)),
        };
        let kind = match rng.within(0..16) {
            0..4 => {
                let (_, _, interval) = behavior.sends.as_mut().unwrap();
                *interval = rng.millis(130..5000);
                Self::Healthy { leaves: time }
            }
            4 | 5 => {
                let from = opened + rng.millis(0..100_000);
                link.partition = Some((from, Some(from + rng.millis(100..BRIEF_PARTITION))));
                Self::BriefPartition { leaves: time }
            }
            6 => {
                link.partition = Some((opened + time, None));
                behavior.leaves = None;
                Self::LastingPartition { from: time, is_sent_much: rng.percent(30) }
            }
            7 => {
                behavior = Behavior { answers_pings: false, sends: None, leaves: None, ..behavior };
                Self::Silent
            }
            8 => {
                behavior =
                    Behavior { reads: Reads::Nothing, sends: None, leaves: None, ..behavior };
                Self::ReadsNothing
            }
            9 => {
                // Small enough that each write makes progress within the write timeout.
                link.piece = rng.size(64..256);
                behavior.reads = Reads::Slowly(rng.size(60..400), rng.millis(100..1000));
                behavior.sends = None;
                behavior.leaves = Some((opened + time, Exit::Disconnect));
                Self::SlowReader { leaves: time }
            }
            10 => {
                behavior.leaves = Some((opened + time, Exit::Disconnect));
                Self::Disconnecting { leaves: time }
            }
            11 => {
                link.reset = Some(opened + time);
                behavior.leaves = None;
                Self::Reset { at: time }
            }
            12 => {
                let floods =
                    [frame(frames::TEXT, b"x"), frame(frames::PING, b""), frame(frames::PONG, b"")];
                let flood = floods[rng.size(0..3)].clone();
                let ignores_close = rng.percent(50);
                behavior.sends = Some((vec![flood], opened + time, rng.millis(1..25)));
                behavior = Behavior { answers_close: !ignores_close, leaves: None, ..behavior };
                Self::Flooder { from: time, ignores_close }
            }
            13 => {
                let violations = [
                    (Cause::ProtocolError, vec![0x81, 0x01, b'x']),
                    (Cause::ProtocolError, frame(0x83, b"")),
                    (Cause::ProtocolError, frame(frames::CLOSE, &[0x03, 0xed])),
                    (Cause::InvalidUtf8, frame(frames::TEXT, &[0xff, 0xfe])),
                    (Cause::TooBig, frame(frames::BINARY, &[0; 5000])),
                ];
                let (cause, violation) = violations[rng.size(0..5)].clone();
                behavior.sends = Some((vec![violation], opened + time, NEVER));
                behavior.leaves = None;
                Self::Violator { at: time, cause }
            }
            14 => {
                let time = rng.millis(200..12_000);
                let begun = frame(frames::TEXT, b"never ends")[..8].to_vec();
                behavior.sends = Some((vec![begun], opened + time, NEVER));
                // The session would read a pong as payload of the unfinished frame.
                behavior = Behavior { answers_pings: false, leaves: None, ..behavior };
                Self::UnfinishedMessage { from: time }
            }
            _ => {
                behavior.answers_close = false;
                behavior.leaves = Some((opened + time, Exit::Disconnect));
                Self::IgnoresClose { leaves: time }
            }
        };
        (kind, behavior, link)
    }

    pub(crate) fn expected(self) -> Expected {
        let expect = |causes: &[Cause], clean, not_before, within| Expected {
            causes: causes.to_vec(),
            clean,
            not_before,
            within: within + EXCHANGE,
        };
        let first_ping = PING.mul_f64(0.9);
        let partition = Duration::from_millis(BRIEF_PARTITION);
        match self {
            Self::Healthy { leaves } => expect(&[Cause::PeerClosed], true, leaves, leaves),
            Self::BriefPartition { leaves } => {
                expect(&[Cause::PeerClosed], true, leaves, leaves + partition)
            }
            // The partition may begin in the middle of a message.
            Self::LastingPartition { from, .. } => expect(
                &[Cause::PongTimeout, Cause::WriteTimeout, Cause::MessageTimeout],
                false,
                from.saturating_sub(EXCHANGE),
                from + PING + PONG + SLOW,
            ),
            Self::Silent => expect(&[Cause::PongTimeout], false, first_ping + PONG, PING + PONG),
            Self::ReadsNothing => expect(&[Cause::WriteTimeout], false, SLOW, SLOW + 5 * SECOND),
            Self::SlowReader { leaves }
            | Self::Disconnecting { leaves }
            | Self::IgnoresClose { leaves } => {
                expect(&[Cause::Disconnected], false, leaves, leaves)
            }
            Self::Reset { at } => expect(&[Cause::Disconnected], false, at, at),
            Self::Flooder { from, ignores_close } => {
                expect(&[Cause::RateLimited], !ignores_close, from, from + SECOND + CLOSE)
            }
            // The client hangs up after the Close frame of a violation, so the end is never clean.
            Self::Violator { at, cause } => expect(&[cause], false, at, at + CLOSE),
            // It sends nothing else, so after a stall the pong timeout may come first.
            Self::UnfinishedMessage { from } => expect(
                &[Cause::MessageTimeout, Cause::PongTimeout],
                false,
                SLOW,
                from + SLOW + CLOSE,
            ),
        }
    }

    /// Whether neither the peer nor its network ever blocks the session.
    pub(crate) fn is_never_blocked(self) -> bool {
        matches!(self, Self::Healthy { .. })
    }

    /// Whether the peer completes the closing handshake of a drain.
    pub(crate) fn answers_the_drain(self) -> bool {
        matches!(self, Self::Healthy { .. } | Self::BriefPartition { .. })
    }
}

/// The handler of a session.
pub(crate) enum SimulatedHandler {
    Echo(VecDeque<Message>),
    /// Always has a message to send.
    Flooding,
    /// Sends a large message periodically.
    Periodic(Interval),
    /// Sends the latest state.
    State(Subscription),
}

impl SimulatedHandler {
    /// Returns the handler for a peer of this kind: the subscription, unless the kind needs another.
    pub(crate) fn new(kind: Kind, state: Option<Subscription>) -> Self {
        if matches!(kind, Kind::SlowReader { .. } | Kind::ReadsNothing) {
            Self::Flooding
        } else if matches!(kind, Kind::LastingPartition { is_sent_much: true, .. }) {
            Self::Periodic(interval(Duration::from_millis(100)))
        } else {
            state.map_or_else(|| Self::Echo(VecDeque::new()), Self::State)
        }
    }
}

impl Handler for SimulatedHandler {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let text = |text: String| Poll::Ready(Next::Send(Message::Text(text.into())));
        match self {
            Self::Echo(queue) => {
                queue.pop_front().map_or(Poll::Pending, |it| Poll::Ready(Next::Send(it)))
            }
            Self::Flooding => text("chatter".repeat(10)),
            Self::Periodic(interval) => {
                ready!(interval.poll_tick(cx));
                text("news ".repeat(200))
            }
            Self::State(subscription) => subscription.poll_next(cx),
        }
    }

    fn receive(&mut self, message: Message) {
        if let Self::Echo(queue) = self {
            queue.push_back(message);
        }
    }
}

/// A text with RSV1 (RFC 7692, section 6.1).
const COMPRESSED_TEXT: u8 = frames::TEXT | 0x40;

/// The state that is published with this number: long enough to be compressed, and mostly as the one before.
pub(crate) fn state(number: u64) -> String {
    let services: Vec<u64> = (0..20).map(|service| (number + service) / 20 * 7919 % 1000).collect();
    format!("state {number} of {services:?}")
}

/// Runs a client and returns what it received.
pub(crate) async fn run(mut end: End, mut behavior: Behavior, history: History) -> Received {
    let mut input = Vec::new();
    let mut inflater = Inflater::default();
    let mut received = Received { end: ReceivedEnd::NoCloseFrame, state: 0, is_in_order: true };
    let mut has_closed = false;
    let mut reads_at = Instant::now();
    loop {
        let most = match behavior.reads {
            Reads::Everything => 4096,
            Reads::Slowly(most, _) => most,
            Reads::Nothing => 0,
        };
        let sends_at = behavior.sends.as_ref().filter(|_| !has_closed).map(|sends| sends.1);
        let leaves_at = behavior.leaves.map(|leaves| leaves.0).filter(|_| !has_closed);
        let is_paused = reads_at > Instant::now();
        let wakes_at = [sends_at, leaves_at, is_paused.then_some(reads_at)].into_iter().flatten();
        let next = wakes_at.min();
        let mut piece = [0; 4096];

        tokio::select! {
            biased;
            count = end.read(&mut piece[..most]), if most > 0 && !is_paused => {
                let Ok(count @ 1..) = count else {
                    history.note("sees the end of the stream");
                    return received;
                };
                input.extend(&piece[..count]);
                if let Reads::Slowly(_, interval) = behavior.reads {
                    reads_at = Instant::now() + interval;
                }
            }
            () = async { sleep_until(next.unwrap()).await }, if next.is_some() => {}
            else => pending().await,
        }

        let mut answers = Vec::new();
        while let Some((first, payload)) = next_frame(&mut input) {
            history.note_received(first, &payload);
            match first {
                frames::PING if behavior.answers_pings => {
                    answers.extend(frame(frames::PONG, &payload));
                }
                frames::CLOSE => {
                    received.end = ReceivedEnd::Close(
                        payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code)),
                    );
                    if behavior.answers_close && !has_closed {
                        answers.extend(frame(frames::CLOSE, &payload));
                        has_closed = true;
                    }
                }
                frames::TEXT | COMPRESSED_TEXT => {
                    let payload =
                        if first == frames::TEXT { payload } else { inflater.inflate(&payload) };
                    let text = String::from_utf8(payload).unwrap();
                    // A tagged state has its tag in a line before it.
                    let text = text.split_once('\n').map_or(&*text, |(_, state)| state);
                    if let Some(rest) = text.strip_prefix("state ") {
                        let number = rest.split(' ').next().unwrap().parse().unwrap();
                        assert_eq!(text, state(number));
                        received.is_in_order &= received.state < number;
                        received.state = number;
                    }
                }
                _ => {}
            }
        }
        if let Some((frames, at, interval)) = &mut behavior.sends
            && *at <= Instant::now()
            && !has_closed
        {
            history.note_sent(&frames[0]);
            answers.extend(&frames[0]);
            frames.rotate_left(1);
            *at = Instant::now() + *interval;
        }
        match behavior.leaves {
            Some((at, Exit::Disconnect)) if at <= Instant::now() => {
                history.note("disconnects");
                return received;
            }
            Some((at, Exit::Close)) if at <= Instant::now() && !has_closed => {
                history.note("sends Close 1000");
                answers.extend(close(1000, "bye"));
                has_closed = true;
            }
            _ => {}
        }
        if end.write_all(&answers).await.is_err() {
            // Bytes that were received before the reset can still be read.
            behavior.sends = None;
        }
    }
}

/// Removes a complete server frame from the input: its first byte and its payload.
fn next_frame(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (head, length) = match *input.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(*input.get(2..)?.first_chunk()?))),
        127 => panic!("the server sends no frame of this length"),
        short => (2, usize::from(short)),
    };
    let payload = input.get(head..head + length)?.to_vec();
    Some((input.drain(..head + length).next()?, payload))
}
