//! Inflates the payload of a compressed message, bit by bit as RFC 1951 describes it.

/// What becomes of a payload.
pub(super) enum Inflated {
    Invalid,
    Message(Vec<u8>),
    TooBig,
    /// The message is too big, and after that it is invalid.
    TooBigAndInvalid,
}

/// What a sender has removed (RFC 7692, section 7.2.2), and an empty final block.
const TAIL: [u8; 6] = [0, 0, 0xff, 0xff, 0x03, 0];

/// The server's limit of final blocks within a message.
const MAX_FINAL_BLOCKS: usize = 64;

/// A larger output is not inflated further.
const MAX_OUTPUT: usize = 1 << 18;

/// How the order of the code lengths is sent (RFC 1951, section 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Inflates a payload whose sender has sent `history` before.
pub(super) fn inflate(history: &[u8], payload: &[u8], max: usize) -> Inflated {
    if payload.is_empty() {
        return Inflated::Message(Vec::new());
    }
    let input = [payload, &TAIL].concat();
    let mut inflater = Inflater { input: &input, bit: 0, output: history.to_vec() };
    let whole = inflater.message(payload.len(), history.len() + MAX_OUTPUT);
    let message = inflater.output.split_off(history.len());
    match (whole.is_some(), message.len() > max) {
        (false, false) => Inflated::Invalid,
        (true, false) => Inflated::Message(message),
        (true, true) => Inflated::TooBig,
        (false, true) => Inflated::TooBigAndInvalid,
    }
}

struct Inflater<'a> {
    input: &'a [u8],
    /// The position in the input.
    bit: usize,
    output: Vec<u8>,
}

impl Inflater<'_> {
    /// Inflates blocks up to the end of the message. `None` is invalid data, or too much of it.
    fn message(&mut self, payload_len: usize, max_output: usize) -> Option<()> {
        let mut final_blocks = 0;
        loop {
            let is_final = self.block(max_output)?;
            if !is_final {
                continue;
            }
            // The next block begins at a byte.
            self.bit = self.bit.next_multiple_of(8);
            let at = self.bit / 8;
            if at == payload_len || at == self.input.len() {
                return Some(());
            }
            final_blocks += 1;
            if at > payload_len || final_blocks > MAX_FINAL_BLOCKS {
                return None;
            }
        }
    }

    /// Inflates a block, and returns whether it says that it is the last.
    fn block(&mut self, max_output: usize) -> Option<bool> {
        let is_final = self.bits(1)? == 1;
        match self.bits(2)? {
            0 => self.stored(max_output)?,
            1 => {
                let lengths: Vec<usize> = (0..288).map(fixed_length).collect();
                self.compressed(&Code::new(&lengths), &Code::new(&[5; 30]), max_output)?;
            }
            2 => {
                let (literals, distances) = self.dynamic_codes()?;
                self.compressed(&literals, &distances, max_output)?;
            }
            _ => return None,
        }
        Some(is_final)
    }

    fn stored(&mut self, max_output: usize) -> Option<()> {
        self.bit = self.bit.next_multiple_of(8);
        let (length, complement) = (self.bits(16)?, self.bits(16)?);
        if length != !complement & 0xffff {
            return None;
        }
        for _ in 0..length {
            let byte = self.bits(8)?;
            self.push(byte, max_output)?;
        }
        Some(())
    }

    fn compressed(&mut self, literals: &Code, distances: &Code, max_output: usize) -> Option<()> {
        loop {
            let symbol = self.symbol(literals)?;
            match symbol {
                0..256 => self.push(symbol, max_output)?,
                256 => return Some(()),
                257..286 => {
                    let length = match symbol {
                        285 => 258,
                        _ => 3 + self.extended(symbol - 257, 4)?,
                    };
                    let symbol = self.symbol(distances)?;
                    if symbol > 29 {
                        return None;
                    }
                    let distance = 1 + self.extended(symbol, 2)?;
                    if distance > self.output.len() || distance > 32_768 {
                        return None;
                    }
                    for _ in 0..length {
                        let byte = self.output[self.output.len() - distance];
                        self.push(usize::from(byte), max_output)?;
                    }
                }
                _ => return None,
            }
        }
    }

    /// Reads a length or a distance: after two groups of symbols without extra bits, each further group
    /// has one more.
    fn extended(&mut self, symbol: usize, group: usize) -> Option<usize> {
        if symbol < 2 * group {
            return Some(symbol);
        }
        let extra = symbol / group - 1;
        let base = (group + symbol % group) << extra;
        Some(base + self.bits(extra)?)
    }

    /// Reads the codes of a block (RFC 1951, section 3.2.7). zlib refuses codes that no encoder makes:
    /// over-subscribed or incomplete ones, except a single distance.
    fn dynamic_codes(&mut self) -> Option<(Code, Code)> {
        let literals = 257 + self.bits(5)?;
        let distances = 1 + self.bits(5)?;
        let count = 4 + self.bits(4)?;
        if literals > 286 || distances > 30 {
            return None;
        }
        let mut lengths = [0; 19];
        for place in &ORDER[..count] {
            lengths[*place] = self.bits(3)?;
        }
        let code = Code::new(&lengths);
        if code.unused() != 0 {
            return None;
        }
        let mut lengths: Vec<usize> = Vec::new();
        while lengths.len() < literals + distances {
            let (length, times) = match self.symbol(&code)? {
                16 => (*lengths.last()?, 3 + self.bits(2)?),
                17 => (0, 3 + self.bits(3)?),
                18 => (0, 11 + self.bits(7)?),
                length => (length, 1),
            };
            lengths.extend(vec![length; times]);
        }
        if lengths.len() > literals + distances || lengths[256] == 0 {
            return None;
        }
        let literal_code = Code::new(&lengths[..literals]);
        let distance_code = Code::new(&lengths[literals..]);
        let is_usable =
            |code: &Code| code.unused() == 0 || code.unused() > 0 && code.longest() <= 1;
        (is_usable(&literal_code) && is_usable(&distance_code))
            .then_some((literal_code, distance_code))
    }

    /// Reads a symbol of a code, from the most significant bit.
    fn symbol(&mut self, code: &Code) -> Option<usize> {
        let (mut value, mut first) = (0, 0);
        for symbols in &code.symbols[1..] {
            value = value << 1 | self.bits(1)?;
            first <<= 1;
            if value < first + symbols.len() {
                return Some(symbols[value - first]);
            }
            first += symbols.len();
        }
        None
    }

    /// Reads a number from its least significant bit.
    fn bits(&mut self, count: usize) -> Option<usize> {
        let mut number = 0;
        for place in 0..count {
            let byte = self.input.get(self.bit / 8)?;
            number |= usize::from(byte >> (self.bit % 8) & 1) << place;
            self.bit += 1;
        }
        Some(number)
    }

    fn push(&mut self, byte: usize, max_output: usize) -> Option<()> {
        self.output.push(u8::try_from(byte).ok()?);
        (self.output.len() <= max_output).then_some(())
    }
}

/// A canonical Huffman code (RFC 1951, section 3.2.2): the symbols of each length, in their order.
struct Code {
    symbols: [Vec<usize>; 16],
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut symbols = [const { Vec::new() }; 16];
        for (symbol, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            symbols[*length].push(symbol);
        }
        Self { symbols }
    }

    /// How many codes of 15 bits are unused; negative if there are more than fit.
    fn unused(&self) -> i64 {
        let used =
            |(length, symbols): (usize, &Vec<usize>)| (symbols.len() as i64) << (15 - length);
        (1 << 15) - self.symbols.iter().enumerate().map(used).sum::<i64>()
    }

    fn longest(&self) -> usize {
        self.symbols.iter().rposition(|symbols| !symbols.is_empty()).unwrap_or(0)
    }
}

/// The lengths of the fixed code (RFC 1951, section 3.2.6).
fn fixed_length(symbol: usize) -> usize {
    match symbol {
        0..144 => 8,
        144..256 => 9,
        256..280 => 7,
        _ => 8,
    }
}
