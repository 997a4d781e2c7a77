//! What the two floors do with input: as little as possible.
//!
//! They do not parse the request, assume the key of RFC 6455's example, answer pings and Close frames, and
//! skip messages. They check neither masks nor lengths nor UTF-8.

const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const OPCODE: u8 = 0x0f;
const OPCODE_CLOSE: u8 = 0x08;
const OPCODE_PING: u8 = 0x09;

/// The input of a connection.
#[derive(Default)]
pub struct FloorInput {
    pub is_open: bool,
    pub close_sent: bool,
    /// Bytes of payload to skip.
    skip: usize,
    /// The received part of an incomplete header or control frame.
    partial: Vec<u8>,
}

impl FloorInput {
    /// Copies what was kept of the input before to the beginning of `buffer`, and returns its length.
    ///
    /// # Panics
    ///
    /// `buffer` is shorter than that: at most a request head, or the longest control frame.
    pub fn take_partial(&mut self, buffer: &mut [u8]) -> usize {
        let kept = self.partial.len();
        buffer[..kept].copy_from_slice(&self.partial);
        self.partial.clear();
        kept
    }

    /// Answers the input in `output`, and returns whether the connection stays open.
    pub fn process(&mut self, mut bytes: &[u8], output: &mut Vec<u8>) -> bool {
        if !self.is_open {
            let Some(end) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                self.partial.extend_from_slice(bytes);
                return true;
            };
            output.extend_from_slice(RESPONSE);
            self.is_open = true;
            bytes = &bytes[end + 4..];
        }
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let Some((opcode, head, length)) = head(bytes) else { break };
            let is_control = opcode & OPCODE_CLOSE != 0;
            if is_control && bytes.len() < head + length {
                break;
            }
            match opcode {
                OPCODE_PING => {
                    output.extend([0x8a, length as u8]);
                    output.extend(unmasked(&bytes[head - 4..head + length]));
                }
                OPCODE_CLOSE if self.close_sent => return false,
                OPCODE_CLOSE => {
                    output.extend([0x88, length as u8]);
                    output.extend(unmasked(&bytes[head - 4..head + length]));
                    return false;
                }
                _ => {}
            }
            bytes = &bytes[head..];
            self.skip = length;
        }
        self.partial.extend_from_slice(bytes);
        true
    }
}

/// Parses the header of a client's frame: its opcode, the length of header and mask, and of the payload.
fn head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let short = usize::from(bytes.get(1)? & 0x7f);
    let (head, length) = match short {
        126 => (8, usize::from(u16::from_be_bytes(*bytes[2..].first_chunk()?))),
        127 => (14, usize::try_from(u64::from_be_bytes(*bytes[2..].first_chunk()?)).ok()?),
        short => (6, short),
    };
    (bytes.len() >= head).then_some((bytes[0] & OPCODE, head, length))
}

/// Unmasks the payload after a masking key.
fn unmasked(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let (mask, payload) = bytes.split_at(4);
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask)
}
