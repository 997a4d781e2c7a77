//! Clients that do everything wrong, at random.

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

/// Longer than any of the server's patience.
const LONGEST_LIFE: Duration = Duration::from_secs(8);

/// What hostile clients came to.
#[derive(Default)]
pub struct Deeds {
    pub connected: AtomicUsize,
    /// The system had no port, or the server's backlog was full.
    pub not_connected: AtomicUsize,
    pub upgraded: AtomicUsize,
}

/// Starts `count` clients, each of which begins a new life whenever one is over. They go away when
/// the set is dropped.
#[must_use]
pub fn start(server: SocketAddr, count: usize, seed: u64, deeds: &Arc<Deeds>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    let mut seeds = Rng::with_seed(seed);
    for _ in 0..count {
        let mut rng = seeds.fork();
        let deeds = Arc::clone(deeds);
        clients.spawn(async move {
            // Not all at once.
            sleep(Duration::from_millis(rng.u64(..2000))).await;
            loop {
                // What goes wrong is what this is for.
                let _ = timeout(LONGEST_LIFE, live(server, &mut rng, &deeds)).await;
                sleep(Duration::from_millis(rng.u64(..100))).await;
            }
        });
    }
    clients
}

async fn live(server: SocketAddr, rng: &mut Rng, deeds: &Deeds) -> io::Result<()> {
    let source = Ipv4Addr::new(127, 0, 0, rng.u8(2..40));
    let receive_buffer = rng.bool().then_some(4096);
    let stream = connect(server, source, receive_buffer).await;
    let count = if stream.is_ok() { &deeds.connected } else { &deeds.not_connected };
    count.fetch_add(1, Ordering::Relaxed);
    let mut stream = stream?;
    if rng.u8(..4) == 0 {
        return ask_badly(stream, rng).await;
    }
    if upgrade(&mut stream).await? == 101 {
        deeds.upgraded.fetch_add(1, Ordering::Relaxed);
        misbehave(&mut stream, rng).await?;
    }
    leave(stream, rng).await
}

/// All that can be done wrong before the upgrade.
async fn ask_badly(mut stream: TcpStream, rng: &mut Rng) -> io::Result<()> {
    match rng.u8(..7) {
        0 => {}
        1 => wait(rng, 6000).await,
        2 => stream.write_all(&bytes(rng, 20_000)).await?,
        3 => trickle(&mut stream, UPGRADE.as_bytes(), rng).await?,
        4 => {
            let half = rng.usize(1..UPGRADE.len());
            stream.write_all(&UPGRADE.as_bytes()[..half]).await?;
            wait(rng, 2000).await;
        }
        5 => {
            let wrong = ["/ws/status", "websocket", "Version: 13", "GET", "==\r\n"];
            let request = UPGRADE.replace(wrong[rng.usize(..wrong.len())], "other");
            for _ in 0..rng.u8(1..20) {
                stream.write_all(request.as_bytes()).await?;
            }
            wait(rng, 1000).await;
        }
        // The frames do not wait for the 101.
        _ => {
            let early = [UPGRADE.as_bytes(), &frame(TEXT, b"early"), &frame(CLOSE, b"")].concat();
            stream.write_all(&early).await?;
            wait(rng, 1000).await;
        }
    }
    leave(stream, rng).await
}

/// All that can be done wrong in a session.
async fn misbehave(stream: &mut TcpStream, rng: &mut Rng) -> io::Result<()> {
    match rng.u8(..15) {
        0 => {}
        // Neither reads nor speaks.
        1 | 2 => wait(rng, 8000).await,
        // Talks a little, and takes its leave.
        3 | 4 => {
            for _ in 0..rng.u8(1..8) {
                stream.write_all(&frame(TEXT, b"a word")).await?;
                wait(rng, 600).await;
            }
            stream.write_all(&frame(CLOSE, &[0x03, 0xe8])).await?;
        }
        5 => {
            let floods = [frame(TEXT, b"x"), frame(PING, &[7; 125]), frame(PONG, b"unasked")];
            let flood = floods[rng.usize(..3)].repeat(rng.usize(1..500));
            for _ in 0..rng.u8(1..20) {
                stream.write_all(&flood).await?;
                wait(rng, 50).await;
            }
        }
        // Pings just often enough, and never reads.
        6 => {
            for _ in 0..60 {
                stream.write_all(&frame(PING, &[7; 125])).await?;
                sleep(Duration::from_millis(101)).await;
            }
        }
        7 => trickle(stream, &frame(TEXT, &[b'x'; 200]), rng).await?,
        8 => stream.shutdown().await?,
        9 => stream.write_all(&bytes(rng, 5000)).await?,
        10 => {
            let most = [4097, 60_000, 100_000, usize::MAX / 2];
            stream.write_all(&head(BINARY, most[rng.usize(..4)])).await?;
            stream.write_all(&bytes(rng, 20_000)).await?;
        }
        11 => stream.write_all(&frame(TEXT, &[b'a', 0xff, 0xfe])).await?,
        12 => {
            stream.write_all(&frame(0x01, b"")).await?;
            let parts = frame(0x00, &b"part"[..rng.usize(..4)]).repeat(rng.usize(1..100));
            loop {
                stream.write_all(&parts).await?;
                wait(rng, 100).await;
            }
        }
        // Lies about why it closes, and goes on.
        13 => {
            let codes = [0, 999, 1005, 1006, 1015, 2999, 5000, u16::MAX];
            let code = codes[rng.usize(..codes.len())].to_be_bytes();
            stream.write_all(&frame(CLOSE, &code)).await?;
            stream.write_all(&frame(TEXT, b"still there").repeat(30)).await?;
        }
        // Closes well, and hangs around.
        _ => {
            stream.write_all(&frame(CLOSE, &[0x03, 0xe8])).await?;
            wait(rng, 8000).await;
        }
    }
    Ok(())
}

/// Goes away in one of the ways there are.
async fn leave(mut stream: TcpStream, rng: &mut Rng) -> io::Result<()> {
    match rng.u8(..6) {
        0 | 1 => stream.set_zero_linger()?,
        2 => {
            stream.shutdown().await?;
            wait(rng, 4000).await;
        }
        // Reads to the end.
        3 => drop(stream.read_to_end(&mut Vec::new()).await?),
        4 => wait(rng, 4000).await,
        _ => {}
    }
    Ok(())
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8], rng: &mut Rng) -> io::Result<()> {
    for byte in bytes {
        stream.write_u8(*byte).await?;
        wait(rng, 200).await;
    }
    Ok(())
}

async fn wait(rng: &mut Rng, most_ms: u64) {
    sleep(Duration::from_millis(rng.u64(..most_ms))).await;
}

fn bytes(rng: &mut Rng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.usize(1..most)];
    rng.fill(&mut bytes);
    bytes
}
