//! Opening a connection, and a session on it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::client::http::{Head, NoHead, read_body, read_head, send};
use crate::client::network::connect;
use crate::client::session::{Duplex, PING, Session, frame};
use crate::client::target::Target;
use crate::client::tls::{Handshake, Trust};

/// More of the body of a refusal is not read.
const MAX_REFUSAL_BYTES: usize = 4 << 10;

/// The least time for a Close that is right behind a 101; more on a path that is slow.
const SHOWN_WITHIN: Duration = Duration::from_millis(100);

/// The time for the body of a refusal, after its head.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// Opens connections to one address of a target.
pub(crate) struct Dialer {
    pub(crate) target: Target,
    pub(crate) address: SocketAddr,
    pub(crate) bind: Option<IpAddr>,
    /// With TLS.
    pub(crate) trust: Option<Trust>,
    /// The time for each step: TCP, TLS, the head of a response, a write.
    pub(crate) limit: Duration,
}

/// An open connection.
pub(crate) struct Connection {
    pub(crate) stream: Box<dyn Duplex>,
    pub(crate) local: SocketAddr,
    /// The application protocol that TLS selected.
    pub(crate) alpn: Option<String>,
}

/// What a request for a session has beyond the headers that it needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) origin: Option<&'a str>,
    /// Names and values.
    pub(crate) headers: &'a [(String, String)],
    /// A `Host` other than the target's.
    pub(crate) host: Option<&'a str>,
}

/// What became of a request for a session.
pub(crate) enum Attempt {
    Open(Opened),
    Refused(Refused),
    /// A refusal that the server shows to pages: a session that is closed at once.
    Shown(Shown),
    /// A response arrived only after the client had sent bytes beyond the request.
    HeldBack,
    NoAnswer(NoHead),
}

/// An answer with 101.
pub(crate) struct Opened {
    pub(crate) session: Session,
    pub(crate) head: Head,
    /// Whether `Sec-WebSocket-Accept` answers the key (RFC 6455, section 4.2.2).
    pub(crate) is_accept_right: bool,
    /// The time until the connection was open, with TLS.
    pub(crate) dialed: Duration,
    /// The time from the request to the head of the response.
    pub(crate) took: Duration,
    /// When that arrived.
    pub(crate) at: Instant,
    pub(crate) local: SocketAddr,
}

/// An answer with 101, and a Close right behind it.
pub(crate) struct Shown {
    pub(crate) head: Head,
    pub(crate) code: u16,
    pub(crate) reason: Vec<u8>,
}

/// Any other answer.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Dialer {
    /// Opens a connection; TLS offers these application protocols.
    ///
    /// # Errors
    ///
    /// The error of TCP or of TLS, or `TimedOut`.
    pub(crate) async fn dial(&self, alpn: &[&str]) -> io::Result<Connection> {
        let stream = connect(self.address, self.bind, self.limit).await?;
        let local = stream.local_addr()?;
        let Some(trust) = &self.trust else {
            return Ok(Connection { stream: Box::new(stream), local, alpn: None });
        };
        let handshake = trust.handshake(stream, &self.target.host, alpn);
        let Handshake { stream, alpn, .. } = timeout(self.limit, handshake).await??;
        Ok(Connection { stream: Box::new(stream), local, alpn })
    }

    /// Requests a session over HTTP/1.1.
    pub(crate) async fn open(&self, request: Request<'_>) -> Attempt {
        let key = generate_key();
        let head = self.head(request, &key);
        let began = Instant::now();
        let Connection { mut stream, local, .. } = match self.dial(&["http/1.1"]).await {
            Ok(connection) => connection,
            Err(error) => return Attempt::NoAnswer(NoHead::Failed(error)),
        };
        let dialed = began.elapsed();
        let began = Instant::now();
        let mut input = BytesMut::new();
        let until = began + self.limit;
        if let Err(failure) = send(&mut stream, head.as_bytes(), until).await {
            return Attempt::NoAnswer(failure);
        }
        let head = match read_head(&mut stream, &mut input, until).await {
            Ok(head) => head,
            Err(NoHead::TimedOut(0)) => return self.provoke(stream, input).await,
            Err(failure) => return Attempt::NoAnswer(failure),
        };
        let at = Instant::now();
        let took = at - began;
        if head.status != 101 {
            let body = read_body(
                &mut stream,
                &head,
                input,
                MAX_REFUSAL_BYTES,
                REFUSAL_TIME.min(self.limit),
            );
            let body = body.await;
            return Attempt::Refused(Refused { head, body });
        }
        let accept = derive_accept_key(key.as_bytes());
        let is_accept_right = head.header("sec-websocket-accept") == Some(accept.as_bytes());
        let mut session = Session::new(stream, input, self.limit);
        let shown = session.shown_refusal(at + took.max(SHOWN_WITHIN)).await;
        if let Some((code, reason)) = shown {
            return Attempt::Shown(Shown { head, code, reason });
        }
        Attempt::Open(Opened { session, head, is_accept_right, dialed, took, at, local })
    }

    /// Nothing was answered in time: finds out whether the response is held back until there is more to
    /// forward.
    async fn provoke(&self, mut stream: Box<dyn Duplex>, mut input: BytesMut) -> Attempt {
        let until = Instant::now() + self.limit.min(REFUSAL_TIME);
        let sent = send(&mut stream, &frame(PING, b"more"), until).await;
        if sent.is_ok() && read_head(&mut stream, &mut input, until).await.is_ok() {
            return Attempt::HeldBack;
        }
        Attempt::NoAnswer(NoHead::TimedOut(0))
    }

    fn head(&self, request: Request<'_>, key: &str) -> String {
        let path = &self.target.path;
        let host = request.host.map_or_else(|| self.target.authority(), str::to_owned);
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ws-status-doctor\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
        );
        let origin = request.origin.map(|origin| ("Origin", origin));
        let more = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in origin.into_iter().chain(more) {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}
