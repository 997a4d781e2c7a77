//! Client frames, encoded by hand. The tests of the crate `server` use this file, too.

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// A client frame, masked (RFC 6455, section 5.3).
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len());
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The header of a client frame, up to the masking key.
pub(crate) fn head(first: u8, length: usize) -> Vec<u8> {
    match u16::try_from(length) {
        Ok(short @ 0..126) => vec![first, 0x80 | short.to_be_bytes()[1]],
        Ok(medium) => [&[first, 0x80 | 126], medium.to_be_bytes().as_slice()].concat(),
        Err(_) => {
            let length = u64::try_from(length).unwrap().to_be_bytes();
            [&[first, 0x80 | 127], length.as_slice()].concat()
        }
    }
}

pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(CLOSE, &close_payload(code, reason))
}

pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}
