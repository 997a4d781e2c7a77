//! Header compression for HTTP/2 (RFC 7541): blocks of any peer are decoded, and ours are literals.
//!
//! Names and values are bytes here. What HTTP allows in them is not this module's business, so a field
//! that HTTP refuses leaves the decoder's state as it has to be for the blocks that follow.

use std::borrow::Cow;
use std::collections::VecDeque;

use octets::Octets;

/// The size that a dynamic table begins with, and that our settings do not change
/// (RFC 9113, section 6.5.2).
pub(crate) const TABLE_SIZE: u16 = 4096;

/// What each field counts besides its bytes, in a table and in a list (RFC 7541, section 4.1; RFC 9113,
/// section 6.5.2).
pub(crate) const FIELD_OVERHEAD: usize = 32;

/// Bytes that an integer may take (RFC 7541, section 5.1: an implementation sets a limit).
const INTEGER_BYTES: usize = 5;

/// The state of one direction of a connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The newest comes first.
    table: VecDeque<Field>,
    size: usize,
    max_size: usize,
}

/// Why a block was not decoded to its end. The state is lost with it, so no further block can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The names and values are longer than the caller takes.
    TooLarge,
    /// The block breaks a rule of RFC 7541.
    Undecodable,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, max_size: TABLE_SIZE.into() }
    }

    /// Decodes a whole block, whose names and values may have `most` bytes together.
    pub(crate) fn decode(
        &mut self,
        mut block: &[u8],
        most: usize,
        mut on_field: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), DecodeError> {
        let mut left = most;
        let mut may_resize = true;
        while let Some(first) = block.first() {
            // RFC 7541, section 6.
            if first & 0b1110_0000 == 0b0010_0000 {
                let size = integer(&mut block, 5)?;
                // Section 4.2: at the beginning of a block.
                if !may_resize || size > TABLE_SIZE.into() {
                    return Err(DecodeError::Undecodable);
                }
                self.max_size = size;
                self.make_room_for(0);
                continue;
            }
            may_resize = false;
            if first & 0b1000_0000 != 0 {
                let (name, value) = self.field(integer(&mut block, 7)?)?;
                left = spend(left, name, value)?;
                on_field(name, value);
                continue;
            }
            let is_indexed = first & 0b0100_0000 != 0;
            let index = integer(&mut block, if is_indexed { 6 } else { 4 })?;
            let name = match index {
                0 => string(&mut block)?,
                _ => Cow::Borrowed(self.field(index)?.0),
            };
            let value = string(&mut block)?;
            left = spend(left, &name, &value)?;
            on_field(&name, &value);
            if is_indexed {
                let field = Field::new(&name, &value);
                self.insert(field);
            }
        }
        Ok(())
    }

    /// What an index stands for (RFC 7541, section 2.3.3).
    fn field(&self, index: usize) -> Result<(&[u8], &[u8]), DecodeError> {
        let index = index.checked_sub(1).ok_or(DecodeError::Undecodable)?;
        let field = match STATIC_TABLE.get(index) {
            Some((name, value)) => Some((name.as_bytes(), value.as_bytes())),
            None => self.table.get(index - STATIC_TABLE.len()).map(Field::parts),
        };
        field.ok_or(DecodeError::Undecodable)
    }

    /// Section 4.4: a field that is larger than the table empties it, and that is no error.
    fn insert(&mut self, field: Field) {
        let size = field.size();
        self.make_room_for(size);
        if size <= self.max_size {
            self.size += size;
            self.table.push_front(field);
        }
    }

    fn make_room_for(&mut self, size: usize) {
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

/// Appends a field as a literal with its name, and without indexing (RFC 7541, section 6.2.2): it needs
/// no table, and whoever decodes it keeps none.
pub(crate) fn encode(name: &[u8], value: &[u8], block: &mut Vec<u8>) {
    block.push(0);
    for string in [name, value] {
        let mut rest = string.len();
        // RFC 7541, sections 5.1 and 5.2, without Huffman coding.
        if rest < 127 {
            block.extend(u8::try_from(rest));
        } else {
            block.push(127);
            rest -= 127;
            while rest >= 128 {
                block.extend(u8::try_from(rest % 128 + 128));
                rest /= 128;
            }
            block.extend(u8::try_from(rest));
        }
        block.extend_from_slice(string);
    }
}

/// What is left of so many bytes behind a field.
fn spend(left: usize, name: &[u8], value: &[u8]) -> Result<usize, DecodeError> {
    left.checked_sub(name.len() + value.len()).ok_or(DecodeError::TooLarge)
}

/// Takes an integer with a prefix of so many bits (RFC 7541, section 5.1).
fn integer(block: &mut &[u8], prefix_bits: u32) -> Result<usize, DecodeError> {
    let mask = (1 << prefix_bits) - 1;
    let mut value = usize::from(take_byte(block)?) & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in (0..).step_by(7).take(INTEGER_BYTES - 1) {
        let byte = take_byte(block)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::Undecodable)
}

/// Takes a string (RFC 7541, section 5.2).
fn string<'a>(block: &mut &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
    let is_huffman = block.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = integer(block, 7)?;
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

/// RFC 7541, appendix A.
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

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
    fn a_table_that_is_full_forgets_what_is_oldest() {
        // RFC 7541, appendix C.6, behind a table size of 256.
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
    fn what_breaks_the_rfc_is_undecodable() {
        let blocks = [
            ("an index of nothing", "80"),
            ("an index that there is not", "be"),
            ("a name that there is not", "7e 01 61"),
            ("half an integer", "ff 80"),
            ("an integer without an end", "ff 80 80 80 80 80 00"),
            ("a string without an end", "00 02 61"),
            ("a name without a value", "00 01 61"),
            ("a table that is too large", "3f e2 1f"),
            ("a table size behind a field", "82 20"),
            ("the end of a string in a string", "00 01 61 84 ff ff ff ff"),
            ("padding that is too long", "00 01 61 82 1f ff"),
            ("padding of zeros", "00 01 61 81 18"),
        ];
        for (name, block) in blocks {
            let result = decode(&mut Decoder::new(), &bytes(block));
            assert_eq!(result, Err(DecodeError::Undecodable), "{name}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_and_not_remembered() {
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
