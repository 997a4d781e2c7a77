//! The history of one seed: what happened when, in the words of the protocol.

use std::fmt::Display;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

/// The lines of a history; `None` if it is not recorded.
pub(crate) type Lines = Option<Arc<Mutex<Vec<String>>>>;

/// Records what one party of a scenario does, such as a client.
#[derive(Clone)]
pub(crate) struct History {
    start: Instant,
    lines: Lines,
    who: String,
}

impl History {
    /// Returns a history that begins at this instant, for the scenario as a whole.
    pub(crate) fn new(lines: Lines) -> Self {
        Self { start: Instant::now(), lines, who: "scenario".to_owned() }
    }

    /// Returns the same history for another party.
    pub(crate) fn of(&self, who: impl Display) -> Self {
        Self { who: who.to_string(), ..self.clone() }
    }

    pub(crate) fn note(&self, what: impl Display) {
        if let Some(lines) = &self.lines {
            let time = thousands(self.start.elapsed().as_millis());
            lines.lock().unwrap().push(format!("{time:>9} ms  {:<10} {what}", self.who));
        }
    }

    /// Notes a frame of the server.
    pub(crate) fn note_received(&self, first: u8, payload: &[u8]) {
        if self.lines.is_some() {
            self.note(format_args!("receives {}", frame_text(first, payload)));
        }
    }

    /// Notes a frame of a client, which is masked, or what a violator sends instead.
    pub(crate) fn note_sent(&self, bytes: &[u8]) {
        if self.lines.is_none() {
            return;
        }
        match bytes {
            [first, length @ 0x80..0xfe, mask @ ..]
                if mask.len() == 4 + usize::from(length & 0x7f) =>
            {
                let (mask, payload) = mask.split_at(4);
                let payload: Vec<u8> = payload
                    .iter()
                    .zip(mask.iter().cycle())
                    .map(|(byte, mask)| byte ^ mask)
                    .collect();
                self.note(format_args!("sends {}", frame_text(*first, &payload)));
            }
            _ => self.note(format_args!("sends {} bytes, not one short frame", bytes.len())),
        }
    }
}

fn thousands(number: u128) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1000), number % 1000),
    }
}

fn frame_text(first: u8, payload: &[u8]) -> String {
    let name = match first & 0x0f {
        0 => "Continuation",
        1 => "Text",
        2 => "Binary",
        8 => "Close",
        9 => "Ping",
        10 => "Pong",
        _ => "a frame with a reserved opcode",
    };
    if name == "Close" {
        return payload.first_chunk().map_or_else(
            || name.to_owned(),
            |code| format!("{name} {}", u16::from_be_bytes(*code)),
        );
    }
    if first & 0x40 != 0 {
        return format!("{name}, compressed to {} bytes", payload.len());
    }
    let text: String = String::from_utf8_lossy(payload).chars().take(24).collect();
    format!("{name} {text:?}")
}
