//! An application that decides by the query, at once or when the test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use transport::{Admission, Admit, Denial, Discard, Handshake, Identity};

/// Decides on `?who=NAME`, with `&wait` only after [`release`](Self::release). `nobody` is denied with 403, and
/// without a name it is 401. `brief` may stay for 100 milliseconds.
#[derive(Clone)]
pub(crate) struct Gatekeeper {
    released: Arc<Semaphore>,
    /// Handshakes that are being decided now, and the most that ever were.
    current: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// Counts a handshake until it is decided or dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gatekeeper {
    pub(crate) fn new() -> Self {
        Self {
            released: Arc::new(Semaphore::new(0)),
            current: Arc::default(),
            most: Arc::default(),
        }
    }

    /// Returns how many handshakes are being decided.
    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::SeqCst)
    }

    /// Returns the most handshakes that were decided at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Lets this many handshakes that wait be decided.
    pub(crate) fn release(&self, count: usize) {
        self.released.add_permits(count);
    }
}

impl Admit for Gatekeeper {
    type Handler = Discard;

    async fn admit(&self, handshake: &Handshake<'_>) -> Result<Admission<Discard>, Denial> {
        let current = self.current.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(current, Ordering::SeqCst);
        let _counted = Counted(Arc::clone(&self.current));
        let mut parameters = handshake.query().unwrap_or_default().split('&');
        let who = parameters.next().and_then(|it| it.strip_prefix("who="));
        if parameters.any(|it| it == "wait") {
            self.released.acquire().await.unwrap().forget();
        }
        let admission = Admission::new(Discard);
        match who.map(Identity::try_from) {
            Some(Ok(who)) if who.as_str() == "nobody" => {
                Err(Denial::forbidden("is_nobody", "nobody may connect"))
            }
            Some(Ok(who)) if who.as_str() == "panics" => panic!("the application panics"),
            Some(Ok(who)) if who.as_str() == "brief" => {
                Ok(admission.identity(who).expires_in(Duration::from_millis(100)))
            }
            Some(Ok(who)) => Ok(admission.identity(who)),
            Some(Err(_)) | None => {
                Err(Denial::unauthorized("no_name", "the query must be who=NAME", "Query"))
            }
        }
    }
}
