//! Flooding clients: they send as fast as they can, and reconnect when they are disconnected.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets, StreamOwned};

use crate::client::{PING, UPGRADE, frame};
use crate::load::http2::{self, Http2, StreamEvent};

/// Bytes of one write.
const BLOCK: usize = 256 << 10;
/// Limit of the wait for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Socket timeout during the flood: how often a blocked reader or writer checks whether to stop.
const IO_TIMEOUT: Duration = Duration::from_millis(100);

/// The listener to connect to.
#[derive(Clone)]
pub enum Target {
    Tcp(SocketAddr),
    Tls(SocketAddr, Arc<ClientConfig>),
    Unix(PathBuf),
}

/// The kind of flood.
#[derive(Clone, Copy)]
pub enum Flood {
    /// WebSocket pings without payload.
    Pings,
    /// TLS records without payload.
    EmptyRecords,
    /// HTTP/2 frames on a connection with open sessions.
    Http2 { sessions: usize, frames: &'static [Http2Frame] },
}

/// An HTTP/2 frame without flags.
pub struct Http2Frame {
    pub kind: u8,
    pub stream: u8,
    pub payload: &'static [u8],
}

/// Totals over all attackers, and their stop flag.
#[derive(Default)]
pub struct Counters {
    /// Connections on which a flood started.
    pub connections: AtomicUsize,
    pub bytes: AtomicUsize,
    is_stopped: AtomicBool,
}

impl Counters {
    /// Stops the attackers.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    fn is_running(&self) -> bool {
        !self.is_stopped.load(Ordering::Relaxed)
    }
}

/// Starts an attacker in a separate thread, which returns the last error.
#[must_use]
pub fn start(
    target: Target,
    flood: Flood,
    counters: &Arc<Counters>,
) -> JoinHandle<Option<io::Error>> {
    let counters = Arc::clone(counters);
    thread::spawn(move || {
        let mut last = None;
        while counters.is_running() {
            last = run_connection(&target, flood, &counters).err().or(last);
        }
        last
    })
}

/// Runs one connection to its end.
fn run_connection(target: &Target, flood: Flood, counters: &Counters) -> io::Result<()> {
    match target {
        Target::Tcp(server) => {
            let mut stream = tcp(*server)?;
            let bytes = open(&mut stream, flood)?;
            // Read the answers; otherwise the server would stop reading.
            stream.set_read_timeout(Some(IO_TIMEOUT))?;
            let reader = stream.try_clone()?;
            while_discarding_input(reader, counters, || repeat(&mut stream, &bytes, counters))
        }
        Target::Unix(path) => {
            let mut stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
            stream.set_write_timeout(Some(IO_TIMEOUT))?;
            let bytes = open(&mut stream, flood)?;
            stream.set_read_timeout(Some(IO_TIMEOUT))?;
            let reader = stream.try_clone()?;
            while_discarding_input(reader, counters, || repeat(&mut stream, &bytes, counters))
        }
        Target::Tls(server, config) => {
            let name = server.ip().into();
            let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(tls, tcp(*server)?);
            let bytes = open(&mut stream, flood)?;
            match flood {
                Flood::EmptyRecords => send_empty_records(stream, counters),
                Flood::Pings | Flood::Http2 { .. } => repeat(&mut stream, &bytes, counters),
            }
        }
    }
}

fn tcp(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    Ok(stream)
}

/// Opens the sessions, and returns the bytes that the flood repeats.
fn open(stream: &mut (impl Read + Write), flood: Flood) -> io::Result<Vec<u8>> {
    match flood {
        Flood::Pings => upgrade(stream).map(|()| frame(PING, b"")),
        Flood::EmptyRecords => upgrade(stream).map(|()| Vec::new()),
        Flood::Http2 { sessions, frames } => {
            open_sessions(stream, sessions)?;
            Ok(frames.iter().flat_map(Http2Frame::encoded).collect())
        }
    }
}

fn upgrade(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(UPGRADE.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    if head.starts_with(b"HTTP/1.1 101") { Ok(()) } else { Err(refusal(&head)) }
}

fn refusal(answer: &[u8]) -> io::Error {
    io::Error::other(format!("refused: {:.40}", String::from_utf8_lossy(answer)))
}

fn open_sessions(stream: &mut (impl Read + Write), sessions: usize) -> io::Result<()> {
    let mut http2 = Http2::start();
    let (mut requested, mut opened) = (0, 0);
    let (mut received, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    while opened < sessions {
        stream.write_all(&http2.outbox)?;
        http2.outbox.clear();
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&buffer[..count]);
        let mut rest = &received[..];
        while let Some((frame, after)) = http2::split(rest) {
            rest = after;
            match http2.on_frame(frame)? {
                Some((_, StreamEvent::Opened)) => opened += 1,
                Some((_, StreamEvent::Refused | StreamEvent::LastBytes(_))) => {
                    return Err(io::Error::other("the server refused a stream"));
                }
                Some((_, StreamEvent::Bytes(_) | StreamEvent::Ended)) | None => {}
            }
        }
        received = rest.to_vec();
        while http2.allows_websocket && requested < sessions {
            http2.request();
            requested += 1;
        }
    }
    Ok(())
}

impl Http2Frame {
    fn encoded(&self) -> Vec<u8> {
        let length = u8::try_from(self.payload.len()).unwrap_or(u8::MAX);
        [&[0, 0, length, self.kind, 0, 0, 0, 0, self.stream], self.payload].concat()
    }
}

/// Runs `work`, and discards input meanwhile.
fn while_discarding_input<T>(
    mut reader: impl Read + Send,
    counters: &Counters,
    work: impl FnOnce() -> T,
) -> T {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 64 << 10];
            while counters.is_running() && !is_done.load(Ordering::Relaxed) {
                match reader.read(&mut buffer) {
                    Ok(1..) => {}
                    Err(error) if is_timeout(&error) => {}
                    Ok(0) | Err(_) => break,
                }
            }
        });
        let result = work();
        is_done.store(true, Ordering::Relaxed);
        result
    })
}

/// Writes these bytes repeatedly, until it is disconnected or stopped.
fn repeat(stream: &mut impl Write, bytes: &[u8], counters: &Counters) -> io::Result<()> {
    let block = bytes.repeat(BLOCK / bytes.len());
    counters.connections.fetch_add(1, Ordering::Relaxed);
    while counters.is_running() {
        write_block(stream, &block, counters)?;
    }
    Ok(())
}

/// Writes a block, unless the flood is stopped.
fn write_block(stream: &mut impl Write, mut block: &[u8], counters: &Counters) -> io::Result<()> {
    while !block.is_empty() && counters.is_running() {
        match stream.write(block) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                counters.bytes.fetch_add(count, Ordering::Relaxed);
                block = &block[count..];
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the socket timeout has passed.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Writes records without payload (RFC 8446, section 5.1). TLS libraries do not send them, so they are
/// encrypted here with the keys of the connection.
fn send_empty_records(
    stream: StreamOwned<ClientConnection, TcpStream>,
    counters: &Counters,
) -> io::Result<()> {
    let StreamOwned { conn, mut sock, .. } = stream;
    let (mut number, secrets) = conn.dangerous_extract_secrets().map_err(io::Error::other)?.tx;
    let (algorithm, key, iv) = match &secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (&aead::CHACHA20_POLY1305, key, iv)
        }
        _ => return Err(ErrorKind::Unsupported.into()),
    };
    let key = UnboundKey::new(algorithm, key.as_ref()).map_err(io::Error::other)?;
    let key = LessSafeKey::new(key);
    counters.connections.fetch_add(1, Ordering::Relaxed);
    let mut block = Vec::with_capacity(BLOCK);
    while counters.is_running() {
        block.clear();
        while block.len() < BLOCK / 4 {
            block.extend(empty_record(&key, iv.as_ref(), number)?);
            number += 1;
        }
        write_block(&mut sock, &block, counters)?;
    }
    Ok(())
}

/// Encrypts the empty record with this sequence number (RFC 8446, sections 5.2 and 5.3).
fn empty_record(key: &LessSafeKey, iv: &[u8], number: u64) -> io::Result<[u8; 22]> {
    const APPLICATION_DATA: u8 = 23;
    const HEAD: [u8; 5] = [APPLICATION_DATA, 3, 3, 0, 17];
    let mut nonce = [0; aead::NONCE_LEN];
    nonce.copy_from_slice(iv);
    for (byte, of_number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= of_number;
    }
    // The plaintext is only the content type.
    let mut inner = [APPLICATION_DATA];
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(HEAD), &mut inner);
    let mut record = [0; 22];
    record[..5].copy_from_slice(&HEAD);
    record[5] = inner[0];
    record[6..].copy_from_slice(tag.map_err(io::Error::other)?.as_ref());
    Ok(record)
}
