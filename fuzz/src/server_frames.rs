//! The frames of a server, with the rules of RFC 6455 that hold for each of them.

/// A frame of the server.
#[derive(Debug)]
pub(crate) struct ServerFrame<'a> {
    pub(crate) opcode: u8,
    pub(crate) is_compressed: bool,
    pub(crate) payload: &'a [u8],
}

/// Parses the complete frames of the output, and returns the remaining bytes.
pub(crate) fn parse(output: &[u8]) -> (Vec<ServerFrame<'_>>, &[u8]) {
    let mut frames = Vec::new();
    let mut rest = output;
    while let Some((frame, remaining)) = parse_one(rest) {
        frames.push(frame);
        rest = remaining;
    }
    (frames, rest)
}

fn parse_one(bytes: &[u8]) -> Option<(ServerFrame<'_>, &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let opcode = first & 0x0f;
    let is_compressed = first & 0x40 != 0;
    assert_eq!(first & 0xb0, 0x80, "a server's frame is not fragmented and has no reserved bits");
    assert!(matches!(opcode, 1 | 2 | 8 | 9 | 10), "a server does not send opcode {opcode}");
    assert!(!is_compressed || opcode < 8, "a control frame is not compressed");
    assert_eq!(second & 0x80, 0, "a server's frame is not masked");
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            let length = u16::from_be_bytes(*length);
            assert!(length > 125, "a length has the shortest encoding");
            (usize::from(length), rest)
        }
        127 => panic!("no frame here is longer than 65,535 bytes"),
        short => (usize::from(short), rest),
    };
    assert!(opcode < 8 || length <= 125, "a control frame has at most 125 bytes");
    let (payload, rest) = rest.split_at_checked(length)?;
    if opcode == 1 && !is_compressed {
        assert!(str::from_utf8(payload).is_ok(), "a text is UTF-8");
    }
    Some((ServerFrame { opcode, is_compressed, payload }, rest))
}
