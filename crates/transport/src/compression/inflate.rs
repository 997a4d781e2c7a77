//! Inflates the payload of a compressed message (RFC 7692, section 7.2.2).

use std::cell::Cell;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::deflate::{last_window, length};
use super::{WINDOW_BITS, WINDOW_BYTES};

const CHUNK_BYTES: usize = 16 * 1024;

/// What the data ends with: the end of an empty block that the sender removed (RFC 7692, section 7.2.2),
/// and an empty final block (RFC 1951, section 3.2.6), which is read as such only if no block before it
/// is truncated.
const TAIL: [u8; 6] = [0, 0, 0xff, 0xff, 0x03, 0];

/// The most final blocks before the end of a message. They are allowed (RFC 7692, section 7.2.1), but
/// the inflater has to start again after each, with the output so far: for two bytes of input it copies
/// 32 KiB. No sender is known that needs any.
const MAX_FINAL_BLOCKS: u32 = 64;

/// Why a payload cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// It is no DEFLATE data, or is truncated.
    Invalid,
    /// The message is longer than the limit. It was not inflated further.
    TooBig,
}

thread_local! {
    /// Takes 64 KB, and is reset for each message: the client has agreed to `client_no_context_takeover`
    /// (RFC 7692, section 7.1.1.2).
    static INFLATER: Cell<Option<Box<Inflater>>> = const { Cell::new(None) };
}

struct Inflater {
    inflate: Inflate,
    /// Receives the output, so that no more than a chunk is inflated beyond the limit.
    chunk: Box<[u8]>,
}

/// Returns the message of at most `max_bytes` whose frames had this payload together.
pub(crate) fn inflate(payload: &[u8], max_bytes: usize) -> Result<Vec<u8>, InflateError> {
    // zlib has no output for a flush without input, so an empty message may be empty here, too, and not
    // the one byte of RFC 7692, section 7.2.3.6.
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    let mut inflater = INFLATER.take().unwrap_or_else(|| {
        Box::new(Inflater {
            inflate: Inflate::new(false, WINDOW_BITS),
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
        })
    });
    let mut output = Output { parts: Vec::new(), remaining: max_bytes };
    let result = inflater.inflate(payload, &mut output);
    INFLATER.set(Some(inflater));
    result.map(|()| output.join())
}

impl Inflater {
    fn inflate(&mut self, payload: &[u8], output: &mut Output) -> Result<(), InflateError> {
        //= rfc7692#7.2.2-3
        self.inflate.reset(false);
        let mut input = payload;
        let mut final_blocks = 0;
        while self.inflate_blocks(&mut input, output)? == Blocks::Final {
            // It may be the last block of the message, followed by an empty block of which the first byte
            // is here (RFC 7692, section 7.2.3.4), or by nothing, which is less than the RFC demands.
            if input.is_empty() {
                return Ok(());
            }
            final_blocks += 1;
            //= rfc7692#7.2.2-4
            if final_blocks > MAX_FINAL_BLOCKS {
                return Err(InflateError::Invalid);
            }
            self.inflate.reset(false);
            let set = self.inflate.set_dictionary(&output.last_window());
            set.map_err(|_| InflateError::Invalid)?;
        }
        //= rfc7692#7.2.2-1
        let mut tail = &TAIL[..];
        match self.inflate_blocks(&mut tail, output)? {
            Blocks::Final if tail.is_empty() => Ok(()),
            Blocks::Final | Blocks::NeedInput => Err(InflateError::Invalid),
        }
    }

    /// Inflates all of the input, or the input until the end of a final block.
    fn inflate_blocks(
        &mut self,
        input: &mut &[u8],
        output: &mut Output,
    ) -> Result<Blocks, InflateError> {
        loop {
            let (total_in, total_out) = (self.inflate.total_in(), self.inflate.total_out());
            let result = self.inflate.decompress(input, &mut self.chunk, InflateFlush::NoFlush);
            let status = result.map_err(|_| InflateError::Invalid)?;
            let consumed = length(self.inflate.total_in() - total_in);
            let produced = length(self.inflate.total_out() - total_out);
            *input = input.get(consumed..).unwrap_or_default();
            output.push(self.chunk.get(..produced).unwrap_or_default())?;
            match status {
                Status::StreamEnd => return Ok(Blocks::Final),
                // A chunk that is full may not be the last.
                Status::Ok | Status::BufError if produced == self.chunk.len() => {}
                Status::Ok | Status::BufError if input.is_empty() => return Ok(Blocks::NeedInput),
                Status::Ok if consumed > 0 => {}
                Status::Ok | Status::BufError => return Err(InflateError::Invalid),
            }
        }
    }
}

/// What the input ended with.
#[derive(PartialEq, Eq)]
enum Blocks {
    Final,
    NeedInput,
}

/// The output in parts, which are joined when all of them are there: so what is refused takes no more than
/// the limit, and a message is in memory twice for a moment.
struct Output {
    parts: Vec<Vec<u8>>,
    /// How many more bytes the message may have.
    remaining: usize,
}

impl Output {
    fn push(&mut self, bytes: &[u8]) -> Result<(), InflateError> {
        self.remaining = self.remaining.checked_sub(bytes.len()).ok_or(InflateError::TooBig)?;
        if !bytes.is_empty() {
            self.parts.push(bytes.to_vec());
        }
        Ok(())
    }

    fn last_window(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut count = 0;
        for part in self.parts.iter().rev().map(Vec::as_slice) {
            if count >= WINDOW_BYTES {
                break;
            }
            count += part.len();
            parts.push(part);
        }
        parts.reverse();
        last_window(&parts.concat()).to_vec()
    }

    fn join(mut self) -> Vec<u8> {
        match (self.parts.pop(), self.parts.is_empty()) {
            (None, _) => Vec::new(),
            (Some(only), true) => only,
            (Some(last), false) => {
                self.parts.push(last);
                self.parts.concat()
            }
        }
    }
}
