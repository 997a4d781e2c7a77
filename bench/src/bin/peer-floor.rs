//! The least that a server can do, which no real one can undercut: `peer-floor PORT PING_INTERVAL`.
//!
//! It answers pings, sends its own, drops messages, and says 1001 at the end, in one thread with
//! one read and one write for each wake-up. It leaves out everything else: it looks at no request,
//! takes every key for the one of RFC 6455's example (whose accept value is a constant), checks neither
//! masks nor lengths nor UTF-8, waits for no pong, lets a client that does not read lose bytes, and
//! has no deadlines, no limits, no log and no metrics. It is a yardstick, and nothing to deploy.

use std::env;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use socket2::{Domain, Socket, Type};

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const PING: &[u8] = &[0x89, 0];
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

const OPCODE: u8 = 0x0f;
const OPCODE_CLOSE: u8 = 0x08;
const OPCODE_PING: u8 = 0x09;

/// What is in the way of a connection's number.
const LISTENER: u64 = u64::MAX;
const SIGNAL: u64 = u64::MAX - 1;

/// How long clients may take to answer the last Close frame.
const PATIENCE: Duration = Duration::from_secs(5);

struct Connection {
    stream: TcpStream,
    is_open: bool,
    said_close: bool,
    /// Bytes of payload that are to be skipped.
    skip: usize,
    /// A head, or a control frame, that was cut.
    rest: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [port, interval] = arguments.as_slice() else {
        return Err("usage: peer-floor PORT PING_INTERVAL_SECONDS".into());
    };
    let interval = Some(Duration::from_secs(interval.parse()?)).filter(|it| !it.is_zero());
    serve(port.parse()?, interval)
}

fn serve(port: u16, interval: Option<Duration>) -> Result<(), Box<dyn Error>> {
    let listener = listen(port)?;
    let signals = SigSet::from(Signal::SIGTERM);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK)?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNAL))?;

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut pinged = Pinged { at: Instant::now(), next: 0 };
    let mut end: Option<Instant> = None;
    let mut buffer = vec![0; 1 << 16];
    let mut output = Vec::with_capacity(1 << 16);
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let is_empty = free.len() == connections.len();
        if end.is_some_and(|end| is_empty || Instant::now() > end) {
            return Ok(());
        }
        let is_timed = interval.is_some() || end.is_some();
        let timeout = if is_timed { EpollTimeout::from(5u8) } else { EpollTimeout::NONE };
        let count = epoll.wait(&mut events, timeout)?;
        for event in &events[..count] {
            let slot = match event.data() {
                LISTENER => {
                    accept(&listener, &epoll, &mut connections, &mut free)?;
                    continue;
                }
                SIGNAL => {
                    signals.read_signal()?;
                    end = Some(Instant::now() + PATIENCE);
                    for connection in connections.iter_mut().flatten().filter(|it| it.is_open) {
                        connection.say(GOING_AWAY);
                        connection.said_close = true;
                    }
                    continue;
                }
                slot => usize::try_from(slot)?,
            };
            let connection = connections[slot].as_mut();
            if connection.is_some_and(|it| !it.goes_on(&mut buffer, &mut output)) {
                connections[slot] = None;
                free.push(slot);
            }
        }
        if let Some(interval) = interval.filter(|_| end.is_none()) {
            pinged.go_on(&mut connections, interval);
        }
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection>>,
    free: &mut Vec<usize>,
) -> std::io::Result<()> {
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let slot = free.pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))?;
        let rest = Vec::new();
        let connection = Connection { stream, is_open: false, said_close: false, skip: 0, rest };
        connections[slot] = Some(connection);
    }
    Ok(())
}

/// Pings go round, so that in every few milliseconds a few connections get theirs.
struct Pinged {
    at: Instant,
    next: usize,
}

impl Pinged {
    fn go_on(&mut self, connections: &mut [Option<Connection>], interval: Duration) {
        if connections.is_empty() {
            return;
        }
        let step = interval.div_f64(connections.len() as f64);
        while self.at.elapsed() > step {
            self.at += step;
            self.next = (self.next + 1) % connections.len();
            if let Some(connection) = connections[self.next].as_mut().filter(|it| it.is_open) {
                connection.say(PING);
            }
        }
    }
}

impl Connection {
    /// What does not go out at once is lost.
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write(bytes);
    }

    /// Reads once, answers once, and says whether the connection goes on.
    fn goes_on(&mut self, buffer: &mut [u8], output: &mut Vec<u8>) -> bool {
        let kept = self.rest.len();
        buffer[..kept].copy_from_slice(&self.rest);
        self.rest.clear();
        let filled = match self.stream.read(&mut buffer[kept..]) {
            Ok(0) => return false,
            Ok(count) => kept + count,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        output.clear();
        let goes_on = self.answer(&buffer[..filled], output);
        if !output.is_empty() {
            self.say(output);
        }
        goes_on
    }

    fn answer(&mut self, mut bytes: &[u8], output: &mut Vec<u8>) -> bool {
        if !self.is_open {
            let Some(end) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                self.rest.extend_from_slice(bytes);
                return true;
            };
            output.extend_from_slice(ANSWER);
            self.is_open = true;
            bytes = &bytes[end + 4..];
        }
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let Some((opcode, head, length)) = head(bytes) else { break };
            let is_control = opcode & OPCODE_CLOSE != 0;
            if is_control && bytes.len() < head + length {
                break;
            }
            match opcode {
                OPCODE_PING => {
                    output.extend([0x8a, length as u8]);
                    output.extend(unmasked(&bytes[head - 4..head + length]));
                }
                OPCODE_CLOSE if self.said_close => return false,
                OPCODE_CLOSE => {
                    output.extend([0x88, length as u8]);
                    output.extend(unmasked(&bytes[head - 4..head + length]));
                    return false;
                }
                _ => {}
            }
            bytes = &bytes[head..];
            self.skip = length;
        }
        self.rest.extend_from_slice(bytes);
        true
    }
}

/// The opcode of a client's frame, the length of its head with the mask, and of its payload.
fn head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let short = usize::from(bytes.get(1)? & 0x7f);
    let (head, length) = match short {
        126 => (8, usize::from(u16::from_be_bytes(*bytes[2..].first_chunk()?))),
        127 => (14, usize::try_from(u64::from_be_bytes(*bytes[2..].first_chunk()?)).ok()?),
        short => (6, short),
    };
    (bytes.len() >= head).then_some((bytes[0] & OPCODE, head, length))
}

/// The payload behind a mask.
fn unmasked(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let (mask, payload) = bytes.split_at(4);
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask)
}
