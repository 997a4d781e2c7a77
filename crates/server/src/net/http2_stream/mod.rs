//! A session's stream of an HTTP/2 connection, and the state that the sessions share with the
//! connection.
//!
//! Serving the connection is the subject of `http::http2`.

mod answer_credit;
mod backlog;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use transport::Http2Stream;

use crate::net::forward::forward_read;

use self::answer_credit::AnswerCredit;
use self::backlog::Backlog;

/// The smallest DATA frame that adds credit if the client's flow-control window has cut it short.
/// Otherwise a client could request any number of frames by windows of one byte, and get credit for
/// each.
const MIN_PARTIAL_FRAME: usize = 256;

/// State shared by an HTTP/2 connection and its sessions.
#[derive(Debug)]
pub(crate) struct Http2Connection {
    pub(crate) backlog: Backlog,
    pub(crate) credit: AnswerCredit,
}

impl Http2Connection {
    /// Creates the state of a connection, with credit for at most `max_credit` answers.
    pub(crate) fn new(max_credit: u32) -> Self {
        Self { backlog: Backlog::default(), credit: AnswerCredit::new(max_credit) }
    }
}

/// A session's stream, which observes the backlog and adds credit for each DATA frame.
#[derive(Debug)]
pub(crate) struct SessionStream {
    stream: Http2Stream,
    connection: ConnectionHandle,
}

/// A session's reference to its connection. Unregisters it from the backlog on drop.
#[derive(Debug)]
struct ConnectionHandle {
    shared: Arc<Http2Connection>,
    backlog_key: u64,
}

impl SessionStream {
    pub(crate) fn new(stream: Http2Stream, connection: Arc<Http2Connection>) -> Self {
        Self { stream, connection: ConnectionHandle::new(connection) }
    }

    /// Waits until the connection's output is flushed: output that h2 accepts before is no progress.
    fn poll_backlog(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ended = self.connection.poll_backlog(cx);
        if ended.is_pending() {
            self.stream.buffer_input(cx);
        }
        ended
    }
}

impl ConnectionHandle {
    fn new(shared: Arc<Http2Connection>) -> Self {
        let backlog_key = shared.backlog.next_key();
        Self { shared, backlog_key }
    }

    fn poll_backlog(&self, cx: &Context<'_>) -> Poll<()> {
        self.shared.backlog.poll_end(self.backlog_key, cx)
    }
}

impl Drop for ConnectionHandle {
    fn drop(&mut self) {
        self.shared.backlog.unregister(self.backlog_key);
    }
}

forward_read!(SessionStream);

impl AsyncWrite for SessionStream {
    /// Each call that accepts bytes makes one DATA frame.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_backlog(cx));
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        if count == bytes.len() || count >= MIN_PARTIAL_FRAME {
            self.connection.shared.credit.add();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.poll_backlog(cx).map(Ok)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_session_that_ends_while_its_connection_is_blocked_leaves_no_waker() {
        let connection = Arc::new(Http2Connection::new(0));
        connection.backlog.begin();
        let task = Arc::new(Task);
        for _ in 0..100 {
            let handle = ConnectionHandle::new(Arc::clone(&connection));
            let waker = Waker::from(Arc::clone(&task));
            assert!(handle.poll_backlog(&Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&task), 1, "no waker is left");
    }
}
