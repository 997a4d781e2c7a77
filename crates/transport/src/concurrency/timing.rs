//! The timers without sessions: no deadline that has passed, and no announcement, is missed.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use loom::thread;

use super::executor::{block_on, search};
use crate::sync::Notify;
use crate::timer::{TimerHandle, TimerInstant, TimerService};

type Timer = TimerHandle<Arc<TimerService>>;

const NEVER_HERE: Duration = Duration::from_secs(25);

/// Runs the timer service and a task with a timer until the task is done. Before that, `main` runs in the
/// thread of the service.
fn run(
    main: impl FnOnce(&TimerService),
    mut task: impl FnMut(&mut Timer, &mut Context<'_>) -> Poll<()> + Send + 'static,
) {
    let (timers, done) = (Arc::new(TimerService::default()), Arc::new(Notify::new()));
    let (of_task, task_is_done) = (Arc::clone(&timers), Arc::clone(&done));
    let task = thread::spawn(move || {
        let (mut timer, _) = TimerHandle::new(of_task);
        block_on(poll_fn(|cx| task(&mut timer, cx)));
        task_is_done.notify_one();
    });
    main(&timers);
    let (mut service, mut done) = (pin!(timers.run()), pin!(done.notified()));
    block_on(poll_fn(|cx| {
        let _ = service.as_mut().poll(cx);
        done.as_mut().poll(cx)
    }));
    task.join().unwrap();
}

#[test]
fn a_deadline_that_is_set_during_a_run_of_the_service_is_not_missed() {
    search(4, || {
        let mut is_set = false;
        run(
            |_| {},
            move |timer, cx| {
                if is_set {
                    return Poll::Ready(());
                }
                timer.set(TimerInstant::START, cx);
                is_set = true;
                Poll::Pending
            },
        );
    });
}

#[test]
fn a_task_that_looks_after_it_has_set_its_timer_misses_no_announcement() {
    search(4, || {
        run(
            |timers| timers.announce(1),
            |timer, cx| {
                timer.set(TimerInstant::START + NEVER_HERE, cx);
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
        run(
            |timers| timers.announce(1),
            move |timer, cx| {
                if !has_seen {
                    timer.set(TimerInstant::START + NEVER_HERE, cx);
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
