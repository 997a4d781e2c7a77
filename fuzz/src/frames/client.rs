//! The frames of a client: what RFC 6455 allows, with faults in between.

use arbitrary::{Result, Unstructured};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

/// The most frames. More take time, and reach no further code.
const MAX_FRAMES: usize = 600;

/// The most bytes of a payload that is made up of a repeated part.
const MAX_REPEATED: usize = 70_000;

/// Encodes the frames that the input describes.
pub(super) fn frames(input: &mut Unstructured<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..MAX_FRAMES {
        // After its end, the input would yield zeros without limit.
        if input.is_empty() || append(input, &mut wire).is_err() {
            break;
        }
    }
    wire
}

/// The first byte of each kind of frame; the faults are made from it.
const KINDS: [u8; 16] = [
    0x81, 0x82, 0x01, 0x02, 0x80, 0x00, 0x89, 0x8a, // with their payload as it is
    0xc1, 0xc2, 0x41, 0x42, // with a compressed payload
    0x88, 0x80, 0x00, 0x89,
];

/// Appends a frame, several times the same one, or bytes that are no frame.
fn append(input: &mut Unstructured<'_>, wire: &mut Vec<u8>) -> Result<()> {
    let choice = input.arbitrary::<u8>()?;
    let first = KINDS[usize::from(choice & 15)];
    let is_close = first == 0x88;
    let payload = match input.arbitrary::<u8>()? {
        _ if is_close => close_payload(input)?,
        _ if first & 0x40 != 0 => compressed(input)?,
        _ => payload(input)?,
    };
    match choice >> 4 {
        // The faults. One half of all frames has none.
        8 => wire.extend(some_bytes(input)?),
        9 => encode(
            input.arbitrary()?,
            &payload,
            Length::Shortest,
            Masked::Yes(input.arbitrary()?),
            wire,
        ),
        10 => encode(first, &payload, Length::Shortest, Masked::No, wire),
        11 => encode(first, &payload, Length::Sixteen, Masked::Yes(input.arbitrary()?), wire),
        12 => encode(first, &payload, Length::SixtyFour, Masked::Yes(input.arbitrary()?), wire),
        13 => {
            let length = Length::Declared(input.arbitrary()?);
            encode(first, &payload, length, Masked::Yes(input.arbitrary()?), wire);
        }
        14 => {
            let times = input.arbitrary::<u8>()?;
            let mask = input.arbitrary()?;
            for _ in 0..times {
                encode(first, &payload, Length::Shortest, Masked::Yes(mask), wire);
            }
        }
        _ => encode(first, &payload, Length::Shortest, Masked::Yes(input.arbitrary()?), wire),
    }
    Ok(())
}

/// How a header says the length of its payload.
enum Length {
    /// In 64 bits, whatever the payload has.
    Declared(u64),
    Shortest,
    Sixteen,
    SixtyFour,
}

enum Masked {
    No,
    Yes([u8; 4]),
}

fn encode(first: u8, payload: &[u8], length: Length, masked: Masked, wire: &mut Vec<u8>) {
    let bit = match masked {
        Masked::No => 0,
        Masked::Yes(_) => 0x80,
    };
    wire.push(first);
    match (length, payload.len()) {
        (Length::Declared(declared), _) => {
            wire.push(bit | 127);
            wire.extend(declared.to_be_bytes());
        }
        (Length::Shortest, len @ 0..126) => wire.push(bit | len as u8),
        (Length::Shortest, len @ 126..65_536) | (Length::Sixteen, len) => {
            wire.push(bit | 126);
            wire.extend((len as u16).to_be_bytes());
        }
        (Length::Shortest | Length::SixtyFour, len) => {
            wire.push(bit | 127);
            wire.extend((len as u64).to_be_bytes());
        }
    }
    match masked {
        Masked::No => wire.extend(payload),
        Masked::Yes(mask) => {
            wire.extend(mask);
            wire.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
    }
}

/// A part of the input, as it is or repeated.
fn payload(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let form = input.arbitrary::<u8>()?;
    let part = some_bytes(input)?;
    if form & 0x80 == 0 {
        return Ok(part.to_vec());
    }
    let length = usize::from(form & 0x7f).pow(2) * 5;
    Ok(part.iter().copied().cycle().take(length.min(MAX_REPEATED)).collect())
}

/// A payload that a client has compressed, or a part of the input that is no compressed data, or nearly.
fn compressed(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let form = input.arbitrary::<u8>()?;
    if form & 3 == 0 {
        return Ok(some_bytes(input)?.to_vec());
    }
    let mut data = deflate(&payload(input)?);
    match form & 3 {
        1 => {}
        2 => data.extend(some_bytes(input)?),
        _ => {
            let place = usize::from(input.arbitrary::<u16>()?);
            if let Some(byte) = data.get_mut(place) {
                *byte ^= form >> 2;
            }
        }
    }
    Ok(data)
}

/// Compresses a payload (RFC 7692, section 7.2.1).
fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut output = vec![0; 2 * payload.len() + 1024];
    let mut deflate =
        Deflate::new_with_config(DeflateConfig { window_bits: -15, ..DeflateConfig::default() });
    deflate.compress(payload, &mut output, DeflateFlush::SyncFlush).expect("the output has space");
    output.truncate(usize::try_from(deflate.total_out()).expect("the output is in memory"));
    output.truncate(output.len().saturating_sub(4));
    output
}

fn close_payload(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let code = match input.arbitrary::<u8>()? {
        // Around the codes that may be sent, or any.
        near @ 0..64 => 990 + u16::from(near),
        near @ 64..80 => 2990 + u16::from(near),
        near @ 80..96 => 4910 + u16::from(near),
        _ => input.arbitrary()?,
    };
    let reason = some_bytes(input)?;
    let payload = [&code.to_be_bytes(), reason].concat();
    // A reason of which the first byte says so is the whole payload: it may be empty, or a single byte.
    Ok(match reason.split_first() {
        Some((0, rest)) => rest.to_vec(),
        _ => payload,
    })
}

fn some_bytes<'a>(input: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let length = usize::from(input.arbitrary::<u8>()?).min(input.len());
    input.bytes(length)
}

/// The parts in which the bytes arrive: their lengths, in turn. Zero is all of the rest.
pub(super) struct Pieces([u8; 3]);

impl Pieces {
    pub(super) fn arbitrary(input: &mut Unstructured<'_>) -> Result<Self> {
        Ok(Self(input.arbitrary()?))
    }

    pub(super) fn of<'a>(&self, wire: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = wire;
        let mut lengths = self.0.into_iter().cycle();
        std::iter::from_fn(move || {
            let length = match lengths.next()? {
                0 => rest.len(),
                // Many pieces of a long input would take as many polls.
                length => usize::from(length).max(wire.len() / 4096),
            };
            let (piece, left) = rest.split_at(length.min(rest.len()));
            rest = left;
            (!piece.is_empty()).then_some(piece)
        })
    }
}
