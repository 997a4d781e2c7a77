//! Shared by the tests: the client as a process, the real server, and misbehaving servers.
#![allow(dead_code, reason = "each test file uses only some of the items")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tungstenite::WebSocket;

pub(crate) mod server;

/// Limit of every wait in the tests.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The client as a child process.
pub(crate) struct Client {
    child: Child,
    lines: Receiver<String>,
    errors: JoinHandle<String>,
    started: Instant,
}

/// How the client process ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) exit_code: Option<i32>,
    /// The contents of stderr: the close record or an error.
    pub(crate) record: String,
    /// Time from the start of the process to its exit.
    pub(crate) lifetime: Duration,
}

impl Client {
    pub(crate) fn start(url: &str, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_blocking-client"))
            .args(flags)
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().try_for_each(|line| sender.send(line.unwrap())));
        let errors = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, lines, errors, started: Instant::now() }
    }

    /// Waits for the next line of stdout.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(TEST_TIMEOUT).unwrap()
    }

    /// Closes the client's stdin.
    pub(crate) fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Waits until the client exits without further action of the test. Its stdin stays open.
    pub(crate) fn end(mut self) -> End {
        let stdin = self.child.stdin.take();
        let deadline = Instant::now() + TEST_TIMEOUT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("the client does not exit; its stderr: {:?}", self.errors.join().unwrap());
            }
            thread::sleep(Duration::from_millis(1));
        };
        let lifetime = self.started.elapsed();
        drop(stdin);
        End { exit_code: status.code(), record: self.errors.join().unwrap(), lifetime }
    }
}

impl End {
    #[track_caller]
    pub(crate) fn expect(&self, exit_code: i32, words: &str) {
        assert_eq!(self.exit_code, Some(exit_code), "{self:?}");
        assert!(self.record.contains(words), "{words:?} is not in {self:?}");
    }
}

/// Accepts one WebSocket client and passes it to `misbehave`; returns the URL.
pub(crate) fn misbehaving<T: Send + 'static>(
    misbehave: impl FnOnce(WebSocket<TcpStream>) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    misbehaving_from_the_first_byte(|stream| misbehave(tungstenite::accept(stream).unwrap()))
}

/// Accepts one TCP client and passes it to `misbehave`; returns the URL.
pub(crate) fn misbehaving_from_the_first_byte<T: Send + 'static>(
    misbehave: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        misbehave(stream)
    });
    (url, serving)
}

/// Writes raw bytes past the codec.
pub(crate) fn write(socket: &mut WebSocket<TcpStream>, bytes: &[u8]) {
    socket.get_mut().write_all(bytes).unwrap();
}

/// Reads until the client closes the connection.
pub(crate) fn read_to_end(socket: &mut WebSocket<TcpStream>) {
    let _ = io::copy(socket.get_mut(), &mut io::sink());
}
