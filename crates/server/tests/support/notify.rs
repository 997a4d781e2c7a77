//! A socket that receives the notifications of a service, as systemd does.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The socket that `NOTIFY_SOCKET` of a process names.
pub(crate) struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl NotifySocket {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("ws-status-notify-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { socket, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a notification with this text, and returns it.
    pub(crate) fn until(&self, expected: &str) -> String {
        let begin = Instant::now();
        let mut seen = Vec::new();
        while begin.elapsed() < Duration::from_secs(10) {
            let message = self.receive().unwrap();
            if message.contains(expected) {
                return message;
            }
            seen.push(message);
        }
        panic!("no {expected}, only {seen:?}");
    }

    /// Returns what was received from a process that has ended.
    pub(crate) fn rest(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| self.receive()).collect()
    }

    fn receive(&self) -> Option<String> {
        let mut message = [0; 1000];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
