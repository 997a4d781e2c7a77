//! The tasks that live as long as the server: one that ends before its time ends the server, and never
//! in silence.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::task::JoinSet;
use tracing::error;

use crate::shutdown::{Shutdown, ShutdownSummary};
use crate::telemetry::Telemetry;

/// The tasks that accept connections.
pub(crate) const ACCEPT: &str = "accept";

/// The task that wakes sessions. Without it no session sees a drain.
pub(crate) const TIMER: &str = "timer";

/// What goes from the signal to the end.
const SHUTDOWN: &str = "shutdown";

/// The tasks that have to live until the shutdown. Dropping it ends them.
#[derive(Default)]
pub(crate) struct Supervisor<'a> {
    spawned: JoinSet<TaskEnd>,
    local: Vec<Pin<Box<dyn Future<Output = TaskEnd> + 'a>>>,
}

/// How a task ended.
#[derive(Debug)]
struct TaskEnd {
    task: &'static str,
    has_panicked: bool,
}

impl<'a> Supervisor<'a> {
    /// Runs a task on the workers.
    pub(crate) fn spawn(
        &mut self,
        task: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawned.spawn(supervised(task, future));
    }

    /// Runs a task wherever the supervisor is polled.
    pub(crate) fn run_local(&mut self, task: &'static str, future: impl Future<Output = ()> + 'a) {
        self.local.push(Box::pin(supervised(task, future)));
    }

    /// Sees the shutdown through, which begins with `signal`, or by itself when a task has ended before
    /// its time. The drain then goes on as usual; if it needs the task that failed, everything ends at once.
    ///
    /// No task is started again: what it held when it failed is not known to be whole, and a supervisor
    /// that starts the process again begins with nothing broken.
    pub(crate) async fn run(
        mut self,
        shutdown: &Shutdown,
        signal: impl Future<Output = ()>,
        telemetry: &Telemetry,
    ) -> ShutdownSummary {
        let mut ending = pin!(catch_panic(shutdown.run(signal, telemetry)));
        let mut failed = None;
        loop {
            let TaskEnd { task, has_panicked } = tokio::select! {
                biased;
                ended = self.next() => ended,
                stopped = &mut ending => match stopped {
                    Ok(stopped) => return ShutdownSummary { failed, ..stopped },
                    Err(Panicked) => TaskEnd { task: SHUTDOWN, has_panicked: true },
                },
            };
            // These end with the drain, and nothing else ends by itself.
            if task == ACCEPT && !has_panicked && shutdown.has_begun() {
                continue;
            }
            error!(event = "task_failed", task);
            failed = failed.or(Some(task));
            shutdown.fail();
            if task == TIMER || task == SHUTDOWN {
                return ShutdownSummary { failed, ..shutdown.abort_without_drain(telemetry) };
            }
        }
    }

    /// The next task that ends. Cancel safe.
    async fn next(&mut self) -> TaskEnd {
        poll_fn(|cx| {
            match self.spawned.poll_join_next(cx) {
                Poll::Ready(Some(Ok(ended))) => return Poll::Ready(ended),
                // It panicked again when it was dropped, and took its name with it.
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(TaskEnd { task: "unknown", has_panicked: true });
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
            self.poll_local(cx)
        })
        .await
    }

    fn poll_local(&mut self, cx: &mut Context<'_>) -> Poll<TaskEnd> {
        let tasks = self.local.iter_mut().enumerate();
        for (index, task) in tasks {
            if let Poll::Ready(ended) = task.as_mut().poll(cx) {
                drop(self.local.swap_remove(index));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    }
}

async fn supervised(task: &'static str, future: impl Future<Output = ()>) -> TaskEnd {
    let has_panicked = catch_panic(future).await.is_err();
    TaskEnd { task, has_panicked }
}

/// A future panicked. The panic itself has left a line.
#[derive(Debug)]
pub(crate) struct Panicked;

/// What `future` gives, unless it panics.
///
/// # Errors
///
/// It panicked.
pub(crate) async fn catch_panic<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;
    use transport::Phase;

    use super::*;
    use crate::config::Config;
    use crate::config::cli::Command;

    fn shutdown() -> (Arc<Shutdown>, Telemetry) {
        let Ok(Command::Serve(settings)) = Command::parse([], []) else {
            panic!("the defaults are right")
        };
        let config = Config::check(&settings, 1024).expect("the defaults are right");
        let telemetry = Telemetry::new(&config);
        let (shutdown, timer) = Shutdown::new(config.fixed());
        tokio::spawn(timer);
        shutdown.ready();
        (Arc::new(shutdown), telemetry)
    }

    async fn panics() {
        tokio::task::yield_now().await;
        panic!("a bug");
    }

    /// The task that failed, while something waits for the drain, and whether that has seen it.
    async fn failed(
        tasks: Supervisor<'_>,
        signal: impl Future<Output = ()>,
    ) -> (Option<&str>, bool) {
        let (shutdown, telemetry) = shutdown();
        let token = shutdown.token();
        let drained = tokio::spawn(async move {
            token.past(Phase::Serving).await;
        });
        let limit = Duration::from_secs(10);
        let stopped = timeout(limit, tasks.run(&shutdown, signal, &telemetry)).await;
        let failed = stopped.expect("the server ends").failed;
        assert_eq!(shutdown.has_failed(), failed.is_some());
        assert_eq!(shutdown.stage().as_str(), "draining", "it is not ready any more");
        (failed, drained.is_finished())
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_returns_is_a_drain_and_is_named() {
        let mut tasks = Supervisor::default();
        tasks.spawn("admin", pending());
        tasks.spawn("status", panics());
        assert_eq!(failed(tasks, pending()).await, (Some("status"), true));

        let mut tasks = Supervisor::default();
        tasks.spawn(ACCEPT, ready(()));
        assert_eq!(failed(tasks, pending()).await, (Some(ACCEPT), true));

        let mut tasks = Supervisor::default();
        tasks.run_local("reload", pending());
        tasks.run_local("log", ready(()));
        assert_eq!(failed(tasks, pending()).await, (Some("log"), true));

        let mut tasks = Supervisor::default();
        tasks.run_local("reload", panics());
        assert_eq!(failed(tasks, pending()).await, (Some("reload"), true));
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_timer_the_end_comes_at_once() {
        let mut tasks = Supervisor::default();
        tasks.spawn(TIMER, panics());
        assert_eq!(failed(tasks, pending()).await, (Some(TIMER), false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_that_panics_is_an_end() {
        assert_eq!(failed(Supervisor::default(), panics()).await, (Some(SHUTDOWN), false));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_has_failed_when_accepting_ends_with_the_drain() {
        let (begun, begins) = tokio::sync::oneshot::channel::<()>();
        let mut tasks = Supervisor::default();
        tasks.spawn(ACCEPT, async { begins.await.unwrap_or_default() });
        let signal = async move { drop(begun) };
        assert_eq!(failed(tasks, signal).await, (None, true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_task_that_failed_is_the_one_that_is_named() {
        let mut tasks = Supervisor::default();
        tasks.spawn("admin", panics());
        tasks.run_local("reload", async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            panic!("another");
        });
        let (shutdown, telemetry) = shutdown();
        let token = shutdown.token();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(token);
        });
        assert_eq!(tasks.run(&shutdown, pending(), &telemetry).await.failed, Some("admin"));
    }
}
