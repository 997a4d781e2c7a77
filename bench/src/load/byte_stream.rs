//! The byte stream of a connection: TCP, or TLS over TCP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};

pub(super) struct ByteStream {
    pub(super) stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    is_connected: bool,
}

impl ByteStream {
    pub(super) fn start(
        server: SocketAddr,
        source: Ipv4Addr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => {
                return Err(error);
            }
            _ => {}
        }
        let tls = tls.map(|config| {
            let mut tls = ClientConnection::new(Arc::clone(config), server.ip().into())
                .map_err(io::Error::other)?;
            // No limit: the mode bounds the output.
            tls.set_buffer_limit(None);
            io::Result::Ok(Box::new(tls))
        });
        Ok(Self { stream: socket.into(), tls: tls.transpose()?, is_connected: false })
    }

    /// Whether it is connected, and TLS is established.
    pub(super) fn is_ready(&self) -> bool {
        self.is_connected && self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    /// Whether it waits for the socket to become writable: to connect, or to write TLS records.
    pub(super) fn wants_write(&self) -> bool {
        !self.is_connected || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Called when the socket is writable: completes the connect, and writes pending TLS records.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.is_connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            self.is_connected = true;
        }
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                outcome => outcome?,
            };
        }
        Ok(())
    }

    /// Writes as much as the socket accepts. Over TLS, accepted bytes are sent by later flushes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.tls {
            None => return self.stream.write(bytes),
            Some(tls) if tls.wants_write() => return Err(ErrorKind::WouldBlock.into()),
            Some(tls) => tls.writer().write(bytes)?,
        };
        self.flush()?;
        Ok(count)
    }

    /// Reads once. Over TLS a read may yield no plaintext (`WouldBlock`).
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.read(buffer) };
        tls.read_tls(&mut self.stream)?;
        tls.process_new_packets().map_err(io::Error::other)?;
        let count = tls.reader().read(buffer);
        self.flush()?;
        count
    }

    /// Makes closing reset the connection, so that neither end keeps it in TIME_WAIT.
    pub(super) fn reset_on_close(&self) {
        // Best effort.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}
