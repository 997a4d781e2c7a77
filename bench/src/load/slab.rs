//! The storage of sessions and connections.

/// Values with stable keys; free keys are reused.
pub(super) struct Slab<T>(pub(super) Vec<Option<T>>, Vec<usize>);

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self(Vec::new(), Vec::new())
    }
}

impl<T> Slab<T> {
    /// Returns a free key.
    pub(super) fn reserve(&mut self) -> usize {
        self.1.pop().unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        })
    }

    pub(super) fn remove(&mut self, key: usize) {
        self.0[key] = None;
        self.1.push(key);
    }
}
