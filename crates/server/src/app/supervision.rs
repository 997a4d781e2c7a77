//! Supervision of the tasks that run as long as the server: a task that ends early is logged, and starts
//! a shutdown.

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

/// The task that wakes sessions. Without it no session is notified of a drain.
pub(crate) const TIMER: &str = "timer";

/// The shutdown itself.
const SHUTDOWN: &str = "shutdown";

/// The tasks that have to run until the shutdown. Dropping it aborts them.
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
    /// Spawns a task on the runtime's workers.
    pub(crate) fn spawn(
        &mut self,
        task: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawned.spawn(supervised(task, future));
    }

    /// Adds a task that runs inside [`run`](Self::run) and may borrow.
    pub(crate) fn add_local(&mut self, task: &'static str, future: impl Future<Output = ()> + 'a) {
        self.local.push(Box::pin(supervised(task, future)));
    }

    /// Runs until the shutdown ends, which `signal` or an early end of a task starts.
    ///
    /// A failed task leads to a normal drain, unless the drain depends on that task: then the server ends
    /// at once. No task is restarted, because its state may be inconsistent; a service manager that restarts
    /// the process starts from a clean state.
    pub(crate) async fn run(
        mut self,
        shutdown: &Shutdown,
        signal: impl Future<Output = ()>,
        telemetry: &Telemetry,
    ) -> ShutdownSummary {
        let mut shutdown_run = pin!(catch_panic(shutdown.run(signal, telemetry)));
        let mut failed = None;
        loop {
            let TaskEnd { task, has_panicked } = tokio::select! {
                biased;
                ended = self.next() => ended,
                summary = &mut shutdown_run => match summary {
                    Ok(summary) => return ShutdownSummary { failed, ..summary },
                    Err(Panicked) => TaskEnd { task: SHUTDOWN, has_panicked: true },
                },
            };
            // Accept tasks end with the drain. Any other end of a task is a failure.
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

    /// Waits for the next task that ends. Cancel safe.
    async fn next(&mut self) -> TaskEnd {
        poll_fn(|cx| {
            match self.spawned.poll_join_next(cx) {
                Poll::Ready(Some(Ok(ended))) => return Poll::Ready(ended),
                // The future panicked again in its destructor, so its name is lost.
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

/// A future panicked. The panic hook has logged the panic.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Returns the output of `future`.
///
/// # Errors
///
/// `future` panicked.
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

    use prometheus_client::registry::Registry;
    use tokio::time::timeout;
    use transport::{Phase, SessionRegistry};

    use super::*;
    use crate::config::Config;
    use crate::config::cli::Command;

    fn shutdown() -> (Arc<Shutdown>, Telemetry) {
        let Ok(Command::Serve(settings, _)) = Command::parse([], []) else {
            panic!("the defaults are valid")
        };
        let config = Config::check(settings, 1024).expect("the defaults are valid");
        let telemetry = Telemetry::new(&config, Registry::default());
        let (shutdown, timer) = Shutdown::new(config.fixed(), SessionRegistry::default());
        tokio::spawn(timer);
        shutdown.ready();
        (Arc::new(shutdown), telemetry)
    }

    async fn panics() {
        tokio::task::yield_now().await;
        panic!("a bug");
    }

    /// Returns the failed task, and whether a waiter was notified of the drain.
    async fn failed_task(
        tasks: Supervisor<'_>,
        signal: impl Future<Output = ()>,
    ) -> (Option<&str>, bool) {
        let (shutdown, telemetry) = shutdown();
        let token = shutdown.token();
        let waiter = tokio::spawn(async move {
            token.past(Phase::Serving).await;
        });
        let limit = Duration::from_secs(10);
        let summary = timeout(limit, tasks.run(&shutdown, signal, &telemetry)).await;
        let failed = summary.expect("the server ends").failed;
        assert_eq!(shutdown.has_failed(), failed.is_some());
        assert_eq!(shutdown.stage().as_str(), "draining");
        (failed, waiter.is_finished())
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_returns_starts_a_drain_and_is_named() {
        let mut tasks = Supervisor::default();
        tasks.spawn("admin", pending());
        tasks.spawn("status", panics());
        assert_eq!(failed_task(tasks, pending()).await, (Some("status"), true));

        let mut tasks = Supervisor::default();
        tasks.spawn(ACCEPT, ready(()));
        assert_eq!(failed_task(tasks, pending()).await, (Some(ACCEPT), true));

        let mut tasks = Supervisor::default();
        tasks.add_local("reload", pending());
        tasks.add_local("log", ready(()));
        assert_eq!(failed_task(tasks, pending()).await, (Some("log"), true));

        let mut tasks = Supervisor::default();
        tasks.add_local("reload", panics());
        assert_eq!(failed_task(tasks, pending()).await, (Some("reload"), true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_timer_ends_the_server_without_a_drain() {
        let mut tasks = Supervisor::default();
        tasks.spawn(TIMER, panics());
        assert_eq!(failed_task(tasks, pending()).await, (Some(TIMER), false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_that_panics_ends_the_server() {
        assert_eq!(failed_task(Supervisor::default(), panics()).await, (Some(SHUTDOWN), false));
    }

    #[tokio::test(start_paused = true)]
    async fn accept_tasks_that_end_with_the_drain_are_no_failure() {
        let (drain, drain_started) = tokio::sync::oneshot::channel::<()>();
        let mut tasks = Supervisor::default();
        tasks.spawn(ACCEPT, async { drain_started.await.unwrap_or_default() });
        let signal = async move { drop(drain) };
        assert_eq!(failed_task(tasks, signal).await, (None, true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failed_task_is_named() {
        let mut tasks = Supervisor::default();
        tasks.spawn("admin", panics());
        tasks.add_local("reload", async {
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
