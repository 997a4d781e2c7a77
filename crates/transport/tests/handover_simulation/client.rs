//! A client of the simulation of the handover, and what it has sent and received.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::history::History;
use crate::network::Rng;
use crate::support::{CLOSE, PING, PONG, TEXT, close, frame};

/// A client, after the end of its connection.
pub(crate) struct Outcome {
    pub(crate) id: u64,
    pub(crate) opened: Instant,
    behavior: Behavior,
    sent: Sent,
    received: Received,
}

pub(crate) struct Behavior {
    /// When it closes; `None` if it waits for the last number.
    pub(crate) leaves_at: Option<Instant>,
    /// Percentage of frames that it reads late.
    pub(crate) slowness: u64,
}

#[derive(Default)]
struct Sent {
    texts: Vec<String>,
    pings: Vec<String>,
}

#[derive(Default)]
struct Received {
    numbers: Vec<u64>,
    texts: Vec<String>,
    pongs: Vec<String>,
    code: Option<u16>,
}

impl Outcome {
    /// Checks what the client has received. `latest` is the last number that was published.
    pub(crate) fn check(&self, latest: u64) {
        let Self { id, behavior, sent, received, .. } = self;
        assert!(received.numbers.iter().copied().eq((1..).take(received.numbers.len())), "{id}");
        assert!(sent.texts.starts_with(&received.texts), "{id}");
        assert!(sent.pings.starts_with(&received.pongs), "{id}");
        match received.code {
            Some(1000) => {
                let all = (sent.texts.len(), sent.pings.len());
                assert_eq!((received.texts.len(), received.pongs.len()), all, "{id}");
                if behavior.leaves_at.is_none() {
                    assert_eq!(received.numbers.last(), Some(&latest), "{id}");
                }
            }
            Some(1001) => {}
            other => panic!("session {id} was closed with {other:?}"),
        }
    }
}

/// Sends pings and messages, whole and in fragments, answers pings, and closes in the end.
pub(crate) async fn run(
    id: u64,
    stream: DuplexStream,
    behavior: Behavior,
    mut rng: Rng,
    end: Instant,
    history: History,
) -> Outcome {
    let opened = Instant::now();
    let (reader, writer) = split(stream);
    let (pongs, pings) = mpsc::unbounded_channel();
    let is_closing = Arc::new(AtomicBool::new(false));
    let reader_rng = rng.fork();
    let reader = read(
        reader,
        behavior.slowness,
        reader_rng,
        pongs,
        Arc::clone(&is_closing),
        history.clone(),
    );
    let sender = Sender { writer, rng, pings, is_closing, sent: Sent::default(), history };
    let (received, sent) = tokio::join!(reader, sender.run(&behavior, end));
    Outcome { id, opened, behavior, sent, received }
}

struct Sender<W> {
    writer: W,
    rng: Rng,
    /// Payloads of pings that are to be answered.
    pings: mpsc::UnboundedReceiver<Vec<u8>>,
    is_closing: Arc<AtomicBool>,
    sent: Sent,
    history: History,
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    async fn run(mut self, behavior: &Behavior, end: Instant) -> Sent {
        let until = behavior.leaves_at.map_or(end, |at| at.min(end));
        while Instant::now() < until && !self.is_closing.load(Ordering::Relaxed) {
            let time = self.rng.millis(200..1000);
            self.answer_for(time).await;
            match self.rng.within(0..10) {
                0..4 => self.ping().await,
                4..7 => self.text(1).await,
                7..10 => {
                    let fragments = self.rng.size(2..5);
                    self.text(fragments).await;
                }
                _ => {}
            }
        }
        if behavior.leaves_at.is_none() {
            // Longer than a session is frozen, and than the client does not read.
            self.answer_for(Duration::from_secs(8)).await;
        }
        self.write(&close(1000, "")).await;
        self.sent
    }

    /// Answers pings for this time, unless the session closes.
    async fn answer_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Ok(Some(payload)) = timeout_at(until, self.pings.recv()).await {
            self.write(&frame(PONG, &payload)).await;
        }
        if !self.is_closing.load(Ordering::Relaxed) {
            sleep_until(until).await;
        }
    }

    async fn ping(&mut self) {
        let payload = format!("ping {}", self.sent.pings.len());
        self.sent.pings.push(payload.clone());
        self.write(&frame(PING, payload.as_bytes())).await;
    }

    /// Sends a message in so many fragments, with pauses and pings between them.
    async fn text(&mut self, fragments: usize) {
        let mut text = format!("text {}", self.sent.texts.len());
        for fragment in 0..fragments {
            let (part, opcode) = match fragment {
                0 => (text.clone(), TEXT & 0x0f),
                later => (format!(", {later}"), 0),
            };
            if fragment > 0 {
                text.push_str(&part);
                let pause = self.rng.millis(0..700);
                sleep(pause).await;
                if self.rng.percent(30) {
                    self.ping().await;
                }
            }
            let mut first = opcode;
            if fragment + 1 == fragments {
                first |= 0x80;
                self.sent.texts.push(text.clone());
            }
            self.write(&frame(first, part.as_bytes())).await;
        }
    }

    /// Writes a frame in pieces.
    async fn write(&mut self, mut bytes: &[u8]) {
        self.history.note_sent(bytes);
        while !bytes.is_empty() {
            let is_cut = self.rng.percent(30);
            let count = if is_cut { self.rng.size(0..8).min(bytes.len()) } else { bytes.len() };
            // A session that was closed reads no more.
            let _ = self.writer.write_all(&bytes[..count]).await;
            bytes = &bytes[count..];
            if is_cut {
                let pause = self.rng.millis(0..200);
                sleep(pause).await;
            }
        }
    }
}

/// Reads until the end of the stream. Sends the payloads of pings to `pings`, until the Close frame.
async fn read(
    mut reader: impl AsyncRead + Unpin,
    slowness: u64,
    mut rng: Rng,
    pings: mpsc::UnboundedSender<Vec<u8>>,
    is_closing: Arc<AtomicBool>,
    history: History,
) -> Received {
    let mut received = Received::default();
    let mut head = [0; 2];
    while reader.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; usize::from(head[1])];
        reader.read_exact(&mut payload).await.expect("no part of a frame ends the stream");
        history.note_received(head[0], &payload);
        let text = || String::from_utf8(payload.clone()).unwrap();
        assert_eq!(received.code, None, "a frame after the Close frame");
        match head[0] {
            TEXT => match text().parse() {
                Ok(number) => received.numbers.push(number),
                Err(_) => received.texts.push(text()),
            },
            PING => drop(pings.send(payload)),
            PONG => received.pongs.push(text()),
            CLOSE => {
                received.code = Some(u16::from_be_bytes([payload[0], payload[1]]));
                is_closing.store(true, Ordering::Relaxed);
            }
            other => panic!("{other:#x}"),
        }
        if rng.percent(slowness) {
            sleep(rng.millis(0..2000)).await;
        }
    }
    received
}
