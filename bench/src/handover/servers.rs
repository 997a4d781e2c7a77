//! The server processes of a run, one after the other, at the same addresses.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Routes;
use crate::process::Server;

/// The processes' common settings.
pub struct Servers {
    /// Where the clients connect.
    pub routes: Routes,
    /// Where states are published and metrics are read.
    pub admin: SocketAddr,
    binary: PathBuf,
    folder: PathBuf,
    /// Whether a process offers its sessions to a successor.
    hands_over: bool,
    logs: Vec<ProcessLog>,
    generation: usize,
}

/// The log of one process.
pub struct ProcessLog {
    /// Its file.
    pub path: PathBuf,
    /// Sessions have different ids in all processes with the same number: one is the successor of another.
    pub generation: usize,
}

impl Servers {
    /// Creates the settings. No process is started.
    #[must_use]
    pub fn new(
        binary: &Path,
        folder: &Path,
        routes: Routes,
        admin: SocketAddr,
        hands_over: bool,
    ) -> Self {
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        Self { routes, admin, binary, folder, hands_over, logs: Vec::new(), generation: 0 }
    }

    /// Starts a process that takes nothing over, and waits until it listens.
    ///
    /// # Errors
    ///
    /// It cannot be started, or does not listen in time.
    pub fn start_alone(&mut self) -> io::Result<Server> {
        self.generation += 1;
        let mut server = self.spawn(&[])?;
        server.wait_until_it_listens()?;
        Ok(server)
    }

    /// Starts the successor of the process that serves, and does not wait.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start_successor(&mut self) -> io::Result<Server> {
        let control = self.control_socket();
        self.spawn(&["--take-over", &control])
    }

    /// Returns the logs of all processes so far, in the order of their starts.
    #[must_use]
    pub fn logs(&self) -> &[ProcessLog] {
        &self.logs
    }

    fn spawn(&mut self, more: &[&str]) -> io::Result<Server> {
        let (listen, admin) = (self.routes.direct.to_string(), self.admin.to_string());
        let control = self.control_socket();
        let mut flags = vec!["--listen", &listen, "--admin-listen", &admin];
        if self.hands_over {
            flags.extend(["--takeover-listen", &control]);
        }
        flags.extend(more);
        let folder = self.folder.join(format!("process-{}", self.logs.len() + 1));
        let server = Server::spawn(&self.binary, &folder, &flags)?;
        let path = server.log.path.clone();
        self.logs.push(ProcessLog { path, generation: self.generation });
        Ok(server)
    }

    fn control_socket(&self) -> String {
        format!("unix:{}", self.folder.join("takeover.sock").display())
    }
}
