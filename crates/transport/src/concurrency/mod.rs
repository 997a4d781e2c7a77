//! Models of what threads share: `loom` runs each in every order of its steps that makes a difference, and
//! with every value that a load may return. A thread that sleeps for ever is a deadlock, and fails the model.
//!
//! `cargo xtask concurrency` runs them, with the cfg `loom_models`. The code is the product's, on the
//! primitives of `sync`; only the stream, the successor and the executor below are not.

mod announcing;
mod disconnecting;
mod executor;
mod handing_over;
mod session;
mod timing;

use std::future::{Future, poll_fn};
use std::pin::pin;

use self::executor::block_on;
use crate::drain::Drain;

/// Runs the timer task until all sessions have ended.
fn run_until_closed(drain: &Drain, timer_task: impl Future<Output = ()>) {
    let (mut timer_task, mut closed) = (pin!(timer_task), pin!(drain.closed()));
    block_on(poll_fn(|cx| {
        let _ = timer_task.as_mut().poll(cx);
        closed.as_mut().poll(cx)
    }));
}
