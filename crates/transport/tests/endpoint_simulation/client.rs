//! A client of the simulation of the endpoint: how it connects, what it sends, and what it received.

use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::time::Duration;

use hyper::Request;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use transport::Http2Stream;

use crate::deflate::Inflater;
use crate::endpoint::request_with;
use crate::history::History;
use crate::network::{End, Rng};
use crate::support::{CLOSE, PING, PONG, TEXT, close, frame};

/// The header with the decision about a request: the milliseconds that it takes, and `admit` or `refuse`.
pub(crate) const DECISION: &str = "x-decision";
const EXTENSIONS: &str = "sec-websocket-extensions";
const COMPRESSED_TEXT: u8 = TEXT | 0x40;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Http1,
    Http2,
}

/// What a client does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    pub(crate) is_admitted: bool,
    decision: String,
    offers_compression: bool,
    pub(crate) connects_at: Instant,
    /// When it leaves, perhaps before the decision; `None` if it waits for the drain.
    leaves: Option<(Instant, Exit)>,
    pings: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Exit {
    Close,
    Disconnect,
}

/// What a client has sent and received.
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    pub(crate) opened: Option<Instant>,
    pub(crate) ended: Instant,
    /// The payloads of its pings, and those of the pongs.
    pub(crate) sent: Vec<String>,
    pub(crate) pongs: Vec<String>,
    /// The numbers of the states.
    pub(crate) states: Vec<u64>,
    pub(crate) code: Option<u16>,
    /// Whether it has left by itself.
    pub(crate) has_left: bool,
}

/// The state with this number: long enough to be compressed, and mostly as the one before.
pub(crate) fn state(number: u64) -> String {
    let services: Vec<u64> = (0..20).map(|service| (number + service) / 20 * 7919 % 1000).collect();
    format!("{number} of {services:?}")
}

impl Plan {
    pub(crate) fn random(rng: &mut Rng, time: Range<Instant>) -> Self {
        let connects_at =
            time.start + (time.end - time.start).mul_f64(rng.millis(0..1000).as_secs_f64());
        let is_admitted = rng.percent(85);
        let takes = rng.within(0..4500) * u64::from(rng.percent(70));
        let word = if is_admitted { "admit" } else { "refuse" };
        let exit = if rng.percent(60) { Exit::Close } else { Exit::Disconnect };
        let stays = if rng.percent(40) { rng.millis(0..5000) } else { rng.millis(0..40_000) };
        Self {
            way: if rng.percent(50) { Way::Http1 } else { Way::Http2 },
            is_admitted,
            decision: format!("{takes} {word}"),
            offers_compression: rng.percent(70),
            connects_at,
            leaves: rng.percent(60).then_some((connects_at + stays, exit)),
            pings: rng.millis(100..5000),
        }
    }

    fn headers(&self) -> Vec<(&'static str, &str)> {
        let mut headers = vec![(DECISION, self.decision.as_str())];
        if self.offers_compression {
            headers.push((EXTENSIONS, "permessage-deflate"));
        }
        headers
    }
}

/// Runs a client.
pub(crate) async fn run(end: End, plan: Plan, rng: Rng, history: History) -> Outcome {
    let (way, decision) = (plan.way, plan.decision.clone());
    history.note(format_args!("requests a session by {way:?}, decision {decision:?}"));
    let mut outcome = Outcome {
        plan: plan.clone(),
        opened: None,
        ended: Instant::now(),
        sent: Vec::new(),
        pongs: Vec::new(),
        states: Vec::new(),
        code: None,
        has_left: false,
    };
    // A client that would close before its session is open disconnects.
    let leaves_at = plan.leaves.map_or_else(|| plan.connects_at + PATIENCE, |(at, _)| at);
    match plan.way {
        Way::Http1 => match timeout_at(leaves_at, over_http1(end, &plan)).await {
            Ok(Some(stream)) => talk(stream, &mut outcome, rng, &history).await,
            Ok(None) => history.note("is refused"),
            Err(_) => outcome.leave(&history),
        },
        Way::Http2 => match timeout_at(leaves_at, over_http2(end, &plan)).await {
            Ok(Some(stream)) => talk(stream, &mut outcome, rng, &history).await,
            Ok(None) => history.note("is refused"),
            Err(_) => outcome.leave(&history),
        },
    }
    outcome.ended = Instant::now();
    outcome
}

/// How long a client waits for the answer to its request: longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { plan, sent, pongs, states, code, .. } = self;
        write!(f, "{:?}, pings {sent:?}, pongs {pongs:?}, states {states:?}, {code:?}", plan.way)
    }
}

impl Outcome {
    fn leave(&mut self, history: &History) {
        history.note("disconnects");
        self.has_left = true;
    }
}

/// Returns the stream of the session, or `None` if the request is refused.
async fn over_http1(mut end: End, plan: &Plan) -> Option<End> {
    let lines = plan.headers().into_iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    end.write_all(request_with("/", &lines.collect::<String>()).as_bytes()).await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(end.read_u8().await.ok()?);
    }
    head.starts_with(b"HTTP/1.1 101 ").then_some(end)
}

async fn over_http2(end: End, plan: &Plan) -> Option<Http2Stream> {
    let (mut client, connection) = h2::client::handshake(end).await.ok()?;
    tokio::spawn(connection);
    // The server's settings have to be there first (RFC 8441, section 3).
    while !client.is_extended_connect_protocol_enabled() {
        sleep(Duration::from_millis(10)).await;
    }
    let mut request = Request::builder()
        .method("CONNECT")
        .uri("https://server.example/")
        .extension(h2::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13");
    for (name, value) in plan.headers() {
        request = request.header(name, value);
    }
    let (response, sender) = client.send_request(request.body(()).unwrap(), false).ok()?;
    let response = response.await.ok()?;
    (response.status() == 200).then(|| Http2Stream::new(sender, response.into_body()))
}

/// Sends pings, answers those of the server, and reads states until the session ends or the client leaves.
async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    outcome: &mut Outcome,
    mut rng: Rng,
    history: &History,
) {
    history.note("has a session");
    outcome.opened = Some(Instant::now());
    let mut inflater = Inflater::default();
    let mut input = Vec::new();
    let mut pings_at = Instant::now() + rng.millis(0..5000);
    let mut leaves = outcome.plan.leaves;
    let mut has_closed = false;
    loop {
        let wakes_at = leaves.map_or(pings_at, |(at, _)| at.min(pings_at));
        let mut piece = [0; 1024];
        let mut output = Vec::new();
        tokio::select! {
            biased;
            count = stream.read(&mut piece) => match count {
                Ok(count @ 1..) => input.extend(&piece[..count]),
                Ok(0) | Err(_) => return,
            },
            () = sleep_until(wakes_at), if !has_closed => match leaves.take_if(|(at, _)| *at <= Instant::now()) {
                Some((_, Exit::Disconnect)) => return outcome.leave(history),
                Some((_, Exit::Close)) => {
                    has_closed = true;
                    output.extend(close(1000, "bye"));
                }
                None => {
                    let payload = outcome.sent.len().to_string();
                    output.extend(frame(PING, payload.as_bytes()));
                    outcome.sent.push(payload);
                    pings_at = Instant::now() + outcome.plan.pings;
                }
            },
        }
        if !output.is_empty() {
            history.note_sent(&output);
        }
        while let Some((first, payload)) = next_frame(&mut input) {
            history.note_received(first, &payload);
            assert_eq!(outcome.code, None, "a frame after the Close frame");
            match first {
                PING => output.extend(frame(PONG, &payload)),
                PONG => outcome.pongs.push(String::from_utf8(payload).unwrap()),
                TEXT => outcome.take_state(&payload),
                COMPRESSED_TEXT => outcome.take_state(&inflater.inflate(&payload)),
                CLOSE => {
                    outcome.code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    if !has_closed {
                        output.extend(frame(CLOSE, &payload));
                        has_closed = true;
                    }
                }
                other => panic!("{other:#x}"),
            }
        }
        // A session that was closed reads no more.
        let _ = stream.write_all(&output).await;
        let _ = stream.flush().await;
    }
}

impl Outcome {
    fn take_state(&mut self, text: &[u8]) {
        let text = str::from_utf8(text).unwrap();
        let number = text.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(text, state(number));
        self.states.push(number);
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
