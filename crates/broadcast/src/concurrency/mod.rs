//! Models of what threads share, as those of `transport`: `loom` runs each in every order of its steps.
//!
//! `cargo xtask concurrency` runs them, with the cfg `loom_models`.

#[path = "../../../transport/src/concurrency/executor.rs"]
mod executor;
mod newest;
mod queue;
