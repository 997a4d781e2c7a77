//! Well-behaved clients, which measure round trips while other clients misbehave.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use crate::client::{CLOSE, PING, PONG, connect, frame, next_frame, upgrade};

/// The measurements of one client.
pub struct ClientReport {
    /// Round-trip time of each ping.
    pub round_trips: Vec<Duration>,
    /// Delay of each ping behind its schedule, caused by the load generator's machine and not by the
    /// server.
    pub send_delays: Vec<Duration>,
    /// The code and the reason of the Close frame, or the error that ended the session.
    pub end: Result<(u16, String), String>,
}

/// Starts `count` clients that ping at `interval`, in a separate thread, so that they measure the server
/// and not the misbehaving clients of this process. Sends to `opened` for each session that opens.
pub fn start(
    server: SocketAddr,
    count: usize,
    interval: Duration,
    opened: Sender<()>,
) -> JoinHandle<Vec<ClientReport>> {
    thread::spawn(move || {
        // A higher priority than the misbehaving clients on the same core, where that is permitted.
        let _ = rustix::process::nice(-10);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime on the current thread starts").block_on(async {
            let mut clients = JoinSet::new();
            for _ in 0..count {
                let opened = opened.clone();
                clients.spawn(async move {
                    let (mut round_trips, mut send_delays) = (Vec::new(), Vec::new());
                    let end =
                        run(server, interval, &opened, &mut round_trips, &mut send_delays).await;
                    ClientReport {
                        round_trips,
                        send_delays,
                        end: end.map_err(|error| error.to_string()),
                    }
                });
            }
            drop(opened);
            clients.join_all().await
        })
    })
}

/// Pings until the server sends a Close frame.
async fn run(
    server: SocketAddr,
    interval: Duration,
    opened: &Sender<()>,
    round_trips: &mut Vec<Duration>,
    send_delays: &mut Vec<Duration>,
) -> io::Result<(u16, String)> {
    let mut stream = connect(server, Ipv4Addr::LOCALHOST, None).await?;
    let status = upgrade(&mut stream).await?;
    if status != 101 {
        return Err(io::Error::other(format!("refused with {status}")));
    }
    let _ = opened.send(());

    let started = Instant::now();
    let mut inbox = Vec::new();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            count = stream.read_buf(&mut inbox) => if count? == 0 {
                return Err(io::Error::other("disconnected without a Close frame"));
            },
            due = ticks.tick() => {
                send_delays.push(due.elapsed());
                let now = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                stream.write_all(&frame(PING, &now.to_be_bytes())).await?;
            }
        }
        while let Some((first, payload)) = next_frame(&mut inbox) {
            match (first, payload.first_chunk(), payload.split_first_chunk()) {
                (PONG, Some(sent), _) => {
                    let sent = Duration::from_nanos(u64::from_be_bytes(*sent));
                    round_trips.push(started.elapsed().saturating_sub(sent));
                }
                (PING, ..) => stream.write_all(&frame(PONG, &payload)).await?,
                (CLOSE, _, Some((code, reason))) => {
                    stream.write_all(&frame(CLOSE, &payload)).await?;
                    timeout(Duration::from_secs(5), stream.read_to_end(&mut Vec::new())).await??;
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    return Ok((u16::from_be_bytes(*code), reason));
                }
                _ => return Err(io::Error::other(format!("received {first:#x} {payload:?}"))),
            }
        }
    }
}
