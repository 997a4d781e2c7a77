//! Clients that connect continuously.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{UPGRADE, close};

/// Clients that open and close sessions continuously.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let (is_over, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (is_over, opened) = (Arc::clone(&is_over), Arc::clone(&opened));
            thread::spawn(move || {
                let mut failures = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    match open_and_close(address) {
                        Ok(()) => opened.fetch_add(1, Ordering::Relaxed),
                        Err(failure) => {
                            failures.push(failure);
                            0
                        }
                    };
                }
                failures
            })
        };
        let clients = (0..4).map(client).collect();
        Self { is_over, opened, clients }
    }

    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn expect_no_failure(self, at_least: usize) {
        self.is_over.store(true, Ordering::Relaxed);
        let failures: Vec<String> =
            self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(failures.is_empty(), "{} failed: {:?}", failures.len(), failures.first());
        let opened = self.opened.load(Ordering::Relaxed);
        assert!(opened >= at_least, "{opened}");
    }
}

/// Opens and closes a session. A close by the server is no failure.
fn open_and_close(address: SocketAddr) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(UPGRADE.as_bytes()).map_err(|error| format!("request: {error}"))?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).map_err(|error| format!("response: {error}"))?;
    if &status != b"HTTP/1.1 101" {
        return Err(format!("response: {}", String::from_utf8_lossy(&status)));
    }
    let _ = stream.write_all(&close(1000, ""));
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err("the stream does not end".to_owned())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}
