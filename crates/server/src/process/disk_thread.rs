//! Runs work that may block for ever, such as reading a file, on dedicated threads.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// Runs `work` on a new thread, which is detached if the future is dropped.
///
/// tokio's blocking pool is not used, because it queues work until a pool thread is free when the system
/// refuses a new thread.
///
/// # Errors
///
/// The system refuses the thread, or `work` panics.
pub(crate) async fn on_new_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // Fails if the future was dropped.
        let _ = done.send(work());
    };
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    result.await.map_err(|_| io::Error::other("the thread panicked"))
}

/// Time that a disk has to respond while the server runs.
const DISK_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs one kind of blocking work on at most one thread at a time.
///
/// A thread that waits for a disk cannot be ended; without this bound each attempt on a disk that does not
/// respond would add one.
#[derive(Debug)]
pub(crate) struct DiskThread {
    name: &'static str,
    permit: Arc<Semaphore>,
}

impl DiskThread {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, permit: Arc::new(Semaphore::new(1)) }
    }

    /// Runs `work` on a thread, and waits 10 seconds for it. Then the thread is detached, and later calls
    /// wait until it ends. Cancel safe: the thread is detached then as well.
    ///
    /// # Errors
    ///
    /// `work` or an earlier thread takes too long, the system refuses the thread, or `work` panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let finished = async {
            // The thread of a cancelled call usually ends soon, so this waits instead of failing.
            let permit =
                Arc::clone(&self.permit).acquire_owned().await.map_err(io::Error::other)?;
            let work = move || {
                let result = work();
                drop(permit);
                result
            };
            let done = on_new_thread(self.name, work).await;
            done.map_err(|error| io::Error::other(format!("its thread failed: {error}")))
        };
        timeout(DISK_TIMEOUT, finished).await.unwrap_or_else(|_| {
            let seconds = DISK_TIMEOUT.as_secs();
            Err(io::Error::other(format!("the disk did not respond within {seconds} seconds")))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_respond_blocks_one_thread_and_each_call_times_out() {
        let thread = DiskThread::new("test");
        let begun = Arc::new(AtomicUsize::new(0));
        let work = |answers: Option<mpsc::Receiver<()>>| {
            let begun = Arc::clone(&begun);
            move || {
                begun.fetch_add(1, Ordering::SeqCst);
                answers.map(|answers| answers.recv())
            }
        };
        let (answer, answers) = mpsc::channel::<()>();
        let error = thread.run(work(Some(answers))).await.unwrap_err();
        assert_eq!(error.to_string(), "the disk did not respond within 10 seconds");
        for _ in 0..3 {
            assert!(thread.run(work(None)).await.is_err());
        }

        drop(answer);
        // A paused clock would reach the timeout before the thread ends.
        tokio::time::resume();
        thread.run(work(None)).await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 2, "no work was started in between");
    }
}
