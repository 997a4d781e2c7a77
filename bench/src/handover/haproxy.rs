//! HAProxy in front of the server, as in `deploy/proxies/haproxy.cfg`, but without retries: those would hide
//! a connection that the server refuses.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Connections beside the sessions. Each has two descriptors.
const SPARE: usize = 500;

/// A running HAProxy. Dropping this value kills it.
pub struct Haproxy(Child);

impl Haproxy {
    /// Starts HAProxy for this many sessions, and waits until it listens.
    ///
    /// # Errors
    ///
    /// HAProxy cannot be started, or does not listen in time.
    pub fn start(
        folder: &Path,
        listen: SocketAddr,
        server: SocketAddr,
        sessions: usize,
    ) -> io::Result<Self> {
        let configuration = format!(
            "global\n    maxconn {}\n\
             defaults\n    mode http\n    timeout connect 10s\n    timeout http-request 10s\n    \
             timeout client 60s\n    timeout server 60s\n    timeout tunnel 60s\n    retries 0\n\
             frontend clients\n    bind {listen}\n    default_backend ws_status\n\
             backend ws_status\n    server node {server}\n",
            sessions + SPARE,
        );
        let path = folder.join("haproxy.cfg");
        fs::write(&path, configuration)?;
        let output = File::create(folder.join("haproxy.log"))?;
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut haproxy = Self(child);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            if TcpStream::connect(listen).is_ok() {
                return Ok(haproxy);
            }
            if let Some(status) = haproxy.0.try_wait()? {
                return Err(io::Error::other(format!("HAProxy ended with {status}")));
            }
            sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("HAProxy does not listen"))
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
