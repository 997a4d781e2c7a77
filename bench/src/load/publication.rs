//! One `POST /publish` to a peer, which broadcasts the state to its sessions.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Limit of the request.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Publication {
    stream: TcpStream,
    /// Time of the request, after connecting.
    started: Instant,
}

impl Publication {
    /// Sends a state to the peer, without waiting for the response.
    pub(super) fn start(publisher: SocketAddr, state: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(publisher)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let length = state.len();
        let request = format!(
            "POST /publish HTTP/1.1\r\nHost: {publisher}\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{state}"
        );
        let started = Instant::now();
        stream.write_all(request.as_bytes())?;
        Ok(Self { stream, started })
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits for the response.
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
