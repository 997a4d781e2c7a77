//! A network in virtual time: latency, segmentation, partitions and resets, all from one random seed.

use std::future::pending;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex, split,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::buffered::Buffered;

/// Pieces in flight per direction, at most.
const WINDOW: usize = 64;

/// A random number generator with the same output on every machine (`SplitMix64`).
#[derive(Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    pub(crate) fn size(&mut self, range: Range<u64>) -> usize {
        usize::try_from(self.within(range)).unwrap()
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.within(0..100) < chance
    }

    /// Returns an independent generator, so that the order of draws in one task does not affect another.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// The conditions of one connection, the same in both directions.
#[derive(Clone, Debug)]
pub(crate) struct LinkConditions {
    /// Milliseconds a piece takes. Pieces stay in order.
    pub(crate) latency: Range<u64>,
    /// Bytes of a piece, at most.
    pub(crate) piece: usize,
    /// Capacity of the socket buffer at each end, in bytes.
    pub(crate) pipe: usize,
    /// Capacity of the write buffer of the server's stream, in bytes; 0 for none.
    pub(crate) buffer: usize,
    /// Pieces that would arrive after the first instant arrive at the second, or never.
    pub(crate) partition: Option<(Instant, Option<Instant>)>,
    pub(crate) reset: Option<Instant>,
}

/// One end of a connection.
pub(crate) struct End {
    pipe: DuplexStream,
    is_reset: Arc<AtomicBool>,
}

impl End {
    fn check(&self) -> io::Result<()> {
        let is_reset = self.is_reset.load(Ordering::Relaxed);
        if is_reset { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.pipe).poll_read(cx, buffer)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// Returns the server's end, the client's end, and the future that carries bytes between them.
pub(crate) fn connect(
    link: LinkConditions,
    mut rng: Rng,
) -> (Buffered<End>, End, impl Future<Output = ()>) {
    let is_reset = Arc::new(AtomicBool::new(false));
    let (server, near) = duplex(link.pipe);
    let (client, far) = duplex(link.pipe);
    let server = End { pipe: server, is_reset: Arc::clone(&is_reset) };
    let server = Buffered::new(server, link.buffer);
    let client = End { pipe: client, is_reset: Arc::clone(&is_reset) };
    let network = async move {
        let ((from_server, to_server), (from_client, to_client)) = (split(near), split(far));
        let (down, up) = (rng.fork(), rng.fork());
        let both = async {
            tokio::join!(
                // The system resets a connection whose client has closed its socket.
                carry(from_server, to_client, &link, down, true),
                // Not in this direction: a reset would discard the last frames of the server.
                carry(from_client, to_server, &link, up, false),
            )
        };
        let reset = async {
            match link.reset {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = reset => is_reset.store(true, Ordering::Relaxed),
            (is_refused, _) = both => is_reset.store(is_refused, Ordering::Relaxed),
        }
    };
    (server, client, network)
}

/// Carries bytes in one direction until their end. Returns whether the receiver refused bytes.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: &LinkConditions,
    mut rng: Rng,
    ends_when_refused: bool,
) -> bool {
    let (sender, mut in_flight) = mpsc::channel::<(Instant, Vec<u8>)>(WINDOW);
    let send = async move {
        loop {
            let mut piece = vec![0; rng.size(1..u64::try_from(link.piece).unwrap() + 1)];
            let count = from.read(&mut piece).await.unwrap_or(0);
            piece.truncate(count);
            let at = Instant::now() + rng.millis(link.latency.clone());
            // An empty piece is the end of the stream. It has latency, too.
            if sender.send((at, piece)).await.is_err() || count == 0 {
                return;
            }
        }
    };
    let deliver = async move {
        let mut is_refused = false;
        while let Some((at, piece)) = in_flight.recv().await {
            match link.partition {
                Some((from, Some(until))) if at >= from => sleep_until(until.max(at)).await,
                Some((from, None)) if at >= from => pending().await,
                _ => sleep_until(at).await,
            }
            if piece.is_empty() {
                is_refused |= to.shutdown().await.is_err();
            } else if !is_refused {
                is_refused = to.write_all(&piece).await.is_err();
            }
            if is_refused && ends_when_refused {
                break;
            }
        }
        is_refused
    };
    // `send` may wait for bytes that never come, so the end of `deliver` ends both.
    tokio::pin!(send, deliver);
    tokio::select! {
        biased;
        is_refused = &mut deliver => is_refused,
        () = &mut send => deliver.await,
    }
}
