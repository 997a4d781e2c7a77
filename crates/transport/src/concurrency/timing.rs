//! The timers without sessions: no deadline that has passed, and no announcement, is missed.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::thread;

use super::executor::{block_on, explore, search};
use crate::sync::Notify;
use crate::timer::{TimerHandle, TimerInstant, TimerService};

type Timer = TimerHandle<Arc<TimerService>>;

const EARLIER: Duration = Duration::from_millis(10);
const LATER: Duration = Duration::from_millis(100);
/// The models end before.
const NEVER: Duration = Duration::from_secs(25);

/// Runs a task with a timer until it is done. The thread of the service calls `before` first.
fn run(
    timers: &Arc<TimerService>,
    before: impl FnOnce(&TimerService),
    mut task: impl FnMut(&mut Timer, &mut Context<'_>) -> Poll<()> + Send + 'static,
) {
    let done = Arc::new(Notify::new());
    let (of_task, task_is_done) = (Arc::clone(timers), Arc::clone(&done));
    let task = thread::spawn(move || {
        let (mut timer, _) = TimerHandle::new(of_task);
        block_on(poll_fn(|cx| task(&mut timer, cx)));
        task_is_done.notify_one();
    });
    before(timers);
    let (mut service, mut done) = (pin!(timers.run()), pin!(done.notified()));
    block_on(poll_fn(|cx| {
        let _ = service.as_mut().poll(cx);
        done.as_mut().poll(cx)
    }));
    task.join().unwrap();
}

#[test]
fn a_deadline_that_is_set_during_a_run_of_the_service_is_not_missed() {
    search(3, || {
        let mut is_set = false;
        let timers = Arc::new(TimerService::default());
        // The service runs for it, while the task sets a later deadline.
        let (mut earlier, start) = TimerHandle::new(Arc::clone(&timers));
        earlier.set(start + EARLIER, &Context::from_waker(Waker::noop()));
        run(
            &timers,
            |_| {},
            move |timer, cx| {
                if is_set {
                    return Poll::Ready(());
                }
                timer.set(TimerInstant::START + LATER, cx);
                is_set = true;
                Poll::Pending
            },
        );
    });
}

#[test]
fn a_task_that_sees_an_announcement_finds_its_delivery_running() {
    explore(|| {
        let timers = Arc::new(TimerService::default());
        let (timer, _) = TimerHandle::new(Arc::clone(&timers));
        let task = thread::spawn(move || {
            let cx = Context::from_waker(Waker::noop());
            timer.owner().generation() == 0 || timer.must_wait(&cx)
        });
        timers.announce(1);
        assert!(task.join().unwrap(), "nothing has been delivered yet");
    });
}

#[test]
fn a_task_that_looks_after_it_has_set_its_timer_misses_no_announcement() {
    search(4, || {
        let timers = Arc::new(TimerService::default());
        run(
            &timers,
            |timers| timers.announce(1),
            |timer, cx| {
                timer.set(TimerInstant::START + NEVER, cx);
                if timer.owner().generation() == 0 {
                    return Poll::Pending;
                }
                timer.count_delivered();
                Poll::Ready(())
            },
        );
    });
}

#[test]
fn a_task_that_waits_for_the_end_of_the_delivery_is_woken_then() {
    search(4, || {
        let mut has_seen = false;
        let timers = Arc::new(TimerService::default());
        run(
            &timers,
            |timers| timers.announce(1),
            move |timer, cx| {
                if !has_seen {
                    timer.set(TimerInstant::START + NEVER, cx);
                    if timer.owner().generation() == 0 {
                        return Poll::Pending;
                    }
                    has_seen = true;
                    timer.count_delivered();
                }
                if timer.must_wait(cx) { Poll::Pending } else { Poll::Ready(()) }
            },
        );
    });
}
