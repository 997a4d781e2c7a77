//! The storage of sessions and connections.

/// Values with stable keys; free keys are reused.
pub(super) struct Slab<T> {
    pub(super) entries: Vec<Option<T>>,
    /// The keys of removed entries.
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Returns a free key.
    pub(super) fn reserve(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        })
    }

    pub(super) fn remove(&mut self, key: usize) {
        self.entries[key] = None;
        self.free.push(key);
    }
}
