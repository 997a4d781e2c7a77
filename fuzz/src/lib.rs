//! The properties that the fuzz targets check, each a function of an input.
//!
//! A file in `fuzz_targets` is only the entry point of a target, so that a test can run the same functions
//! without the fuzzer. `seeds` has inputs that were written by hand, and `kept` those that the fuzzer has
//! found: together they reach what it has ever reached.

mod client;
mod configuration;
mod extensions;
mod frames;
mod http2;
mod lifecycle;
mod naive_origin;
mod origins;
mod server_frames;
mod session;
mod states;
mod trace;
mod upgrade;

pub use client::run as client;
pub use configuration::run as configuration;
pub use extensions::run as extensions;
pub use frames::run as frames;
pub use http2::run as http2;
pub use lifecycle::run as lifecycle;
pub use origins::run as origins;
pub use session::run as session;
pub use states::run as states;
pub use trace::run as trace;
pub use upgrade::run as upgrade;

#[cfg(test)]
mod tests;
