//! What a client may do next.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use tokio::time::advance;

use super::client::Client;
use super::server::settle;
use super::wire::{
    CONNECT, CONTINUATION, DATA, END_HEADERS, Field, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    REPRESENTATIONS, RST_STREAM, SETTINGS, WINDOW_UPDATE, append_field, frame_declaring,
};

/// Names and values that mean something to the server.
const NAMES: [&[u8]; 20] = [
    b":method",
    b":protocol",
    b":scheme",
    b":path",
    b":authority",
    b":status",
    b"host",
    b"origin",
    b"cookie",
    b"connection",
    b"upgrade",
    b"content-length",
    b"transfer-encoding",
    b"te",
    b"x-forwarded-for",
    b"sec-websocket-key",
    b"sec-websocket-version",
    b"sec-websocket-protocol",
    b"sec-websocket-extensions",
    b"traceparent",
];
const VALUES: [&[u8]; 16] = [
    b"",
    b"GET",
    b"POST",
    b"https",
    b"/",
    b"/ws/status?have=1",
    b"0",
    b"8",
    b"*",
    b"trailers",
    b"chunked",
    b"192.0.2.1, 192.0.2.2",
    b"https://a.example",
    b"https://b.example",
    b"permessage-deflate; client_max_window_bits",
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
];

/// Does one thing.
pub(super) async fn step(client: &mut Client, input: &mut Unstructured<'_>) -> Result<()> {
    match input.arbitrary::<u8>()? % 20 {
        0 | 1 => client.open(),
        2 | 3 => request(client, input)?,
        4 | 5 => websocket_frame(client, input)?,
        6 => {
            let stream = client.stream(input.arbitrary()?);
            let flags = input.arbitrary()?;
            client.send_frame(DATA, flags, stream, some_bytes(input)?);
        }
        7 => {
            let stream = client.stream(input.arbitrary()?);
            let code = u32::from(input.arbitrary::<u8>()? % 14);
            client.send_frame(RST_STREAM, 0, stream, &code.to_be_bytes());
        }
        8 => {
            let stream = match input.arbitrary::<u8>()? {
                connection @ 128.. => u32::from(connection) & 1,
                number => client.stream(number),
            };
            let count = number(input)?;
            client.send_frame(WINDOW_UPDATE, 0, stream, &count.to_be_bytes());
        }
        9 => settings(client, input)?,
        10 => client.send_frame(PING, input.arbitrary::<u8>()? & 1, 0, &[7; 8]),
        11 => {
            let stream = client.stream(input.arbitrary()?);
            client.send_frame(PRIORITY, 0, stream, &input.arbitrary::<[u8; 5]>()?);
        }
        12 => {
            let last = u32::from(input.arbitrary::<u8>()?);
            client.send_frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
        }
        13 => {
            let stream = client.stream(input.arbitrary()?);
            client.send_frame(CONTINUATION, input.arbitrary()?, stream, some_bytes(input)?);
        }
        14 => {
            let stream = u32::from(input.arbitrary::<u16>()?);
            let (kind, flags) = (input.arbitrary()?, input.arbitrary()?);
            client.send_frame(kind, flags, stream, some_bytes(input)?);
        }
        15 => {
            let (kind, flags) = (input.arbitrary::<u8>()? % 10, input.arbitrary()?);
            let stream = client.stream(input.arbitrary()?);
            let length = number(input)?;
            client.send_raw(&frame_declaring(length, kind, flags, stream, some_bytes(input)?));
        }
        16 => client.send_raw(some_bytes(input)?),
        17 => {
            settle().await;
            client.receive();
        }
        18 => {
            settle().await;
            advance(Duration::from_millis(u64::from(input.arbitrary::<u8>()?) * 100)).await;
            settle().await;
        }
        _ => settle().await,
    }
    Ok(())
}

/// Sends a handshake with faults, in one frame or in several.
fn request(client: &mut Client, input: &mut Unstructured<'_>) -> Result<()> {
    let mut fields: Vec<Field<'_>> = CONNECT.to_vec();
    for _ in 0..input.arbitrary::<u8>()? % 4 {
        let place = usize::from(input.arbitrary::<u8>()?) % fields.len().max(1);
        match (input.arbitrary::<u8>()? % 4, fields.get_mut(place)) {
            (0, Some(_)) => {
                fields.remove(place);
            }
            (1, Some(field)) => field.1 = text(input, &VALUES)?,
            (2, Some(field)) => field.0 = text(input, &NAMES)?,
            (_, _) => fields.insert(place, (text(input, &NAMES)?, text(input, &VALUES)?)),
        }
    }
    let style = input.arbitrary::<u8>()?;
    let mut block = Vec::new();
    for (index, field) in fields.into_iter().enumerate() {
        let representation = REPRESENTATIONS[(usize::from(style) >> (index % 4)) & 3];
        append_field(&mut block, representation, field);
    }
    if style & 0x40 != 0 {
        // Entries of the tables, size updates, Huffman codes.
        block.extend(some_bytes(input)?);
    }
    let stream = match style & 0x30 {
        0x30 => client.stream(input.arbitrary()?),
        _ => client.next_stream(),
    };
    let flags = input.arbitrary::<u8>()?;
    if style & 0x80 == 0 {
        // Without padding and priority, which would be a part of the block.
        client.send_frame(HEADERS, END_HEADERS | flags & 1, stream, &block);
        return Ok(());
    }
    let (first, rest) = block.split_at(block.len().min(input.arbitrary::<u8>()?.into()));
    client.send_frame(HEADERS, flags & !END_HEADERS, stream, first);
    let (second, third) = rest.split_at(rest.len().min(input.arbitrary::<u8>()?.into()));
    client.send_frame(CONTINUATION, 0, stream, second);
    client.send_frame(CONTINUATION, END_HEADERS, stream, third);
    Ok(())
}

/// Sends a masked WebSocket frame, in one DATA frame or in two, with or without padding.
fn websocket_frame(client: &mut Client, input: &mut Unstructured<'_>) -> Result<()> {
    const FIRST_BYTES: [u8; 8] = [0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0x8a, 0xc1];
    let stream = client.stream(input.arbitrary()?);
    let style = input.arbitrary::<u8>()?;
    let payload = some_bytes(input)?;
    let payload = &payload[..payload.len().min(125)];
    let mut bytes = vec![FIRST_BYTES[usize::from(style & 7)], 0x80 | payload.len() as u8];
    // A mask of zeros leaves the payload as it is.
    bytes.extend([0; 4]);
    bytes.extend(payload);
    let end = style >> 7;
    match style >> 3 & 3 {
        0 | 1 => client.send_frame(DATA, end, stream, &bytes),
        2 => {
            let padding = usize::from(input.arbitrary::<u8>()?);
            let padded = [&[padding as u8], &bytes[..], &vec![0; padding]].concat();
            client.send_frame(DATA, PADDED | end, stream, &padded);
        }
        _ => {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            client.send_frame(DATA, 0, stream, first);
            client.send_frame(DATA, end, stream, second);
        }
    }
    Ok(())
}

/// Sends settings, of which most are known.
fn settings(client: &mut Client, input: &mut Unstructured<'_>) -> Result<()> {
    let mut payload = Vec::new();
    for _ in 0..input.arbitrary::<u8>()? % 4 {
        let id = u16::from(input.arbitrary::<u8>()? % 10);
        payload.extend(id.to_be_bytes());
        payload.extend(number(input)?.to_be_bytes());
    }
    client.send_frame(SETTINGS, input.arbitrary::<u8>()? & 1, 0, &payload);
    Ok(())
}

/// A number: a small one, one around a limit, or any.
fn number(input: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match input.arbitrary::<u8>()? {
        small @ ..128 => small.into(),
        shift @ 128..160 => 1 << (shift & 31),
        shift @ 160..192 => (1 << (shift & 31)) - 1,
        _ => input.arbitrary()?,
    })
}

/// One of the known texts, or any.
fn text<'a>(input: &mut Unstructured<'a>, known: &[&'static [u8]]) -> Result<&'a [u8]> {
    match known.get(usize::from(input.arbitrary::<u8>()?) % (2 * known.len())) {
        Some(text) => Ok(text),
        None => some_bytes(input),
    }
}

fn some_bytes<'a>(input: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let length = usize::from(input.arbitrary::<u8>()?).min(input.len());
    input.bytes(length)
}
