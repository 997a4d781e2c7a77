//! The byte stream of a connection: TCP, or TLS over TCP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client;

pub(super) struct ByteStream {
    tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl ByteStream {
    /// Connects, and completes the handshake of TLS.
    pub(super) async fn connect(
        server: SocketAddr,
        source: Ipv4Addr,
        receive_buffer: Option<u32>,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let tcp = client::connect(server, source, receive_buffer).await?;
        let tls = tls.map(|config| {
            let tls = ClientConnection::new(Arc::clone(config), server.ip().into());
            tls.map(Box::new).map_err(io::Error::other)
        });
        let mut stream = Self { tcp, tls: tls.transpose()? };
        stream.flush().await?;
        while stream.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            if stream.receive_records().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            stream.flush().await?;
        }
        Ok(stream)
    }

    /// Reads once; 0 is the end. Nothing is lost if the future is dropped.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(tls) = &mut self.tls else {
                self.tcp.readable().await?;
                match self.tcp.try_read(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    outcome => return outcome,
                }
            };
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            if self.receive_records().await? == 0 {
                return Ok(0); // Without a close_notify.
            }
        }
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.tcp.write_all(bytes).await,
            Some(tls) => {
                tls.writer().write_all(bytes)?;
                self.flush().await
            }
        }
    }

    /// Ends the client's side, over TLS with a close_notify.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush().await?;
        self.tcp.shutdown().await
    }

    /// Makes dropping this value reset the connection.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        self.tcp.set_zero_linger()
    }

    /// Reads TLS records, and returns the number of their bytes.
    async fn receive_records(&mut self) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return Ok(0) };
        loop {
            self.tcp.readable().await?;
            match tls.read_tls(&mut WithoutWaiting(&self.tcp)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => {
                    let count = outcome?;
                    tls.process_new_packets().map_err(io::Error::other)?;
                    return Ok(count);
                }
            }
        }
    }

    /// Writes the TLS records that are pending.
    async fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            self.tcp.writable().await?;
            match tls.write_tls(&mut WithoutWaiting(&self.tcp)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => _ = outcome?,
            }
        }
        Ok(())
    }
}

/// The socket as rustls uses it.
struct WithoutWaiting<'a>(&'a TcpStream);

impl Read for WithoutWaiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for WithoutWaiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
