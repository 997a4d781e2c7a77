//! HPACK (RFC 7541): decodes any header block, and encodes fields as literals.
//!
//! Names and values are bytes, and are not checked against HTTP here. So a field that HTTP does not
//! allow leaves the decoder in the right state for the blocks that follow.

use std::borrow::Cow;
use std::collections::VecDeque;

use octets::Octets;

use crate::http::http2::static_table::STATIC_TABLE;

/// The initial size of the dynamic table, which the server's settings do not change (RFC 9113, section
/// 6.5.2).
pub(crate) const TABLE_SIZE: u16 = 4096;

/// The size of a field besides its bytes, in a table and in a header list (RFC 7541, section 4.1; RFC
/// 9113, section 6.5.2).
pub(crate) const FIELD_OVERHEAD: usize = 32;

/// The longest encoding of an integer that is accepted (RFC 7541, section 5.1, asks for a limit).
const MAX_INTEGER_BYTES: usize = 5;

/// The decoding context of a connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The dynamic table, newest entry first.
    table: VecDeque<Field>,
    size: usize,
    max_size: usize,
}

/// The error of decoding a block. It leaves the decoder in an undefined state: no further block can be
/// decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The names and values exceed the caller's limit.
    TooLarge,
    /// The block violates RFC 7541.
    Undecodable,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, max_size: TABLE_SIZE.into() }
    }

    /// Decodes a whole block, and calls `on_field` with each name and value. Their total length is at
    /// most `max_bytes`.
    pub(crate) fn decode(
        &mut self,
        mut block: &[u8],
        max_bytes: usize,
        mut on_field: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), DecodeError> {
        let mut bytes_left = max_bytes;
        let mut may_resize = true;
        while let Some(first) = block.first() {
            // RFC 7541, section 6.
            if first & 0b1110_0000 == 0b0010_0000 {
                let size = decode_integer(&mut block, 5)?;
                // RFC 7541, section 4.2: only at the start of a block.
                if !may_resize || size > TABLE_SIZE.into() {
                    return Err(DecodeError::Undecodable);
                }
                self.max_size = size;
                self.evict_for(0);
                continue;
            }
            may_resize = false;
            if first & 0b1000_0000 != 0 {
                let (name, value) = self.lookup(decode_integer(&mut block, 7)?)?;
                bytes_left = subtract(bytes_left, name, value)?;
                on_field(name, value);
                continue;
            }
            let is_indexed = first & 0b0100_0000 != 0;
            let index = decode_integer(&mut block, if is_indexed { 6 } else { 4 })?;
            let name = match index {
                0 => decode_string(&mut block)?,
                _ => Cow::Borrowed(self.lookup(index)?.0),
            };
            let value = decode_string(&mut block)?;
            bytes_left = subtract(bytes_left, &name, &value)?;
            on_field(&name, &value);
            if is_indexed {
                let field = Field::new(&name, &value);
                self.insert(field);
            }
        }
        Ok(())
    }

    /// Returns the field at an index of both tables (RFC 7541, section 2.3.3).
    fn lookup(&self, index: usize) -> Result<(&[u8], &[u8]), DecodeError> {
        let index = index.checked_sub(1).ok_or(DecodeError::Undecodable)?;
        let field = match STATIC_TABLE.get(index) {
            Some((name, value)) => Some((name.as_bytes(), value.as_bytes())),
            None => self.table.get(index - STATIC_TABLE.len()).map(Field::parts),
        };
        field.ok_or(DecodeError::Undecodable)
    }

    /// Inserts a field. One that is larger than the table empties it, which is no error (RFC 7541,
    /// section 4.4).
    fn insert(&mut self, field: Field) {
        let size = field.size();
        self.evict_for(size);
        if size <= self.max_size {
            self.size += size;
            self.table.push_front(field);
        }
    }

    fn evict_for(&mut self, size: usize) {
        while self.size + size > self.max_size
            && let Some(oldest) = self.table.pop_back()
        {
            self.size -= oldest.size();
        }
    }
}

/// An entry of the dynamic table, in one allocation.
#[derive(Debug)]
struct Field {
    bytes: Box<[u8]>,
    name_length: usize,
}

impl Field {
    fn new(name: &[u8], value: &[u8]) -> Self {
        Self { bytes: [name, value].concat().into(), name_length: name.len() }
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.name_length)
    }

    fn size(&self) -> usize {
        self.bytes.len() + FIELD_OVERHEAD
    }
}

/// Appends a field as a literal with a literal name, without indexing (RFC 7541, section 6.2.2). It uses
/// no table entry, and adds none to the table of the decoder.
pub(crate) fn encode(name: &[u8], value: &[u8], block: &mut Vec<u8>) {
    block.push(0);
    for string in [name, value] {
        let mut length = string.len();
        // RFC 7541, sections 5.1 and 5.2, without Huffman coding.
        if length < 127 {
            block.extend(u8::try_from(length));
        } else {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.extend(u8::try_from(length % 128 + 128));
                length /= 128;
            }
            block.extend(u8::try_from(length));
        }
        block.extend_from_slice(string);
    }
}

/// Subtracts the length of a field from a limit.
fn subtract(bytes_left: usize, name: &[u8], value: &[u8]) -> Result<usize, DecodeError> {
    bytes_left.checked_sub(name.len() + value.len()).ok_or(DecodeError::TooLarge)
}

/// Decodes an integer with a prefix of `prefix_bits`, and removes it from `block` (RFC 7541, section
/// 5.1).
fn decode_integer(block: &mut &[u8], prefix_bits: u32) -> Result<usize, DecodeError> {
    let mask = (1 << prefix_bits) - 1;
    let mut value = usize::from(take_byte(block)?) & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in (0..).step_by(7).take(MAX_INTEGER_BYTES - 1) {
        let byte = take_byte(block)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::Undecodable)
}

/// Decodes a string, and removes it from `block` (RFC 7541, section 5.2).
fn decode_string<'a>(block: &mut &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
    let is_huffman = block.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = decode_integer(block, 7)?;
    let (string, rest) = block.split_at_checked(length).ok_or(DecodeError::Undecodable)?;
    *block = rest;
    if !is_huffman {
        return Ok(Cow::Borrowed(string));
    }
    let decoded = Octets::with_slice(string).get_huffman_decoded();
    decoded.map(Cow::Owned).map_err(|_| DecodeError::Undecodable)
}

fn take_byte(block: &mut &[u8]) -> Result<u8, DecodeError> {
    let (byte, rest) = block.split_first().ok_or(DecodeError::Undecodable)?;
    *block = rest;
    Ok(*byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = Vec<(Vec<u8>, Vec<u8>)>;

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, DecodeError> {
        let mut fields = Vec::new();
        let result = decoder.decode(block, 1000, |name, value| {
            fields.push((name.to_vec(), value.to_vec()));
        });
        result.map(|()| fields)
    }

    fn fields(lines: &[(&str, &str)]) -> Fields {
        lines
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap_or_default(), 16);
        digits.chunks(2).map(|pair| byte(pair).expect("two digits")).collect()
    }

    #[test]
    fn requests_of_the_rfc_are_decoded() {
        // RFC 7541, appendices C.3 and C.4: without Huffman coding, and with it.
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let coded = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        let first = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
        ];
        let second = [&first[..], &[("cache-control", "no-cache")]].concat();
        let third = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::new();
            for (block, lines) in blocks.into_iter().zip([&first[..], &second, &third]) {
                assert_eq!(decode(&mut decoder, &bytes(block)), Ok(fields(lines)), "{block}");
            }
            assert_eq!(decoder.size, 164);
        }
    }

    #[test]
    fn a_full_table_evicts_its_oldest_entries() {
        // RFC 7541, appendix C.6, after an update of the table size to 256.
        let blocks = [
            "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b \
             ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
             821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
             4ee5 b106 3d50 07",
        ];
        let date = "Mon, 21 Oct 2013 20:13:21 GMT";
        let common =
            [("cache-control", "private"), ("date", date), ("location", "https://www.example.com")];
        let mut decoder = Decoder::new();
        for (block, status) in blocks.iter().zip(["302", "307"]) {
            let lines = [&[(":status", status)][..], &common].concat();
            assert_eq!(decode(&mut decoder, &bytes(block)), Ok(fields(&lines)));
            assert_eq!(decoder.size, 222);
        }
        let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
        let lines = [
            (":status", "200"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
            ("location", "https://www.example.com"),
            ("content-encoding", "gzip"),
            ("set-cookie", cookie),
        ];
        let last = blocks.last().map(|block| bytes(block)).unwrap_or_default();
        assert_eq!(decode(&mut decoder, &last), Ok(fields(&lines)));
        assert_eq!(decoder.size, 215);
    }

    #[test]
    fn invalid_blocks_are_undecodable() {
        let blocks = [
            ("index 0", "80"),
            ("an index beyond the tables", "be"),
            ("a name index beyond the tables", "7e 01 61"),
            ("an incomplete integer", "ff 80"),
            ("an integer that is too long", "ff 80 80 80 80 80 00"),
            ("an incomplete string", "00 02 61"),
            ("a name without a value", "00 01 61"),
            ("a table that is too large", "3f e2 1f"),
            ("a table size update after a field", "82 20"),
            ("EOS in a string", "00 01 61 84 ff ff ff ff"),
            ("padding that is too long", "00 01 61 82 1f ff"),
            ("padding of zeros", "00 01 61 81 18"),
        ];
        for (name, block) in blocks {
            let result = decode(&mut Decoder::new(), &bytes(block));
            assert_eq!(result, Err(DecodeError::Undecodable), "{name}");
        }
    }

    #[test]
    fn encoded_fields_are_decoded_and_not_indexed() {
        let mut decoder = Decoder::new();
        for length in [0, 1, 126, 127, 128, 254, 255, 256, 999 - 1] {
            let value = vec![0xff; length];
            let mut block = Vec::new();
            encode(b"x", &value, &mut block);
            assert_eq!(decode(&mut decoder, &block), Ok(vec![(b"x".to_vec(), value)]), "{length}");
        }
        assert_eq!(decoder.size, 0);
        let mut block = Vec::new();
        encode(b"x", &[0; 1000], &mut block);
        assert_eq!(decode(&mut decoder, &block), Err(DecodeError::TooLarge));
    }

    #[test]
    fn a_field_that_is_larger_than_the_table_empties_it() {
        let mut decoder = Decoder::new();
        let small = bytes("40 01 61 01 62");
        assert_eq!(decode(&mut decoder, &small), Ok(fields(&[("a", "b")])));
        assert_eq!(
            decode(&mut decoder, &[&bytes("3f 01")[..], &small].concat()),
            Ok(fields(&[("a", "b")]))
        );
        assert_eq!((decoder.size, decoder.table.len()), (0, 0));
    }
}
