//! A session's stream of an HTTP/2 connection, and what the connection's sessions share.
//!
//! How the connection itself is served is `http`'s.

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

/// The least that earns an answer where the client's window has cut a frame short: by windows of a byte
/// a client would make us send as many frames as it likes, and be paid for each.
const MIN_PARTIAL_FRAME: usize = 256;

/// What an HTTP/2 connection and its sessions share.
#[derive(Debug)]
pub(crate) struct Http2Connection {
    pub(crate) backlog: Backlog,
    pub(crate) credit: AnswerCredit,
}

impl Http2Connection {
    /// A connection whose client may have `most_credit` answers ahead.
    pub(crate) fn new(most_credit: u32) -> Self {
        Self { backlog: Backlog::default(), credit: AnswerCredit::new(most_credit) }
    }
}

/// A stream whose DATA frames earn the connection its answers.
#[derive(Debug)]
pub(crate) struct SessionStream {
    stream: Http2Stream,
    share: ConnectionShare,
}

/// A session's share in what its connection counts, and its key in the backlog.
#[derive(Debug)]
struct ConnectionShare {
    connection: Arc<Http2Connection>,
    key: u64,
}

impl SessionStream {
    pub(crate) fn new(stream: Http2Stream, connection: Arc<Http2Connection>) -> Self {
        Self { stream, share: ConnectionShare::new(connection) }
    }

    /// Waits until the connection gets rid of what it was given: what h2 takes before is no progress.
    fn poll_backlog(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_over = self.share.poll_backlog(cx);
        if is_over.is_pending() {
            self.stream.buffer_input(cx);
        }
        is_over
    }
}

impl ConnectionShare {
    fn new(connection: Arc<Http2Connection>) -> Self {
        let key = connection.backlog.next_key();
        Self { connection, key }
    }

    fn poll_backlog(&self, cx: &Context<'_>) -> Poll<()> {
        self.connection.backlog.poll_end(self.key, cx)
    }
}

impl Drop for ConnectionShare {
    fn drop(&mut self) {
        self.connection.backlog.leave(self.key);
    }
}

forward_read!(SessionStream);

impl AsyncWrite for SessionStream {
    /// What is taken at once is one frame.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_backlog(cx));
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        if count == bytes.len() || count >= MIN_PARTIAL_FRAME {
            self.share.connection.credit.earn();
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
    fn a_session_that_ends_while_its_connection_is_stuck_leaves_nothing_behind() {
        let connection = Arc::new(Http2Connection::new(0));
        connection.backlog.begin();
        let task = Arc::new(Task);
        for _ in 0..100 {
            let share = ConnectionShare::new(Arc::clone(&connection));
            let waker = Waker::from(Arc::clone(&task));
            assert!(share.poll_backlog(&Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&task), 1, "nobody waits");
    }
}
