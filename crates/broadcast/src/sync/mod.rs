//! The primitives that threads share. They are those of std and `parking_lot`, except in the models of
//! `concurrency`, where `loom` decides about each step of each thread.

#[cfg(loom_models)]
#[cfg(test)]
mod modelled;

#[cfg(not(all(loom_models, test)))]
pub(crate) use {
    parking_lot::Mutex,
    std::sync::{OnceLock, atomic},
};

#[cfg(all(loom_models, test))]
pub(crate) use self::modelled::{Mutex, OnceLock, atomic};
