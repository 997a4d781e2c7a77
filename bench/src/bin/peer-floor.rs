//! The least that a server can do, which no real one can undercut: `peer-floor PORT PING_INTERVAL
//! [PUBLISHER]`.
//!
//! It answers pings, sends its own, drops messages, and says 1001 at the end, in one thread with
//! one read and one write for each wake-up. It leaves out everything else: it looks at no request,
//! takes every key for the one of RFC 6455's example (whose accept value is a constant), checks neither
//! masks nor lengths nor UTF-8, waits for no pong, lets a client that does not read lose bytes, and
//! has no deadlines, no limits, no log and no metrics. It is a yardstick, and nothing to deploy.
//!
//! What is published becomes one frame for all, and one write for each. Whoever has no room for all of
//! it keeps how far it has got, says nothing else, and gets the newest one when that is through.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use socket2::{Domain, SockRef, Socket, Type};

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const PING: &[u8] = &[0x89, 0];
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

const SEND_BUFFER: usize = 64 << 10;

const OPCODE: u8 = 0x0f;
const OPCODE_CLOSE: u8 = 0x08;
const OPCODE_PING: u8 = 0x09;

/// What is in the way of a connection's number.
const LISTENER: u64 = u64::MAX;
const SIGNAL: u64 = u64::MAX - 1;
const PUBLISHER: u64 = u64::MAX - 2;

/// How long clients may take to answer the last Close frame.
const PATIENCE: Duration = Duration::from_secs(5);

struct Connection {
    stream: TcpStream,
    is_open: bool,
    said_close: bool,
    /// Whether a state is on its way, with nothing in between.
    is_behind: bool,
    /// Bytes of payload that are to be skipped.
    skip: usize,
    /// A head, or a control frame, that was cut.
    rest: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [port, interval, publisher @ ..] = arguments.as_slice() else {
        return Err("usage: peer-floor PORT PING_INTERVAL_SECONDS [PUBLISHER]".into());
    };
    let interval = Some(Duration::from_secs(interval.parse()?)).filter(|it| !it.is_zero());
    let publisher = publisher.first().map(|port| port.parse()).transpose()?;
    serve(port.parse()?, interval, publisher)
}

fn serve(
    port: u16,
    interval: Option<Duration>,
    publisher: Option<u16>,
) -> Result<(), Box<dyn Error>> {
    let listener = listen(port)?;
    let publisher = publisher.map(listen).transpose()?;
    if publisher.is_some() {
        // Whatever the system keeps for a slow reader is old when it is read. Connections inherit it.
        SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER)?;
    }
    let signals = SigSet::from(Signal::SIGTERM);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK)?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    if let Some(publisher) = &publisher {
        epoll.add(publisher, EpollEvent::new(EpollFlags::EPOLLIN, PUBLISHER))?;
    }
    epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNAL))?;

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut fan_out = FanOut::default();
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
                PUBLISHER => {
                    if let Some(publisher) = &publisher {
                        fan_out.take(publisher, &epoll, &mut connections)?;
                    }
                    continue;
                }
                slot => usize::try_from(slot)?,
            };
            let Some(connection) = connections[slot].as_mut() else { continue };
            if event.events().contains(EpollFlags::EPOLLOUT) {
                fan_out.go_on(slot, connection, &epoll)?;
            }
            let is_due = event.events() != EpollFlags::EPOLLOUT;
            if is_due && !connection.goes_on(&mut buffer, &mut output) {
                connections[slot] = None;
                fan_out.behind.remove(&slot);
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
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))?;
        connections[slot] = Some(Connection {
            stream,
            is_open: false,
            said_close: false,
            is_behind: false,
            skip: 0,
            rest: Vec::new(),
        });
    }
    Ok(())
}

/// What everyone gets.
#[derive(Default)]
struct FanOut {
    newest: Frame,
    /// How much of which frame is out where there was no room for all of it. Few are, so it is none of a
    /// connection's bytes.
    behind: HashMap<usize, (Frame, usize)>,
}

type Frame = Rc<[u8]>;

impl FanOut {
    /// Takes a state from the publisher, who is waited for.
    fn take(
        &mut self,
        publisher: &TcpListener,
        epoll: &Epoll,
        connections: &mut [Option<Connection>],
    ) -> Result<(), Box<dyn Error>> {
        let (mut stream, _) = publisher.accept()?;
        stream.set_nonblocking(false)?;
        // Whoever only looks whether somebody listens sends nothing.
        let Some(state) = body(&mut stream)? else { return Ok(()) };
        self.newest = frame(&state).into();
        for (slot, connection) in connections.iter_mut().enumerate() {
            let Some(it) = connection.as_mut().filter(|it| it.is_open && !it.said_close) else {
                continue;
            };
            // The others get this one when they are through with theirs.
            if !it.is_behind {
                self.send(slot, it, epoll)?;
            }
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
        Ok(())
    }

    /// Writes the newest one.
    fn send(&mut self, slot: usize, to: &mut Connection, epoll: &Epoll) -> nix::Result<()> {
        // A connection that is lost says so when it is read.
        let written = to.stream.write(&self.newest).unwrap_or(0);
        let is_behind = written < self.newest.len();
        if is_behind {
            self.behind.insert(slot, (Rc::clone(&self.newest), written));
        }
        if is_behind != to.is_behind {
            to.is_behind = is_behind;
            let room = if is_behind { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN | room, slot as u64);
            epoll.modify(&to.stream, &mut event)?;
        }
        Ok(())
    }

    /// There is room again: the rest of what is on its way, and then the newest one.
    fn go_on(&mut self, slot: usize, to: &mut Connection, epoll: &Epoll) -> nix::Result<()> {
        let Some((frame, written)) = self.behind.get_mut(&slot) else { return Ok(()) };
        // One that has not begun is not needed any more.
        if *written > 0 {
            *written += to.stream.write(&frame[*written..]).unwrap_or(0);
            if *written < frame.len() {
                return Ok(());
            }
        }
        let has_newest = *written > 0 && Rc::ptr_eq(frame, &self.newest);
        self.behind.remove(&slot);
        if !has_newest {
            return self.send(slot, to, epoll);
        }
        to.is_behind = false;
        epoll.modify(&to.stream, &mut EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))
    }
}

/// The body of a request, if there is one.
fn body(stream: &mut TcpStream) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    let (mut piece, mut whole) = ([0; 1 << 12], None);
    while whole.is_none_or(|(_, end)| bytes.len() < end) {
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&piece[..count]),
        }
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            let head = str::from_utf8(&bytes[..end])?;
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.ok_or("a request without a length")?.parse()?;
            whole = Some((end + 4, end + 4 + length));
        }
    }
    Ok(whole.map(|(start, end)| bytes[start..end].to_vec()))
}

/// A server's frame with a text.
fn frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()) {
        Ok(short @ 0..126) => frame.push(short.to_be_bytes()[1]),
        Ok(medium) => frame.extend([&[126], medium.to_be_bytes().as_slice()].concat()),
        Err(_) => frame.extend([&[127], (text.len() as u64).to_be_bytes().as_slice()].concat()),
    }
    frame.extend(text);
    frame
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
        if !self.is_behind {
            let _ = self.stream.write(bytes);
        }
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
