//! The process, its clients, and its operators.
#![allow(dead_code, reason = "each file of tests uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::iter;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::Response;
use tungstenite::{Error, Message, WebSocket};

/// The limit of each wait.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) type Session = WebSocket<TcpStream>;

/// A running server.
pub(crate) struct Teams {
    process: Child,
    log: Mutex<Receiver<Value>>,
    address: String,
    admin: String,
}

impl Teams {
    /// Starts it, and waits until it serves.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(Path::new(env!("CARGO_BIN_EXE_teams")), arguments)
    }

    /// Starts the program of a step of the guide.
    pub(crate) fn start_step(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_BIN_EXE_teams")).with_file_name("examples");
        Self::spawn(&folder.join(name), &[])
    }

    fn spawn(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--log-format=json"]);
        let mut process = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (lines, log) = channel();
        thread::spawn(move || {
            for line in stderr.lines() {
                let _ = lines.send(serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        let mut teams =
            Self { process, log: Mutex::new(log), address: String::new(), admin: String::new() };
        teams.admin = teams.log_line("starting")["admin"].as_str().unwrap().to_owned();
        teams.address = teams.log_line("listening")["address"].as_str().unwrap().to_owned();
        teams
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits for the next line of the log with this event.
    pub(crate) fn log_line(&self, event: &str) -> Value {
        let log = self.log.lock().unwrap();
        let mut lines = iter::from_fn(|| log.recv_timeout(TIMEOUT).ok());
        lines.find(|line| line["event"] == event).unwrap()
    }

    /// Connects with this cookie.
    pub(crate) fn connect(&self, cookie: &str, query: &str) -> Session {
        self.handshake(cookie, query, None).1.unwrap()
    }

    /// Sends a handshake, and returns the response, and the session if it opens.
    pub(crate) fn handshake(
        &self,
        cookie: &str,
        query: &str,
        subprotocols: Option<&str>,
    ) -> (Response<String>, Option<Session>) {
        let url = format!("ws://{}/ws/status{query}", self.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        if let Some(subprotocols) = subprotocols {
            request.headers_mut().insert("sec-websocket-protocol", subprotocols.parse().unwrap());
        }
        let text = |body: Option<Vec<u8>>| String::from_utf8(body.unwrap_or_default()).unwrap();
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        match tungstenite::client(request, stream) {
            Ok((session, response)) => (response.map(text), Some(session)),
            Err(HandshakeError::Failure(Error::Http(refusal))) => (refusal.map(text), None),
            Err(error) => panic!("{error}"),
        }
    }

    /// Logs a user in, and returns the cookie.
    pub(crate) fn log_in(&self, user: &str) -> String {
        let (status, body) = self.post(&format!("/login?user={user}"), "");
        assert_eq!(status, 200);
        body.trim_end().to_owned()
    }

    /// Logs a user in, and returns the header that sets the cookie.
    pub(crate) fn set_cookie(&self, user: &str) -> String {
        let response = self.request(&format!("/login?user={user}"), b"");
        let header = response.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        header.unwrap().to_owned()
    }

    /// Sends a request to the admin listener, and returns the status and the body of the response.
    pub(crate) fn post(&self, target: &str, body: impl AsRef<[u8]>) -> (u16, String) {
        let response = self.request(target, body.as_ref());
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn request(&self, target: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        let length = body.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn exit_code(&mut self) -> i32 {
        self.process.wait().unwrap().code().unwrap()
    }
}

impl Drop for Teams {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits for the next text.
pub(crate) fn next_text(session: &mut Session) -> String {
    session.read().unwrap().into_text().unwrap().to_string()
}

/// Waits for the Close frame, and returns its code and reason.
pub(crate) fn close_frame(mut session: Session) -> (u16, String) {
    let frame = iter::from_fn(|| session.read().ok()).find_map(|message| match message {
        Message::Close(frame) => frame,
        _ => None,
    });
    let frame = frame.unwrap();
    (frame.code.into(), frame.reason.to_string())
}
