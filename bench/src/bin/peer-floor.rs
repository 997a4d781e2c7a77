//! The minimal server, a lower bound for the cost of any real one: `peer-floor PORT PING_INTERVAL
//! [PUBLISHER]`.
//!
//! It answers pings, sends pings, drops messages, and closes with 1001 on SIGTERM, in one thread with
//! one read and one write for each readiness event. It omits everything else: it does not parse the
//! request, assumes the key of RFC 6455's example (whose accept value is a constant), checks neither
//! masks nor lengths nor UTF-8, expects no pong, drops output for a client that does not read, and has
//! no deadlines, no limits, no log and no metrics. It is a baseline for measurements, and not for
//! deployment.
//!
//! A published state becomes one frame that all sessions share, and one write for each session. A
//! session whose socket does not accept all of it keeps its offset in the frame, sends nothing else, and
//! gets the newest state after that frame.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bench::floor::FloorInput;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use socket2::{Domain, SockRef, Socket, Type};

const PING: &[u8] = &[0x89, 0];
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

const SEND_BUFFER: usize = 64 << 10;

/// Epoll tokens that are not slots of connections.
const LISTENER: u64 = u64::MAX;
const SIGNAL: u64 = u64::MAX - 1;
const PUBLISHER: u64 = u64::MAX - 2;

/// Time for clients to answer the Close frame of the shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

struct Connection {
    stream: TcpStream,
    input: FloorInput,
    /// Whether a state is partly written; nothing else may be sent before its end.
    is_lagging: bool,
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
        // A small send buffer: states buffered for a slow reader are old when it reads them. Connections
        // inherit the option.
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
    let mut pinger = Pinger { last_at: Instant::now(), next: 0 };
    let mut deadline: Option<Instant> = None;
    let mut buffer = vec![0; 1 << 16];
    let mut output = Vec::with_capacity(1 << 16);
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let is_empty = free.len() == connections.len();
        if deadline.is_some_and(|deadline| is_empty || Instant::now() > deadline) {
            return Ok(());
        }
        let is_timed = interval.is_some() || deadline.is_some();
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
                    deadline = Some(Instant::now() + CLOSE_TIMEOUT);
                    for connection in connections.iter_mut().flatten().filter(|it| it.input.is_open)
                    {
                        connection.send(GOING_AWAY);
                        connection.input.close_sent = true;
                    }
                    continue;
                }
                PUBLISHER => {
                    if let Some(publisher) = &publisher {
                        fan_out.publish(publisher, &epoll, &mut connections)?;
                    }
                    continue;
                }
                slot => usize::try_from(slot)?,
            };
            let Some(connection) = connections[slot].as_mut() else { continue };
            if event.events().contains(EpollFlags::EPOLLOUT) {
                fan_out.on_writable(slot, connection, &epoll)?;
            }
            let is_due = event.events() != EpollFlags::EPOLLOUT;
            if is_due && !connection.on_readable(&mut buffer, &mut output) {
                connections[slot] = None;
                fan_out.lagging.remove(&slot);
                free.push(slot);
            }
        }
        if let Some(interval) = interval.filter(|_| deadline.is_none()) {
            pinger.send_due(&mut connections, interval);
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
        connections[slot] =
            Some(Connection { stream, input: FloorInput::default(), is_lagging: false });
    }
    Ok(())
}

/// The broadcast of the newest state.
#[derive(Default)]
struct FanOut {
    newest: Frame,
    /// The frame and the written bytes of each connection that lags. A map instead of a field, because
    /// few connections lag.
    lagging: HashMap<usize, (Frame, usize)>,
}

type Frame = Rc<[u8]>;

impl FanOut {
    /// Reads a state from the publisher, and writes it to all sessions. Blocks on the publisher.
    fn publish(
        &mut self,
        publisher: &TcpListener,
        epoll: &Epoll,
        connections: &mut [Option<Connection>],
    ) -> Result<(), Box<dyn Error>> {
        let (mut stream, _) = publisher.accept()?;
        stream.set_nonblocking(false)?;
        // A connection that only probes the port sends no request.
        let Some(state) = body(&mut stream)? else { return Ok(()) };
        self.newest = frame(&state).into();
        for (slot, connection) in connections.iter_mut().enumerate() {
            let Some(it) =
                connection.as_mut().filter(|it| it.input.is_open && !it.input.close_sent)
            else {
                continue;
            };
            // A lagging session gets the newest state after its current frame.
            if !it.is_lagging {
                self.send(slot, it, epoll)?;
            }
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
        Ok(())
    }

    /// Writes the newest state.
    fn send(&mut self, slot: usize, to: &mut Connection, epoll: &Epoll) -> nix::Result<()> {
        // Errors are handled when the connection is read.
        let written = to.stream.write(&self.newest).unwrap_or(0);
        let is_lagging = written < self.newest.len();
        if is_lagging {
            self.lagging.insert(slot, (Rc::clone(&self.newest), written));
        }
        if is_lagging != to.is_lagging {
            to.is_lagging = is_lagging;
            let writable = if is_lagging { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN | writable, slot as u64);
            epoll.modify(&to.stream, &mut event)?;
        }
        Ok(())
    }

    /// Continues on a writable socket: writes the rest of the current frame, then the newest state.
    fn on_writable(&mut self, slot: usize, to: &mut Connection, epoll: &Epoll) -> nix::Result<()> {
        let Some((frame, written)) = self.lagging.get_mut(&slot) else { return Ok(()) };
        // A frame of which nothing was written is skipped.
        if *written > 0 {
            *written += to.stream.write(&frame[*written..]).unwrap_or(0);
            if *written < frame.len() {
                return Ok(());
            }
        }
        let has_newest = *written > 0 && Rc::ptr_eq(frame, &self.newest);
        self.lagging.remove(&slot);
        if !has_newest {
            return self.send(slot, to, epoll);
        }
        to.is_lagging = false;
        epoll.modify(&to.stream, &mut EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))
    }
}

/// Reads the body of a request; `None` if the peer closes before its end.
fn body(stream: &mut TcpStream) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    let (mut chunk, mut range) = ([0; 1 << 12], None);
    while range.is_none_or(|(_, end)| bytes.len() < end) {
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            let head = str::from_utf8(&bytes[..end])?;
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.ok_or("a request without a length")?.parse()?;
            range = Some((end + 4, end + 4 + length));
        }
    }
    Ok(range.map(|(start, end)| bytes[start..end].to_vec()))
}

/// Encodes a server's text frame.
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

/// Spreads the pings over the interval.
struct Pinger {
    last_at: Instant,
    next: usize,
}

impl Pinger {
    fn send_due(&mut self, connections: &mut [Option<Connection>], interval: Duration) {
        if connections.is_empty() {
            return;
        }
        let step = interval.div_f64(connections.len() as f64);
        while self.last_at.elapsed() > step {
            self.last_at += step;
            self.next = (self.next + 1) % connections.len();
            if let Some(connection) = connections[self.next].as_mut().filter(|it| it.input.is_open)
            {
                connection.send(PING);
            }
        }
    }
}

impl Connection {
    /// Writes once; bytes that the socket does not accept are lost.
    fn send(&mut self, bytes: &[u8]) {
        if !self.is_lagging {
            let _ = self.stream.write(bytes);
        }
    }

    /// Reads once, answers once, and returns whether the connection stays open.
    fn on_readable(&mut self, buffer: &mut [u8], output: &mut Vec<u8>) -> bool {
        let kept = self.input.take_partial(buffer);
        let filled = match self.stream.read(&mut buffer[kept..]) {
            Ok(0) => return false,
            Ok(count) => kept + count,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        output.clear();
        let stays_open = self.input.process(&buffer[..filled], output);
        if !output.is_empty() {
            self.send(output);
        }
        stays_open
    }
}
