//! A few bytes in place.

/// At most `N` bytes, `N` being less than 256.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShortBuffer<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> ShortBuffer<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        let len = self.len();
        self.bytes.get_mut(..len).unwrap_or_default()
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.len.into()
    }

    /// Moves bytes from the beginning of `input` until the buffer has `len` of them, or all that there
    /// are.
    pub(crate) fn fill(&mut self, len: usize, input: &mut &[u8]) {
        let start = self.len();
        let (head, rest) = input.split_at(len.min(N).saturating_sub(start).min(input.len()));
        if let Some(free) = self.bytes.get_mut(start..start + head.len()) {
            free.copy_from_slice(head);
        }
        self.len = u8::try_from(start + head.len()).unwrap_or(u8::MAX);
        *input = rest;
    }
}
