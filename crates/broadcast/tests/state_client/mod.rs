//! A client that checks each state that it is sent, and the states for it.
#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../transport/tests/support/deflate.rs"]
mod deflate;

use std::time::Duration;

use deflate::Inflater;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::time::timeout;

/// The generator `SplitMix64`.
#[derive(Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }
}

/// A client that keeps its window, and reads when it likes.
pub(crate) struct Client {
    stream: DuplexStream,
    inflater: Inflater,
    buffer: Vec<u8>,
    /// The index of the latest state.
    pub(crate) latest: Option<usize>,
    /// The tag of the latest state.
    pub(crate) tag: Option<String>,
    /// The number of states that were received.
    pub(crate) received: usize,
    /// The number of bytes of their frames.
    pub(crate) bytes: usize,
}

impl Client {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        let inflater = Inflater::default();
        let buffer = Vec::new();
        Self { stream, inflater, buffer, latest: None, tag: None, received: 0, bytes: 0 }
    }

    /// Continues on another stream, with the same window.
    pub(crate) fn continue_on(&mut self, stream: DuplexStream) {
        self.stream = stream;
    }

    /// Reads at most so many times, and checks each whole message against the states.
    pub(crate) async fn read(&mut self, times: usize, states: &[String]) {
        for _ in 0..times {
            let read = self.stream.read_buf(&mut self.buffer);
            match timeout(Duration::from_millis(1), read).await {
                Ok(count) => assert_ne!(count.unwrap(), 0, "the session stays open"),
                Err(_) => break,
            }
            while let Some((first, payload)) = self.take_frame() {
                let message =
                    if first & 0x40 == 0 { payload } else { self.inflater.inflate(&payload) };
                self.check(&String::from_utf8(message).unwrap(), states);
            }
        }
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (start, length) = match *self.buffer.get(1)? {
            126 => (4, usize::from(u16::from_be_bytes(self.buffer.get(2..4)?.try_into().unwrap()))),
            length => (2, usize::from(length)),
        };
        let payload = self.buffer.get(start..start + length)?.to_vec();
        let first = self.buffer[0];
        self.buffer.drain(..start + length);
        self.bytes += start + length;
        Some((first, payload))
    }

    fn check(&mut self, message: &str, states: &[String]) {
        if message.starts_with("other ") {
            assert!((0..20).any(|length| message == other(length)), "{message:?}");
            return;
        }
        let (tag, message) = match message.strip_prefix("have=") {
            Some(tagged) => tagged.split_once('\n').map(|(tag, rest)| (Some(tag), rest)).unwrap(),
            None => (None, message),
        };
        self.tag = tag.map(str::to_owned);
        self.received += 1;
        let number = states.iter().rposition(|state| state == message);
        let number = number.unwrap_or_else(|| panic!("{message:?} was not published"));
        assert!(self.latest <= Some(number), "{number} after {:?}", self.latest);
        self.latest = Some(number);
    }
}

/// A state that differs from the one before in some words, or in all.
pub(crate) fn next_state(number: usize, words: &mut [usize], rng: &mut Rng) -> String {
    let changed = match rng.below(8) {
        0 => words.len(),
        1 => 0,
        _ => 1 + words.len() / 20,
    };
    for _ in 0..changed {
        let index = rng.below(words.len());
        words[index] = rng.below(1 << 20);
    }
    // Some are so short that they are not compressed.
    let count = if rng.below(8) == 0 { 1 } else { words.len() };
    format!("state {number}: {:?}", &words[..count])
}

/// A message that is no state.
pub(crate) fn other(length: usize) -> String {
    format!("other {}", "message ".repeat(length))
}
