//! Work that may block for ever, such as reading a file, on threads of its own.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// Does `work` on a thread of its own, which is left behind if this is dropped. tokio's own pool has such
/// work wait, for as long as its threads live, when the system refuses one more.
///
/// # Errors
///
/// The system has no thread for it, or it panicked.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // Nobody waits any more.
        let _ = done.send(work());
    };
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    result.await.map_err(|_| io::Error::other("it panicked"))
}

/// How long a disk is waited for while the server serves.
const DISK_TIMEOUT: Duration = Duration::from_secs(10);

/// One thread at a time for the same kind of work, which may block for ever: on a disk that does not answer, a
/// thread cannot be ended, and each attempt would leave one more behind.
#[derive(Debug)]
pub(crate) struct DiskThread {
    name: &'static str,
    free: Arc<Semaphore>,
}

impl DiskThread {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, free: Arc::new(Semaphore::new(1)) }
    }

    /// Does `work` on the thread. After ten seconds the thread is left behind, and until it is done nothing
    /// more is begun. Cancel safe: it is left behind then, too.
    ///
    /// # Errors
    ///
    /// It takes too long, the same as before still does, or there is no thread for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let begun = async {
            // Whoever was cancelled has mostly left a thread that is nearly done.
            let turn = Arc::clone(&self.free).acquire_owned().await.map_err(io::Error::other)?;
            let work = move || {
                let result = work();
                drop(turn);
                result
            };
            let done = on_a_thread(self.name, work).await;
            done.map_err(|error| io::Error::other(format!("no thread has done it: {error}")))
        };
        timeout(DISK_TIMEOUT, begun).await.unwrap_or_else(|_| {
            let seconds = DISK_TIMEOUT.as_secs();
            Err(io::Error::other(format!("the disk has not answered for {seconds} seconds")))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_answer_takes_one_thread_and_costs_no_more_than_a_while() {
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
        assert_eq!(error.to_string(), "the disk has not answered for 10 seconds");
        for _ in 0..3 {
            assert!(thread.run(work(None)).await.is_err());
        }

        drop(answer);
        // Otherwise the clock runs ahead of a thread that is under way.
        tokio::time::resume();
        thread.run(work(None)).await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 2, "nothing was begun meanwhile");
    }
}
