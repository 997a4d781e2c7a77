//! A network in virtual time: late, in pieces, interrupted and reset, all by the dice of one seed.

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

/// Pieces that are under way in one direction.
const WINDOW: usize = 64;

/// `SplitMix64`: small, and the same on every machine.
#[derive(Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
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

    /// Dice of their own for somebody else, so that nobody's throws depend on who throws first.
    pub(crate) fn other(&mut self) -> Self {
        Self(self.next())
    }
}

/// What happens to the bytes of one connection, in both directions.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Milliseconds that a piece takes, which none of them can overtake.
    pub(crate) latency: Range<u64>,
    /// Bytes that travel together, at most.
    pub(crate) piece: usize,
    /// Bytes that each system holds.
    pub(crate) pipe: usize,
    /// Bytes that the server's stream holds by itself before its system does; 0 is none.
    pub(crate) buffer: usize,
    /// What would arrive from the first moment on comes at the second, or never.
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

/// A connection: the server's end, the client's end, and what carries bytes between them.
pub(crate) fn connect(
    weather: Weather,
    mut dice: Dice,
) -> (Buffered<End>, End, impl Future<Output = ()>) {
    let is_reset = Arc::new(AtomicBool::new(false));
    let (server, near) = duplex(weather.pipe);
    let (client, far) = duplex(weather.pipe);
    let server = End { pipe: server, is_reset: Arc::clone(&is_reset) };
    let server = Buffered::new(server, weather.buffer);
    let client = End { pipe: client, is_reset: Arc::clone(&is_reset) };
    let carrying = async move {
        let ((from_server, to_server), (from_client, to_client)) = (split(near), split(far));
        let (down, up) = (dice.other(), dice.other());
        let both = async {
            tokio::join!(
                // A system answers with a reset what comes for a client that is gone.
                carry(from_server, to_client, &weather, down, true),
                // Not so for the server, whose last words must not be lost with it.
                carry(from_client, to_server, &weather, up, false),
            )
        };
        let reset = async {
            match weather.reset {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = reset => is_reset.store(true, Ordering::Relaxed),
            (was_refused, _) = both => is_reset.store(was_refused, Ordering::Relaxed),
        }
    };
    (server, client, carrying)
}

/// Carries bytes one way until their end. Gives back whether they were refused at last.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    weather: &Weather,
    mut dice: Dice,
    ends_when_refused: bool,
) -> bool {
    let (under_way, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(WINDOW);
    let take = async move {
        loop {
            let mut piece = vec![0; dice.size(1..u64::try_from(weather.piece).unwrap() + 1)];
            let count = from.read(&mut piece).await.unwrap_or(0);
            piece.truncate(count);
            let at = Instant::now() + dice.millis(weather.latency.clone());
            // An empty piece is the end, which takes as long as anything else.
            if under_way.send((at, piece)).await.is_err() || count == 0 {
                return;
            }
        }
    };
    let give = async move {
        let mut is_refused = false;
        while let Some((at, piece)) = arriving.recv().await {
            match weather.partition {
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
    // The taker ends by itself when the giver is gone, but it may wait for bytes that never come.
    tokio::pin!(take, give);
    tokio::select! {
        biased;
        is_refused = &mut give => is_refused,
        () = &mut take => give.await,
    }
}
