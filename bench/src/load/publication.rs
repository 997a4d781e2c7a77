//! A state on its way to a peer, which is to send it to all its sessions.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a peer may take until it has handed a state on.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Publication {
    stream: TcpStream,
    /// When it was asked for; connecting does not count.
    began: Instant,
}

impl Publication {
    /// Hands a state to the peer, and does not wait for the answer.
    pub(super) fn start(publisher: SocketAddr, state: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(publisher)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let length = state.len();
        let request = format!(
            "POST /publish HTTP/1.1\r\nHost: {publisher}\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{state}"
        );
        let began = Instant::now();
        stream.write_all(request.as_bytes())?;
        Ok(Self { stream, began })
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for the answer.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut answer = Vec::new();
        self.stream.read_to_end(&mut answer)?;
        if answer.starts_with(b"HTTP/1.1 204 ") {
            return Ok(());
        }
        let answer = String::from_utf8_lossy(&answer);
        let line = answer.lines().next().unwrap_or("nothing");
        Err(io::Error::other(format!("the publisher answered {line:?}")))
    }
}
