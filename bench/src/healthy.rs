//! Clients that do everything right, and what they see while others do not.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::client::{CLOSE, PING, PONG, connect, frame, next_frame, upgrade};

/// How one healthy client fared.
pub struct Fared {
    /// From each ping to its pong.
    pub waits: Vec<Duration>,
    /// How late each ping was sent, which is this machine's doing and not the server's.
    pub own_lateness: Vec<Duration>,
    /// The code and the reason of the close frame, or what came instead.
    pub end: Result<(u16, String), String>,
}

/// Starts so many clients that ping at each beat, in a thread of their own so that they measure the
/// server and not the hostile ones beside them. `opened` hears of each session that is open.
pub fn start(
    server: SocketAddr,
    count: usize,
    beat: Duration,
    opened: Sender<()>,
) -> JoinHandle<Vec<Fared>> {
    thread::spawn(move || {
        // Where that is allowed, it does not wait for the hostile ones' turns on its core.
        let _ = rustix::process::nice(-10);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("there are threads").block_on(async {
            let mut clients = JoinSet::new();
            for _ in 0..count {
                let opened = opened.clone();
                clients.spawn(async move {
                    let (mut waits, mut own_lateness) = (Vec::new(), Vec::new());
                    let end = live(server, beat, &opened, &mut waits, &mut own_lateness).await;
                    Fared { waits, own_lateness, end: end.map_err(|error| error.to_string()) }
                });
            }
            drop(opened);
            clients.join_all().await
        })
    })
}

/// Pings until the server says goodbye.
async fn live(
    server: SocketAddr,
    beat: Duration,
    opened: &Sender<()>,
    waits: &mut Vec<Duration>,
    own_lateness: &mut Vec<Duration>,
) -> io::Result<(u16, String)> {
    let mut stream = connect(server, Ipv4Addr::LOCALHOST, None).await?;
    let status = upgrade(&mut stream).await?;
    if status != 101 {
        return Err(io::Error::other(format!("refused with {status}")));
    }
    let _ = opened.send(());

    let began = Instant::now();
    let mut inbox = Vec::new();
    let mut beats = interval(beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            count = stream.read_buf(&mut inbox) => if count? == 0 {
                return Err(io::Error::other("cut without a close frame"));
            },
            due = beats.tick() => {
                own_lateness.push(due.elapsed());
                let now = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                stream.write_all(&frame(PING, &now.to_be_bytes())).await?;
            }
        }
        while let Some((first, payload)) = next_frame(&mut inbox) {
            match (first, payload.first_chunk(), payload.split_first_chunk()) {
                (PONG, Some(sent), _) => {
                    let sent = Duration::from_nanos(u64::from_be_bytes(*sent));
                    waits.push(began.elapsed().saturating_sub(sent));
                }
                (PING, ..) => stream.write_all(&frame(PONG, &payload)).await?,
                (CLOSE, _, Some((code, reason))) => {
                    stream.write_all(&frame(CLOSE, &payload)).await?;
                    timeout(Duration::from_secs(5), stream.read_to_end(&mut Vec::new())).await??;
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    return Ok((u16::from_be_bytes(*code), reason));
                }
                _ => return Err(io::Error::other(format!("got {first:#x} {payload:?}"))),
            }
        }
    }
}
