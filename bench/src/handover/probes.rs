//! New connections all the time: each opens a session, receives the newest state, and closes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::faults::{Faults, Kind};
use super::publisher::Newest;
use super::{Routes, source};
use crate::client::{CLOSE, PING, PONG, TEXT, UPGRADE, frame, next_frame};

/// Threads that probe in turn, so that a slow connection does not delay the next.
pub const THREADS: usize = 8;
/// Time between two connections.
const INTERVAL: Duration = Duration::from_millis(20);
/// Limit of each step.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The threads that probe.
pub struct Probes {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Probe>>>,
}

/// A connection that succeeded.
#[derive(Clone, Copy)]
pub struct Probe {
    /// When it began.
    pub began: Duration,
    /// The time until its first state.
    pub time: Duration,
}

impl Probes {
    /// Starts the threads. A state has to be published before.
    #[must_use]
    pub fn start(routes: Routes, newest: &Newest, faults: &Faults) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let first = Instant::now();
        let threads = (0..THREADS).map(|number| {
            let prober = Prober { number, routes, newest: newest.clone(), faults: faults.clone() };
            let (stop, first) = (Arc::clone(&stop), first + INTERVAL * number as u32);
            thread::spawn(move || prober.run(first, &stop))
        });
        Self { threads: threads.collect(), stop }
    }

    /// Stops, and returns the connections that succeeded.
    ///
    /// # Errors
    ///
    /// A thread panicked.
    pub fn finish(self) -> io::Result<Vec<Probe>> {
        self.stop.store(true, Ordering::SeqCst);
        let mut probes = Vec::new();
        for thread in self.threads {
            probes.extend(thread.join().map_err(|_| io::Error::other("a probe panicked"))?);
        }
        Ok(probes)
    }
}

/// Returns whether the server opens a session.
#[must_use]
pub fn is_served(server: SocketAddr) -> bool {
    // The session ends when its stream is dropped.
    open(server, 0).is_ok()
}

struct Prober {
    number: usize,
    routes: Routes,
    newest: Newest,
    faults: Faults,
}

impl Prober {
    fn run(&self, mut due: Instant, stop: &AtomicBool) -> Vec<Probe> {
        let mut probes = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            sleep(due.saturating_duration_since(Instant::now()));
            due = (due + INTERVAL * THREADS as u32).max(Instant::now());
            let began = self.faults.clock.now();
            match self.probe() {
                Ok(time) => probes.push(Probe { began, time }),
                Err((kind, error)) => {
                    self.faults.add(kind, format!("probe {}: {error}", self.number));
                }
            }
        }
        probes
    }

    /// Returns the time until the first state.
    fn probe(&self) -> Result<Duration, (Kind, String)> {
        let (published, began) = (self.newest.number(), Instant::now());
        let server = self.routes.of(self.number);
        let (mut stream, inbox) =
            open(server, self.number).map_err(|error| (Kind::Connect, error.to_string()))?;
        let (state, time) = receive_and_close(&mut stream, inbox, began)
            .map_err(|error| (Kind::Closed, error.to_string()))?;
        if state < published {
            return Err((Kind::OutOfOrder, format!("{state} after {published}")));
        }
        Ok(time)
    }
}

/// Opens a session, and returns what was received after the response.
fn open(server: SocketAddr, number: usize) -> io::Result<(TcpStream, Vec<u8>)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source(number), 0)).into())?;
    socket.set_tcp_nodelay(true)?;
    socket.connect_timeout(&server.into(), TIMEOUT)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(UPGRADE.as_bytes())?;
    let mut response = Vec::new();
    let end = loop {
        if let Some(end) = response.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        read(&mut stream, &mut response)?;
    };
    if !response.starts_with(b"HTTP/1.1 101 ") {
        let line = String::from_utf8_lossy(&response);
        let line = line.lines().next().unwrap_or_default();
        return Err(io::Error::other(format!("the response is {line:?}")));
    }
    Ok((stream, response.split_off(end)))
}

/// Receives a state, and the time at which it came, and closes the session.
fn receive_and_close(
    stream: &mut TcpStream,
    mut inbox: Vec<u8>,
    began: Instant,
) -> io::Result<(u64, Duration)> {
    let mut received = None;
    loop {
        while let Some((first, payload)) = next_frame(&mut inbox) {
            match first {
                TEXT if received.is_none() => {
                    let state = str::from_utf8(&payload).ok().and_then(|text| text.parse().ok());
                    let state = state.ok_or_else(|| io::Error::other("not a state"))?;
                    received = Some((state, began.elapsed()));
                    stream.write_all(&frame(CLOSE, &1000_u16.to_be_bytes()))?;
                }
                TEXT | PONG => {}
                PING => stream.write_all(&frame(PONG, &payload))?,
                CLOSE if payload == 1000_u16.to_be_bytes() => {
                    stream.read_to_end(&mut Vec::new())?;
                    return received.ok_or_else(|| io::Error::other("closed without a state"));
                }
                _ => return Err(io::Error::other(format!("received {first:#x} {payload:?}"))),
            }
        }
        read(stream, &mut inbox)?;
    }
}

/// Reads once. An end of the stream is an error.
fn read(stream: &mut TcpStream, inbox: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer)? {
        0 => Err(io::Error::other("the connection was ended")),
        count => {
            inbox.extend_from_slice(&buffer[..count]);
            Ok(())
        }
    }
}
