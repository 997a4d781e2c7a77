//! Clients that send as fast as they can, and come back as soon as they are cut off.

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
use crate::load::http2::{self, Http2, News};

/// What is written at once.
const BLOCK: usize = 256 << 10;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a writer that is stuck looks whether it is over.
const GLANCE: Duration = Duration::from_millis(100);

/// How a server is reached.
#[derive(Clone)]
pub enum Target {
    Tcp(SocketAddr),
    Tls(SocketAddr, Arc<ClientConfig>),
    Unix(PathBuf),
}

/// What it is flooded with.
#[derive(Clone, Copy)]
pub enum Flood {
    /// Pings of a WebSocket without payload.
    Pings,
    /// Records of TLS without payload.
    EmptyRecords,
    /// Frames of HTTP/2 beside so many sessions.
    Http2 { sessions: usize, frames: &'static [Http2Frame] },
}

/// A frame of HTTP/2, up to its payload.
pub struct Http2Frame {
    pub kind: u8,
    pub stream: u8,
    pub payload: &'static [u8],
}

/// What all attackers together came to.
#[derive(Default)]
pub struct Deeds {
    /// Connections on which the flood began.
    pub lives: AtomicUsize,
    pub bytes: AtomicUsize,
    is_over: AtomicBool,
}

impl Deeds {
    /// Tells the attackers to go.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn go_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }
}

/// Starts an attacker in a thread of its own, which gives back why it was last cut off.
#[must_use]
pub fn start(target: Target, flood: Flood, deeds: &Arc<Deeds>) -> JoinHandle<Option<io::Error>> {
    let deeds = Arc::clone(deeds);
    thread::spawn(move || {
        let mut last = None;
        while deeds.go_on() {
            last = live(&target, flood, &deeds).err().or(last);
        }
        last
    })
}

/// One connection, to its end.
fn live(target: &Target, flood: Flood, deeds: &Deeds) -> io::Result<()> {
    match target {
        Target::Tcp(server) => {
            let mut stream = tcp(*server)?;
            let bytes = begin(&mut stream, flood)?;
            // What the server answers is read, or it would stop reading what is sent.
            stream.set_read_timeout(Some(GLANCE))?;
            let reader = stream.try_clone()?;
            beside(reader, deeds, || repeat(&mut stream, &bytes, deeds))
        }
        Target::Unix(path) => {
            let mut stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(GLANCE))?;
            let bytes = begin(&mut stream, flood)?;
            stream.set_read_timeout(Some(GLANCE))?;
            let reader = stream.try_clone()?;
            beside(reader, deeds, || repeat(&mut stream, &bytes, deeds))
        }
        Target::Tls(server, config) => {
            let name = server.ip().into();
            let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(tls, tcp(*server)?);
            let bytes = begin(&mut stream, flood)?;
            match flood {
                Flood::EmptyRecords => send_empty_records(stream, deeds),
                Flood::Pings | Flood::Http2 { .. } => repeat(&mut stream, &bytes, deeds),
            }
        }
    }
}

fn tcp(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(GLANCE))?;
    Ok(stream)
}

/// Opens the session or the sessions, and gives back what comes then, again and again.
fn begin(stream: &mut (impl Read + Write), flood: Flood) -> io::Result<Vec<u8>> {
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
    if head.starts_with(b"HTTP/1.1 101") { Ok(()) } else { Err(refused(&head)) }
}

fn refused(answer: &[u8]) -> io::Error {
    io::Error::other(format!("refused: {:.40}", String::from_utf8_lossy(answer)))
}

fn open_sessions(stream: &mut (impl Read + Write), sessions: usize) -> io::Result<()> {
    let mut http2 = Http2::start();
    let (mut asked, mut opened) = (0, 0);
    let (mut inbox, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    while opened < sessions {
        stream.write_all(&http2.outbox)?;
        http2.outbox.clear();
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        inbox.extend_from_slice(&buffer[..count]);
        let mut rest = &inbox[..];
        while let Some((frame, behind)) = http2::split(rest) {
            rest = behind;
            match http2.hear(frame)? {
                Some((_, News::Opened)) => opened += 1,
                Some((_, News::Bytes(_) | News::Ended)) | None => {}
            }
        }
        inbox = rest.to_vec();
        while http2.is_ready && asked < sessions {
            http2.ask();
            asked += 1;
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

/// Does something, and reads away what comes meanwhile.
fn beside<T>(mut reader: impl Read + Send, deeds: &Deeds, what: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 64 << 10];
            while deeds.go_on() && !is_done.load(Ordering::Relaxed) {
                match reader.read(&mut buffer) {
                    Ok(1..) => {}
                    Err(error) if is_stuck(&error) => {}
                    Ok(0) | Err(_) => break,
                }
            }
        });
        let result = what();
        is_done.store(true, Ordering::Relaxed);
        result
    })
}

/// Writes these bytes again and again, until it is cut off or told to end.
fn repeat(stream: &mut impl Write, bytes: &[u8], deeds: &Deeds) -> io::Result<()> {
    let block = bytes.repeat(BLOCK / bytes.len());
    deeds.lives.fetch_add(1, Ordering::Relaxed);
    while deeds.go_on() {
        pour(stream, &block, deeds)?;
    }
    Ok(())
}

/// Writes a block, unless it is over before its end.
fn pour(stream: &mut impl Write, mut block: &[u8], deeds: &Deeds) -> io::Result<()> {
    while !block.is_empty() && deeds.go_on() {
        match stream.write(block) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                deeds.bytes.fetch_add(count, Ordering::Relaxed);
                block = &block[count..];
            }
            Err(error) if is_stuck(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether it has waited for a glance in vain.
fn is_stuck(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Writes records without payload (RFC 8446, section 5.1), which no library does: they are encrypted
/// here, with the keys of the connection.
fn send_empty_records(
    stream: StreamOwned<ClientConnection, TcpStream>,
    deeds: &Deeds,
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
    deeds.lives.fetch_add(1, Ordering::Relaxed);
    let mut block = Vec::with_capacity(BLOCK);
    while deeds.go_on() {
        block.clear();
        while block.len() < BLOCK / 4 {
            block.extend(empty_record(&key, iv.as_ref(), number)?);
            number += 1;
        }
        pour(&mut sock, &block, deeds)?;
    }
    Ok(())
}

/// The record with this number (RFC 8446, sections 5.2 and 5.3).
fn empty_record(key: &LessSafeKey, iv: &[u8], number: u64) -> io::Result<[u8; 22]> {
    const APPLICATION_DATA: u8 = 23;
    const HEAD: [u8; 5] = [APPLICATION_DATA, 3, 3, 0, 17];
    let mut nonce = [0; aead::NONCE_LEN];
    nonce.copy_from_slice(iv);
    for (byte, of_number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= of_number;
    }
    // Without payload there is only the kind of the record.
    let mut inner = [APPLICATION_DATA];
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(HEAD), &mut inner);
    let mut record = [0; 22];
    record[..5].copy_from_slice(&HEAD);
    record[5] = inner[0];
    record[6..].copy_from_slice(tag.map_err(io::Error::other)?.as_ref());
    Ok(record)
}
