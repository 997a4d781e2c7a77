//! The primitives that threads share. They are those of std, `parking_lot` and tokio, except in the models of
//! `concurrency`, where `loom` decides about each step of each thread.

#[cfg(loom_models)]
#[cfg(test)]
mod modelled;

#[cfg(not(all(loom_models, test)))]
pub(crate) use {
    parking_lot::{Mutex, MutexGuard},
    std::sync::atomic,
    tokio::sync::{Notify, watch},
    tokio::task::yield_now,
    tokio::time::{Instant, timeout_at},
};

#[cfg(all(loom_models, test))]
pub(crate) use self::modelled::{
    Instant, Mutex, MutexGuard, Notify, atomic, timeout_at, watch, yield_now,
};
