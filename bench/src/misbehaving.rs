//! Clients that misbehave at random.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{BINARY, CLOSE, PING, PONG, TEXT, UPGRADE, connect, frame, head, upgrade};

/// Longer than any of the server's timeouts.
const CONNECTION_LIMIT: Duration = Duration::from_secs(8);

/// Totals over all misbehaving clients.
#[derive(Default)]
pub struct Counters {
    pub connected: AtomicUsize,
    /// No ephemeral port was free, or the server's backlog was full.
    pub not_connected: AtomicUsize,
    pub upgraded: AtomicUsize,
}

/// Starts `count` clients, each of which opens a new connection when the previous one has ended.
/// Dropping the set stops them.
#[must_use]
pub fn start(server: SocketAddr, count: usize, seed: u64, counters: &Arc<Counters>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    let mut seeds = Rng::with_seed(seed);
    for _ in 0..count {
        let mut rng = seeds.fork();
        let counters = Arc::clone(counters);
        clients.spawn(async move {
            // Spread the first connections.
            sleep(Duration::from_millis(rng.u64(..2000))).await;
            loop {
                // Errors are expected.
                let _ =
                    timeout(CONNECTION_LIMIT, run_connection(server, &mut rng, &counters)).await;
                sleep(Duration::from_millis(rng.u64(..100))).await;
            }
        });
    }
    clients
}

async fn run_connection(server: SocketAddr, rng: &mut Rng, counters: &Counters) -> io::Result<()> {
    let source = Ipv4Addr::new(127, 0, 0, rng.u8(2..40));
    let receive_buffer = rng.bool().then_some(4096);
    let stream = connect(server, source, receive_buffer).await;
    let count = if stream.is_ok() { &counters.connected } else { &counters.not_connected };
    count.fetch_add(1, Ordering::Relaxed);
    let mut stream = stream?;
    if rng.u8(..4) == 0 {
        return misbehave_before_upgrade(stream, rng).await;
    }
    if upgrade(&mut stream).await? == 101 {
        counters.upgraded.fetch_add(1, Ordering::Relaxed);
        misbehave_in_session(&mut stream, rng).await?;
    }
    disconnect(stream, rng).await
}

/// Misbehaves before the upgrade.
async fn misbehave_before_upgrade(mut stream: TcpStream, rng: &mut Rng) -> io::Result<()> {
    match rng.u8(..7) {
        0 => {}
        1 => random_sleep(rng, 6000).await,
        2 => stream.write_all(&random_bytes(rng, 20_000)).await?,
        3 => write_slowly(&mut stream, UPGRADE.as_bytes(), rng).await?,
        4 => {
            let half = rng.usize(1..UPGRADE.len());
            stream.write_all(&UPGRADE.as_bytes()[..half]).await?;
            random_sleep(rng, 2000).await;
        }
        5 => {
            let wrong = ["/ws/status", "websocket", "Version: 13", "GET", "==\r\n"];
            let request = UPGRADE.replace(wrong[rng.usize(..wrong.len())], "other");
            for _ in 0..rng.u8(1..20) {
                stream.write_all(request.as_bytes()).await?;
            }
            random_sleep(rng, 1000).await;
        }
        // Frames before the 101.
        _ => {
            let early = [UPGRADE.as_bytes(), &frame(TEXT, b"early"), &frame(CLOSE, b"")].concat();
            stream.write_all(&early).await?;
            random_sleep(rng, 1000).await;
        }
    }
    disconnect(stream, rng).await
}

/// Misbehaves in a session.
async fn misbehave_in_session(stream: &mut TcpStream, rng: &mut Rng) -> io::Result<()> {
    match rng.u8(..15) {
        0 => {}
        // Neither reads nor writes.
        1 | 2 => random_sleep(rng, 8000).await,
        // Sends a few messages, and closes.
        3 | 4 => {
            for _ in 0..rng.u8(1..8) {
                stream.write_all(&frame(TEXT, b"a word")).await?;
                random_sleep(rng, 600).await;
            }
            stream.write_all(&frame(CLOSE, &[0x03, 0xe8])).await?;
        }
        5 => {
            let floods = [frame(TEXT, b"x"), frame(PING, &[7; 125]), frame(PONG, b"unasked")];
            let flood = floods[rng.usize(..3)].repeat(rng.usize(1..500));
            for _ in 0..rng.u8(1..20) {
                stream.write_all(&flood).await?;
                random_sleep(rng, 50).await;
            }
        }
        // Pings below the rate limit, and never reads.
        6 => {
            for _ in 0..60 {
                stream.write_all(&frame(PING, &[7; 125])).await?;
                sleep(Duration::from_millis(101)).await;
            }
        }
        7 => write_slowly(stream, &frame(TEXT, &[b'x'; 200]), rng).await?,
        8 => stream.shutdown().await?,
        9 => stream.write_all(&random_bytes(rng, 5000)).await?,
        10 => {
            let max_len = [4097, 60_000, 100_000, usize::MAX / 2];
            stream.write_all(&head(BINARY, max_len[rng.usize(..4)])).await?;
            stream.write_all(&random_bytes(rng, 20_000)).await?;
        }
        11 => stream.write_all(&frame(TEXT, &[b'a', 0xff, 0xfe])).await?,
        12 => {
            stream.write_all(&frame(0x01, b"")).await?;
            let parts = frame(0x00, &b"part"[..rng.usize(..4)]).repeat(rng.usize(1..100));
            loop {
                stream.write_all(&parts).await?;
                random_sleep(rng, 100).await;
            }
        }
        // Closes with an invalid code, and continues to send.
        13 => {
            let codes = [0, 999, 1005, 1006, 1015, 2999, 5000, u16::MAX];
            let code = codes[rng.usize(..codes.len())].to_be_bytes();
            stream.write_all(&frame(CLOSE, &code)).await?;
            stream.write_all(&frame(TEXT, b"still there").repeat(30)).await?;
        }
        // Closes correctly, and keeps the connection open.
        _ => {
            stream.write_all(&frame(CLOSE, &[0x03, 0xe8])).await?;
            random_sleep(rng, 8000).await;
        }
    }
    Ok(())
}

/// Ends the connection: by a reset, a half-close, a read to the end, a pause, or a plain close.
async fn disconnect(mut stream: TcpStream, rng: &mut Rng) -> io::Result<()> {
    match rng.u8(..6) {
        0 | 1 => stream.set_zero_linger()?,
        2 => {
            stream.shutdown().await?;
            random_sleep(rng, 4000).await;
        }
        3 => drop(stream.read_to_end(&mut Vec::new()).await?),
        4 => random_sleep(rng, 4000).await,
        _ => {}
    }
    Ok(())
}

async fn write_slowly(
    stream: &mut TcpStream,
    random_bytes: &[u8],
    rng: &mut Rng,
) -> io::Result<()> {
    for byte in random_bytes {
        stream.write_u8(*byte).await?;
        random_sleep(rng, 200).await;
    }
    Ok(())
}

async fn random_sleep(rng: &mut Rng, max_ms: u64) {
    sleep(Duration::from_millis(rng.u64(..max_ms))).await;
}

fn random_bytes(rng: &mut Rng, max_len: usize) -> Vec<u8> {
    let mut random_bytes = vec![0; rng.usize(1..max_len)];
    rng.fill(&mut random_bytes);
    random_bytes
}
