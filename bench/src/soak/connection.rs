//! A connection with its sessions: one over HTTP/1.1, several over HTTP/2.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::{sleep_until, timeout};

use super::client::{Client, HangUp};
use super::plan::{Ending, Plan};
use super::stream::ByteStream;
use super::world::{Resident, Way, World};
use crate::handover::faults::Kind;
use crate::load::http2::{self, Http2, StreamEvent};

/// Limit to connect, with the handshake of TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Limit to write what the server must read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// The receive buffer of a client that stalls, so that the server notices it.
const SMALL_BUFFER: u32 = 4096;

/// What a client does, and the resident that it is, if it is one.
pub(super) type Planned = (Plan, Option<Arc<Resident>>);

/// A whole connection that its client ends, with all sessions.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) after: Duration,
    pub(super) hang_up: HangUp,
}

/// Connects, and serves the sessions until all have ended.
pub(super) async fn run(
    world: Arc<World>,
    way: Way,
    plans: Vec<Planned>,
    cut: Option<Cut>,
    mut rng: Rng,
) {
    let (server, tls) = world.route(way);
    let stalls = plans.iter().any(|(plan, _)| plan.ending == Ending::Stall);
    let connect = ByteStream::connect(server, world.source(), stalls.then_some(SMALL_BUFFER), tls);
    let outcome = timeout(CONNECT_TIMEOUT, connect).await;
    let stream = match outcome.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        Ok(stream) => stream,
        Err(error) => {
            let text = format!("{}: cannot connect: {error}", way.name());
            world.lost(Kind::Connect, way.tls, text);
            return;
        }
    };
    let client = |(plan, resident): Planned| Client::new(&world, way, plan, resident, rng.fork());
    let clients = plans.into_iter().map(client).collect();
    let http2 = way.http2.then(Http2::start);
    let mut connection =
        Connection { stream, http2, has_requested: false, inbox: Vec::new(), clients };
    let ending = cut.map(|cut| (Instant::now() + cut.after, cut.hang_up));
    if let Err(error) = connection.serve(ending).await {
        let text = error.to_string();
        connection.clients.iter_mut().for_each(|client| client.on_end(&text));
    }
}

struct Connection {
    stream: ByteStream,
    http2: Option<Http2>,
    has_requested: bool,
    /// The received part of an incomplete response over HTTP/1.1, or of a frame of HTTP/2.
    inbox: Vec<u8>,
    clients: Vec<Client>,
}

impl Connection {
    /// Serves until all sessions have ended. An error is the end of the connection.
    async fn serve(&mut self, cut: Option<(Instant, HangUp)>) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let now = Instant::now();
            if let Some((_, hang_up)) = cut.filter(|(at, _)| now >= *at) {
                self.clients.iter_mut().for_each(Client::on_cut);
                return self.hang_up(hang_up).await;
            }
            self.clients.iter_mut().for_each(|client| client.act(now));
            self.request();
            timeout(WRITE_TIMEOUT, self.write()).await??;
            if self.clients.iter().all(Client::has_ended) {
                return Ok(());
            }
            let reads = self.clients.iter().all(|client| client.reads(now));
            let running = self.clients.iter().filter(|client| !client.has_ended());
            let due = running.map(Client::due).chain(cut.map(|(at, _)| at)).min();
            let wait = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                count = self.stream.read(&mut buffer), if reads => match count? {
                    0 => return Err(io::Error::other("eof")),
                    count => self.on_bytes(&buffer[..count])?,
                },
                () = wait => {}
            }
        }
    }

    /// Sends the requests, as soon as the server permits it.
    fn request(&mut self) {
        let is_ready = self.http2.as_ref().is_none_or(|http2| http2.allows_websocket);
        if self.has_requested || !is_ready {
            return;
        }
        self.has_requested = true;
        for client in &mut self.clients {
            match &mut self.http2 {
                Some(http2) => http2.request_with(&client.plan.fields()),
                None => client.outbox.extend(client.plan.request()),
            }
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        for stream in 0..self.clients.len() {
            let client = &mut self.clients[stream];
            match &mut self.http2 {
                Some(http2) => {
                    let count = http2.capacity(stream).min(client.outbox.len());
                    if count > 0 {
                        let bytes: Vec<u8> = client.outbox.drain(..count).collect();
                        http2.send(stream, &bytes);
                    }
                }
                None => {
                    let bytes = std::mem::take(&mut client.outbox);
                    self.stream.write_all(&bytes).await?;
                }
            }
            if let Some(hang_up) = self.clients[stream].take_hang_up() {
                match (&mut self.http2, hang_up) {
                    (Some(http2), HangUp::Finish) => http2.end(stream),
                    (Some(http2), HangUp::Reset) => http2.reset(stream),
                    (None, hang_up) => self.hang_up(hang_up).await?,
                }
            }
        }
        if let Some(http2) = &mut self.http2 {
            let bytes = std::mem::take(&mut http2.outbox);
            self.stream.write_all(&bytes).await?;
        }
        Ok(())
    }

    async fn hang_up(&mut self, how: HangUp) -> io::Result<()> {
        match how {
            HangUp::Finish => self.stream.finish().await,
            HangUp::Reset => self.stream.reset_on_close(),
        }
    }

    fn on_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        if self.http2.is_some() {
            self.inbox.extend_from_slice(bytes);
            return self.on_frames(now);
        }
        let [client] = &mut *self.clients else { return Ok(()) };
        if !client.is_requested() {
            client.on_bytes(bytes, now);
            return Ok(());
        }
        self.inbox.extend_from_slice(bytes);
        let Some(end) = self.inbox.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(());
        };
        let head = String::from_utf8_lossy(&self.inbox[..end]);
        match head.strip_prefix("HTTP/1.1 ").and_then(|head| head.split(' ').next()) {
            Some("101") => {
                if client.plan.offers_deflate && !head.contains("permessage-deflate") {
                    return Err(io::Error::other("the compression was not negotiated"));
                }
                client.on_opened(now);
                client.on_bytes(&self.inbox[end + 4..], now);
            }
            status => client.on_refused(status),
        }
        Ok(())
    }

    fn on_frames(&mut self, now: Instant) -> io::Result<()> {
        let Some(http2) = &mut self.http2 else { return Ok(()) };
        let mut rest = &*self.inbox;
        while let Some((frame, after)) = http2::split(rest) {
            if let Some((stream, event)) = http2.on_frame(frame)?
                && let Some(client) = self.clients.get_mut(stream)
                && !client.has_ended()
            {
                match event {
                    StreamEvent::Opened => client.on_opened(now),
                    StreamEvent::Refused => client.on_refused(None),
                    StreamEvent::Bytes(bytes) => client.on_bytes(bytes, now),
                    StreamEvent::LastBytes(bytes) => {
                        client.on_bytes(bytes, now);
                        client.on_end("end of the stream");
                    }
                    StreamEvent::Ended => client.on_end("end of the stream"),
                }
                // A response that refuses ends the stream as well.
                if client.has_ended() && !client.has_hung_up() {
                    http2.end(stream);
                }
            }
            rest = after;
        }
        let used = self.inbox.len() - rest.len();
        self.inbox.drain(..used);
        Ok(())
    }
}
