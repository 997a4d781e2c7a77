//! The body of a response, which has no meaning here.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming};
use tokio::time::{Instant, timeout_at};

/// The largest body that is read to its end, in bytes.
const MAX_BODY_BYTES: usize = 8 << 10;

/// The longest time for that. A body normally arrives together with its head.
const MAX_BODY_TIME: Duration = Duration::from_millis(100);

/// Reads a body to its end, so that its connection can be used again. hyper closes the connection of a body
/// that is larger or slower, and the decision stands.
pub(super) async fn discard(mut body: Incoming, deadline: Instant) {
    let read = async {
        let mut rest = MAX_BODY_BYTES;
        while let Some(Ok(frame)) = next_frame(&mut body).await {
            let length = frame.data_ref().map_or(0, |data| data.len());
            match rest.checked_sub(length) {
                Some(less) => rest = less,
                None => return,
            }
        }
    };
    let _ = timeout_at(deadline.min(Instant::now() + MAX_BODY_TIME), read).await;
}

/// Waits for the next part of a body.
async fn next_frame(body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}
