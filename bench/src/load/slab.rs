//! Where sessions and connections are kept.

/// Things with places that are used again.
pub(super) struct Slab<T>(pub(super) Vec<Option<T>>, Vec<usize>);

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self(Vec::new(), Vec::new())
    }
}

impl<T> Slab<T> {
    /// A free place.
    pub(super) fn place(&mut self) -> usize {
        self.1.pop().unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        })
    }

    pub(super) fn leave(&mut self, place: usize) {
        self.0[place] = None;
        self.1.push(place);
    }
}
