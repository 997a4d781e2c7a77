//! Runs a model, and the futures of its threads. The models of `broadcast` use this file, too.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::model::Builder;
use loom::sync::{Condvar, Mutex};

/// A model that takes more is a loop without an end.
const MAX_STEPS: usize = 10_000;

/// Runs a model in every order of its steps.
pub(super) fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    (builder.preemption_bound, builder.max_duration) = (None, None);
    run(builder, model);
}

/// Runs a model in every order of its steps in which a thread that could go on is stopped at most this many
/// times. The variable `LOOM_MAX_PREEMPTIONS` sets another number, and `LOOM_MAX_DURATION` the seconds after
/// which no further order is tried.
pub(super) fn search(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    run(builder, model);
}

fn run(mut builder: Builder, model: impl Fn() + Send + Sync + 'static) {
    builder.max_branches = MAX_STEPS;
    builder.checkpoint_interval = 1000; // It looks at the time as often.
    let orders = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&orders);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{} orders", orders.load(Ordering::Relaxed));
}

/// Runs a future on this thread, which sleeps until the future is woken.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => signal.wait(),
        }
    }
}

/// Whether a thread has been woken since it slept last.
#[derive(Debug, Default)]
pub(super) struct Signal {
    is_set: Mutex<bool>,
    set: Condvar,
}

impl Signal {
    pub(super) fn wait(&self) {
        let mut is_set = self.is_set.lock().unwrap();
        while !*is_set {
            is_set = self.set.wait(is_set).unwrap();
        }
        *is_set = false;
    }

    pub(super) fn set(&self) {
        *self.is_set.lock().unwrap() = true;
        self.set.notify_one();
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.set();
    }
}
