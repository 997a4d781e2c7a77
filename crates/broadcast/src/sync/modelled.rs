//! The same primitives on top of loom's, with the part of their interfaces that this crate uses.

use std::sync;

use loom::sync::MutexGuard;
pub(crate) use loom::sync::atomic;
use loom::sync::atomic::{AtomicBool, Ordering};

/// `parking_lot`'s mutex, which is not poisoned.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no model continues after a panic with a lock")
    }
}

/// std's cell, which `get` may find empty until something else orders it after `get_or_init`.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: sync::OnceLock<T>,
    is_set: AtomicBool,
    initializing: Mutex<()>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: sync::OnceLock::new(),
            is_set: AtomicBool::new(false),
            initializing: Mutex::new(()),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _initializing = self.initializing.lock();
        let value = self.value.get_or_init(init);
        self.is_set.store(true, Ordering::Release);
        value
    }
}
