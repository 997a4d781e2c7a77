//! The server's end of a connection, which several processes have: each has its own stream over one pipe.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// The server's end of a connection, in one of the processes that have it.
pub(crate) struct SharedStream {
    pipe: Arc<Mutex<Pipe>>,
    process: u64,
    is_released: bool,
}

struct Pipe {
    /// Dropped by the process that holds the session.
    stream: Option<DuplexStream>,
    /// The process whose session it is; `None` while the session is frozen.
    holder: Option<u64>,
    foreign_accesses: usize,
    is_flush_blocked: bool,
}

/// The test's view of a connection.
pub(crate) struct Witness(Arc<Mutex<Pipe>>);

impl Witness {
    /// Returns how often a process accessed the connection that did not hold the session: because another
    /// one did, or because it was frozen. A drop without a release is an access, too.
    pub(crate) fn foreign_accesses(&self) -> usize {
        self.0.lock().unwrap().foreign_accesses
    }

    /// Makes each flush of the stream pending, or not.
    pub(crate) fn block_flush(&self, is_blocked: bool) {
        self.0.lock().unwrap().is_flush_blocked = is_blocked;
    }
}

impl SharedStream {
    /// Returns the stream of a process that holds the session, and the test's view of the connection.
    pub(crate) fn new(stream: DuplexStream, process: u64) -> (Self, Witness) {
        let holder = Some(process);
        let stream = Some(stream);
        let pipe = Pipe { stream, holder, foreign_accesses: 0, is_flush_blocked: false };
        let pipe = Arc::new(Mutex::new(pipe));
        let witness = Witness(Arc::clone(&pipe));
        (Self { pipe, process, is_released: false }, witness)
    }

    /// Prepares it to be dropped while another process has the connection.
    pub(crate) fn release(&mut self) {
        self.is_released = true;
    }

    /// Makes a duplicate the stream of the process that holds the session from now on.
    pub(crate) fn take(&mut self, process: u64) {
        self.process = process;
        self.set_holder(Some(process));
    }

    /// Returns another stream over the same connection, as by a duplicate of the descriptor. It belongs to no
    /// process yet.
    pub(crate) fn duplicate(&self) -> Self {
        Self { pipe: Arc::clone(&self.pipe), process: 0, is_released: false }
    }

    pub(crate) fn set_holder(&self, holder: Option<u64>) {
        self.pipe.lock().unwrap().holder = holder;
    }

    fn access<T>(
        &self,
        access: impl FnOnce(Pin<&mut DuplexStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut pipe = self.pipe.lock().unwrap();
        if pipe.holder != Some(self.process) {
            pipe.foreign_accesses += 1;
        }
        match &mut pipe.stream {
            Some(stream) => access(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

/// Dropping a socket that was not released affects its connection, and releasing one that is in use does.
impl Drop for SharedStream {
    fn drop(&mut self) {
        let mut pipe = self.pipe.lock().unwrap();
        let is_holder = pipe.holder == Some(self.process);
        if self.process != 0 && is_holder == self.is_released {
            pipe.foreign_accesses += 1;
        }
        if is_holder {
            pipe.stream = None;
        }
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.access(|stream| stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.access(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pipe.lock().unwrap().is_flush_blocked {
            return Poll::Pending;
        }
        self.access(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.access(|stream| stream.poll_shutdown(cx))
    }
}
