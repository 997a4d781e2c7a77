//! The peers: what each kind does, what its network is like, and how its session may end.

use std::collections::VecDeque;
use std::future::pending;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Interval, interval, sleep_until};
use transport::ws_core::Cause;
use transport::{Handler, Message, Next};

use super::frames::{self, close, frame};
use super::network::{Dice, End, Weather};
use super::{CLOSE, EXCHANGE, PING, PONG, SLOW};
use crate::Subscription;

/// Kinds of peers. A moment is the time since the session was opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Answers, talks a little, and says goodbye then.
    Healthy { leaves: Duration },
    /// The same behind a network that is away for less than the pong timeout.
    CutOff { leaves: Duration },
    /// The same behind a network that never comes back.
    CutOffForEver { from: Duration, is_told_much: bool },
    /// Reads and says nothing.
    Mute,
    /// Does not read, though it is told much.
    Stuck,
    /// Reads little by little of the much that it is told, and goes away then.
    Slow { leaves: Duration },
    /// Goes away without a word.
    Vanishing { leaves: Duration },
    /// Its connection is reset.
    Reset { at: Duration },
    /// Sends more than it may, and answers the close or goes on.
    Flooder { from: Duration, is_deaf: bool },
    /// Breaks a rule.
    Violator { at: Duration, cause: Cause },
    /// Begins a message and never ends it.
    Trickler { from: Duration },
    /// Does not answer a close, and goes away then.
    Stubborn { leaves: Duration },
}

/// How a session with a peer of some kind may end if no drain comes first.
pub(crate) struct Expected {
    pub(crate) causes: Vec<Cause>,
    pub(crate) clean: bool,
    pub(crate) not_before: Duration,
    pub(crate) within: Duration,
}

/// What a client does.
pub(crate) struct Habits {
    reads: Reads,
    answers_pings: bool,
    answers_close: bool,
    /// What it says, when for the first time, and how often.
    says: Option<(Vec<Vec<u8>>, Instant, Duration)>,
    leaves: Option<(Instant, Leaving)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Reads {
    Everything,
    /// So many bytes in that time.
    Little(usize, Duration),
    Nothing,
}

#[derive(Clone, Copy)]
enum Leaving {
    Dropping,
    SayingGoodbye,
}

/// What a client saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saw {
    pub(crate) end: Told,
    /// The number of the state that it was told last; 0 is none.
    pub(crate) state: u64,
    pub(crate) is_in_order: bool,
}

/// What a client saw of the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Told {
    /// A Close frame with this code; 0 is none.
    Close(u16),
    Nothing,
}

const SECOND: Duration = Duration::from_secs(1);
/// A partition that is over in time for the pong, whatever the latency is.
const CUT_OFF: u64 = 7000;
/// Never again, as far as these stories go.
const NEVER: Duration = Duration::from_secs(86_400);

impl Kind {
    /// Throws a client that opens its session at `opened`.
    pub(crate) fn throw(dice: &mut Dice, opened: Instant) -> (Self, Habits, Weather) {
        let moment = dice.millis(200..120_000);
        let latency = dice.within(1..250);
        let mut weather = Weather {
            latency: latency..latency + dice.within(1..150),
            piece: dice.size(64..1500),
            pipe: dice.size(1024..8192),
            buffer: 0,
            partition: None,
            reset: None,
        };
        // The limits hold for what a partition piles up, and not for what a stall does.
        let talk = vec![frame(frames::TEXT, b"well?"), frame(frames::PING, b"there?")];
        let mut habits = Habits {
            reads: Reads::Everything,
            answers_pings: true,
            answers_close: true,
            says: Some((talk, opened + dice.millis(0..9000), dice.millis(4500..20_000))),
            leaves: Some((opened + moment, Leaving::SayingGoodbye)),
        };
        let kind = match dice.within(0..16) {
            0..4 => {
                let (_, _, rest) = habits.says.as_mut().unwrap();
                *rest = dice.millis(130..5000);
                Self::Healthy { leaves: moment }
            }
            4 | 5 => {
                let from = opened + dice.millis(0..100_000);
                weather.partition = Some((from, Some(from + dice.millis(100..CUT_OFF))));
                Self::CutOff { leaves: moment }
            }
            6 => {
                weather.partition = Some((opened + moment, None));
                habits.leaves = None;
                Self::CutOffForEver { from: moment, is_told_much: dice.percent(30) }
            }
            7 => {
                habits = Habits { answers_pings: false, says: None, leaves: None, ..habits };
                Self::Mute
            }
            8 => {
                habits = Habits { reads: Reads::Nothing, says: None, leaves: None, ..habits };
                Self::Stuck
            }
            9 => {
                // Pieces go out faster than the write timeout is long.
                weather.piece = dice.size(64..256);
                habits.reads = Reads::Little(dice.size(60..400), dice.millis(100..1000));
                habits.says = None;
                habits.leaves = Some((opened + moment, Leaving::Dropping));
                Self::Slow { leaves: moment }
            }
            10 => {
                habits.leaves = Some((opened + moment, Leaving::Dropping));
                Self::Vanishing { leaves: moment }
            }
            11 => {
                weather.reset = Some(opened + moment);
                habits.leaves = None;
                Self::Reset { at: moment }
            }
            12 => {
                let floods =
                    [frame(frames::TEXT, b"x"), frame(frames::PING, b""), frame(frames::PONG, b"")];
                let flood = floods[dice.size(0..3)].clone();
                let is_deaf = dice.percent(50);
                habits.says = Some((vec![flood], opened + moment, dice.millis(1..25)));
                habits = Habits { answers_close: !is_deaf, leaves: None, ..habits };
                Self::Flooder { from: moment, is_deaf }
            }
            13 => {
                let violations = [
                    (Cause::ProtocolError, vec![0x81, 0x01, b'x']),
                    (Cause::ProtocolError, frame(0x83, b"")),
                    (Cause::ProtocolError, frame(frames::CLOSE, &[0x03, 0xed])),
                    (Cause::InvalidUtf8, frame(frames::TEXT, &[0xff, 0xfe])),
                    (Cause::TooBig, frame(frames::BINARY, &[0; 5000])),
                ];
                let (cause, violation) = violations[dice.size(0..5)].clone();
                habits.says = Some((vec![violation], opened + moment, NEVER));
                habits.leaves = None;
                Self::Violator { at: moment, cause }
            }
            14 => {
                let moment = dice.millis(200..12_000);
                let begun = frame(frames::TEXT, b"never ends")[..8].to_vec();
                habits.says = Some((vec![begun], opened + moment, NEVER));
                // A pong in the middle of a frame would be a part of it.
                habits = Habits { answers_pings: false, leaves: None, ..habits };
                Self::Trickler { from: moment }
            }
            _ => {
                habits.answers_close = false;
                habits.leaves = Some((opened + moment, Leaving::Dropping));
                Self::Stubborn { leaves: moment }
            }
        };
        (kind, habits, weather)
    }

    pub(crate) fn expected(self) -> Expected {
        let expect = |causes: &[Cause], clean, not_before, within| Expected {
            causes: causes.to_vec(),
            clean,
            not_before,
            within: within + EXCHANGE,
        };
        let first_ping = PING.mul_f64(0.9);
        let cut_off = Duration::from_millis(CUT_OFF);
        match self {
            Self::Healthy { leaves } => expect(&[Cause::PeerClosed], true, leaves, leaves),
            Self::CutOff { leaves } => expect(&[Cause::PeerClosed], true, leaves, leaves + cut_off),
            // It may be cut off in the middle of a message.
            Self::CutOffForEver { from, .. } => expect(
                &[Cause::PongTimeout, Cause::WriteTimeout, Cause::MessageTimeout],
                false,
                from.saturating_sub(EXCHANGE),
                from + PING + PONG + SLOW,
            ),
            Self::Mute => expect(&[Cause::PongTimeout], false, first_ping + PONG, PING + PONG),
            Self::Stuck => expect(&[Cause::WriteTimeout], false, SLOW, SLOW + 5 * SECOND),
            Self::Slow { leaves } | Self::Vanishing { leaves } | Self::Stubborn { leaves } => {
                expect(&[Cause::Disconnected], false, leaves, leaves)
            }
            Self::Reset { at } => expect(&[Cause::Disconnected], false, at, at),
            Self::Flooder { from, is_deaf } => {
                expect(&[Cause::RateLimited], !is_deaf, from, from + SECOND + CLOSE)
            }
            // Who is told of a violation hangs up, which is the end and not a clean one.
            Self::Violator { at, cause } => expect(&[cause], false, at, at + CLOSE),
            // It says nothing besides, so after a stall it may be given up for that.
            Self::Trickler { from } => expect(
                &[Cause::MessageTimeout, Cause::PongTimeout],
                false,
                SLOW,
                from + SLOW + CLOSE,
            ),
        }
    }

    /// Whether neither it nor its network ever makes anything wait.
    pub(crate) fn is_never_held_up(self) -> bool {
        matches!(self, Self::Healthy { .. })
    }

    /// Whether it would complete a closing handshake that a drain begins.
    pub(crate) fn answers_the_drain(self) -> bool {
        matches!(self, Self::Healthy { .. } | Self::CutOff { .. })
    }
}

/// What the server says in a session.
pub(crate) enum Voice {
    Echo(VecDeque<Message>),
    /// Always has something to say.
    Chatter,
    /// Has much to say, again and again.
    Steady(Interval),
    /// Tells the newest state.
    State(Subscription),
}

impl Voice {
    /// One for a peer of this kind. It tells the state if that does for it as well.
    pub(crate) fn of(kind: Kind, state: Option<Subscription>) -> Self {
        if matches!(kind, Kind::Slow { .. } | Kind::Stuck) {
            Self::Chatter
        } else if matches!(kind, Kind::CutOffForEver { is_told_much: true, .. }) {
            Self::Steady(interval(Duration::from_millis(100)))
        } else {
            state.map_or_else(|| Self::Echo(VecDeque::new()), Self::State)
        }
    }
}

impl Handler for Voice {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let text = |text: String| Poll::Ready(Next::Send(Message::Text(text.into())));
        match self {
            Self::Echo(waiting) => {
                waiting.pop_front().map_or(Poll::Pending, |it| Poll::Ready(Next::Send(it)))
            }
            Self::Chatter => text("chatter".repeat(10)),
            Self::Steady(interval) => {
                ready!(interval.poll_tick(cx));
                text("news ".repeat(200))
            }
            Self::State(latest) => latest.poll_next(cx),
        }
    }

    fn receive(&mut self, message: Message) {
        if let Self::Echo(waiting) = self {
            waiting.push_back(message);
        }
    }
}

/// Lives the life of a client, and says what it saw.
pub(crate) async fn run(mut end: End, mut habits: Habits) -> Saw {
    let mut inbox = Vec::new();
    let mut saw = Saw { end: Told::Nothing, state: 0, is_in_order: true };
    let mut has_closed = false;
    let mut reads_at = Instant::now();
    loop {
        let most = match habits.reads {
            Reads::Everything => 4096,
            Reads::Little(most, _) => most,
            Reads::Nothing => 0,
        };
        let says_at = habits.says.as_ref().filter(|_| !has_closed).map(|says| says.1);
        let leaves_at = habits.leaves.map(|leaves| leaves.0).filter(|_| !has_closed);
        let is_resting = reads_at > Instant::now();
        let wakes_at = [says_at, leaves_at, is_resting.then_some(reads_at)].into_iter().flatten();
        let next = wakes_at.min();
        let mut piece = [0; 4096];

        tokio::select! {
            biased;
            count = end.read(&mut piece[..most]), if most > 0 && !is_resting => {
                let Ok(count @ 1..) = count else { return saw };
                inbox.extend(&piece[..count]);
                if let Reads::Little(_, rest) = habits.reads {
                    reads_at = Instant::now() + rest;
                }
            }
            () = async { sleep_until(next.unwrap()).await }, if next.is_some() => {}
            else => pending().await,
        }

        let mut answers = Vec::new();
        while let Some((first, payload)) = next_frame(&mut inbox) {
            match first {
                frames::PING if habits.answers_pings => {
                    answers.extend(frame(frames::PONG, &payload));
                }
                frames::CLOSE => {
                    saw.end = Told::Close(
                        payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code)),
                    );
                    if habits.answers_close && !has_closed {
                        answers.extend(frame(frames::CLOSE, &payload));
                        has_closed = true;
                    }
                }
                frames::TEXT => {
                    let text = String::from_utf8(payload).unwrap();
                    if let Some(number) = text.strip_prefix("state ") {
                        let number = number.parse().unwrap();
                        saw.is_in_order &= saw.state < number;
                        saw.state = number;
                    }
                }
                _ => {}
            }
        }
        if let Some((words, at, rest)) = &mut habits.says
            && *at <= Instant::now()
            && !has_closed
        {
            answers.extend(&words[0]);
            words.rotate_left(1);
            *at = Instant::now() + *rest;
        }
        match habits.leaves {
            Some((at, Leaving::Dropping)) if at <= Instant::now() => return saw,
            Some((at, Leaving::SayingGoodbye)) if at <= Instant::now() && !has_closed => {
                answers.extend(close(1000, "bye"));
                has_closed = true;
            }
            _ => {}
        }
        if end.write_all(&answers).await.is_err() {
            // What has come before the reset is still there to be read.
            habits.says = None;
        }
    }
}

/// Takes a whole frame of the server out of what has come: its first byte, and its payload.
fn next_frame(inbox: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (head, length) = match *inbox.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(*inbox.get(2..)?.first_chunk()?))),
        127 => panic!("the server says nothing that long"),
        short => (2, usize::from(short)),
    };
    let payload = inbox.get(head..head + length)?.to_vec();
    Some((inbox.drain(..head + length).next()?, payload))
}
