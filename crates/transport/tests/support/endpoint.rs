//! An endpoint behind hyper and h2, and its events. Not in `mod.rs`, which the tests of `broadcast`
//! share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, duplex};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use transport::ws_core::Limits;
use transport::{
    Admission, Admit, Answer, Client, CompressionOptions, Denial, Discard, Drain, Endpoint,
    EndpointEvent, Handler, Handshake, Message, Next, Observer, Opening, OriginPattern, Origins,
    Permission, Permit, Policy, Rejection, SessionRegistry,
};

use crate::http2_client::Http2Client;
use crate::support::{Peer, SIZES, config};

pub(crate) const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Origin: https://app.example\r\nUser-Agent: test\r\n\r\n";

/// The request with this target and these additional lines, each of which ends with a line break.
pub(crate) fn request_with(target: &str, lines: &str) -> String {
    REQUEST
        .replace("GET /", &format!("GET {target}"))
        .replace("\r\n\r\n", &format!("\r\n{lines}\r\n"))
}

/// How long a request over HTTP/2 waits for its answer. Less than the ping interval, because the other sessions
/// of the connection wait meanwhile.
pub(crate) const ADMIT_TIMEOUT: Duration = Duration::from_secs(5);

type Hook = dyn Fn(&EndpointEvent<'_>) + Send + Sync;

/// Records each event as text, then calls its hook.
#[derive(Default)]
pub(crate) struct EventLog {
    events: Mutex<Vec<String>>,
    hook: Option<Box<Hook>>,
}

impl EventLog {
    pub(crate) fn with_hook(hook: impl Fn(&EndpointEvent<'_>) + Send + Sync + 'static) -> Self {
        Self { hook: Some(Box::new(hook)), ..Self::default() }
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// Takes the events except those of traffic.
    pub(crate) fn take_main(&self) -> Vec<String> {
        let mut events = self.take();
        events.retain(|event| !event.starts_with("traffic"));
        events
    }
}

impl Observer for EventLog {
    fn observe(&self, event: &EndpointEvent<'_>) {
        let line = match event {
            EndpointEvent::Closed { id, identity, record, .. } => {
                let of = identity.map(|identity| format!(" of {identity}")).unwrap_or_default();
                format!("closed {id} {}{of}", record.cause)
            }
            EndpointEvent::Opened { id, identity, peer, request, .. } => {
                let (origin, agent) = (request.origin(), request.user_agent());
                let request = [origin, agent].map(|text| text.unwrap_or("-")).join(" ");
                let of = identity.map(|identity| format!(" of {identity}")).unwrap_or_default();
                format!("opened {id} {peer} {request}{of}")
            }
            EndpointEvent::Refused { peer, rejection, denial, close, .. } => {
                let word = denial.map(|denial| format!(" {}", denial.word())).unwrap_or_default();
                let code = close.map(|close| format!(" by {}", close.code)).unwrap_or_default();
                format!("refused {peer} {rejection}{word}{code}")
            }
            EndpointEvent::HandedOver { id, .. } => format!("handed over {id}"),
            EndpointEvent::TakenOver { id, .. } => format!("taken over {id}"),
            EndpointEvent::Panicked { id, .. } => format!("panicked {id}"),
            EndpointEvent::Traffic {
                id,
                received,
                sent,
                control_frames_received: control_in,
                control_frames_sent: control_out,
                round_trip,
                ..
            } => {
                let (received, sent) = (received.messages, sent.messages);
                format!("traffic {id} {received}+{control_in} {sent}+{control_out} {round_trip:?}")
            }
            other => panic!("{other:?} is new"),
        };
        self.events.lock().unwrap().push(line);
        if let Some(hook) = &self.hook {
            hook(event);
        }
    }
}

pub(crate) const PERMITS: usize = 100;

/// An endpoint, its event log, its drain, its sessions and its permits.
pub(crate) struct Fixture<A = Discard> {
    pub(crate) admit: Arc<A>,
    pub(crate) endpoint: Arc<Endpoint<EventLog>>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) log: Arc<EventLog>,
    pub(crate) drain: Drain,
    pub(crate) sessions: SessionRegistry,
    pub(crate) permits: Arc<Semaphore>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Discard)
    }
}

impl<A: Admit + 'static> Fixture<A> {
    pub(crate) fn with(admit: A) -> Self {
        Self::with_log(admit, EventLog::default(), SessionRegistry::default())
    }

    pub(crate) fn with_log(admit: A, log: EventLog, sessions: SessionRegistry) -> Self {
        let policy = Policy {
            origins: Origins {
                allowed: vec![OriginPattern::Any],
                missing: Permission::Allow,
                null: Permission::Refuse,
            },
            session: config(Limits {
                write_timeout: Some(Duration::from_secs(10)),
                ..Limits::default()
            }),
            sizes: SIZES,
            compression: CompressionOptions::default(),
            visible_refusals: false,
        };
        let log = Arc::new(log);
        let (drain, timers) = Drain::with_sessions(sessions.clone());
        tokio::spawn(timers);
        Self {
            admit: Arc::new(admit),
            endpoint: Arc::new(Endpoint::new(Arc::clone(&log))),
            policy: Arc::new(policy),
            log,
            drain,
            sessions,
            permits: Arc::new(Semaphore::new(PERMITS)),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client {
            peer: transport::Peer::Address("192.0.2.7:4711".parse().unwrap()),
            is_encrypted: false,
            certificate_name: Some("device-7".into()),
            token: self.drain.token(),
        }
    }

    /// Answers a request that no HTTP library has read.
    pub(crate) async fn answer(&self, request: &Request<()>) -> Answer<A::Handler, EventLog> {
        let permit = permit_of(&self.permits);
        self.endpoint.answer(&*self.admit, request, &self.client(), &self.policy, permit).await
    }

    /// Opens a session over a pipe that holds `pipe_bytes` in each direction.
    pub(crate) async fn open(&self, request: &Request<()>, pipe_bytes: usize) -> Peer {
        let opening = self.opening(request).await;
        let (near, far) = duplex(pipe_bytes);
        opening.begin(near);
        Peer(far)
    }

    /// Returns the opening of a request that is admitted.
    pub(crate) async fn opening(&self, request: &Request<()>) -> Opening<A::Handler, EventLog> {
        match self.answer(request).await {
            Answer::Open(opening) => opening,
            Answer::Refuse(response) => panic!("{response:?}"),
            Answer::RefuseVisibly(refusal) => panic!("{:?}", refusal.response()),
        }
    }

    /// Opens a connection to the endpoint, served by hyper.
    pub(crate) fn connect(&self) -> Peer {
        let (near, far) = duplex(64 * 1024);
        self.serve_http1(near);
        Peer(far)
    }

    /// Serves a stream by hyper.
    pub(crate) fn serve_http1<S>(&self, near: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let client = self.client();
        let (endpoint, policy) = (Arc::clone(&self.endpoint), Arc::clone(&self.policy));
        let (admit, permits) = (Arc::clone(&self.admit), Arc::clone(&self.permits));
        tokio::spawn(async move {
            let service = service_fn(async |mut request| {
                let permit = permit_of(&permits);
                let answer = endpoint.answer(&*admit, &request, &client, &policy, permit);
                let response = answer.await.over_http1(&mut request, TokioIo::new);
                Ok::<_, Infallible>(response)
            });
            let http = http1::Builder::new()
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(near), service);
            let _ = http.with_upgrades().await;
        });
    }

    /// Opens an HTTP/2 connection to the endpoint.
    pub(crate) async fn connect_http2(&self) -> Http2Client {
        let (near, far) = duplex(64 * 1024);
        self.serve_http2(near);
        Http2Client::new(h2::client::Builder::new(), far).await
    }

    /// Serves an HTTP/2 connection. Requests are answered in its task, one after the other.
    pub(crate) fn serve_http2<S>(&self, near: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let client = self.client();
        let (endpoint, policy) = (Arc::clone(&self.endpoint), Arc::clone(&self.policy));
        let (admit, permits) = (Arc::clone(&self.admit), Arc::clone(&self.permits));
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            let Ok(mut connection) = builder.handshake(near).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                let (head, receiver) = request.into_parts();
                let request = Request::from_parts(head, ());
                let permit = permit_of(&permits);
                let answer = endpoint.answer(&*admit, &request, &client, &policy, permit);
                let refuse = |_| {
                    Answer::Refuse(endpoint.refuse(Rejection::AdmissionTimeout, &request, &client))
                };
                let answer = timeout(ADMIT_TIMEOUT, answer).await.unwrap_or_else(refuse);
                answer.over_http2(request.method(), receiver, respond, |stream| stream);
            }
        });
    }
}

fn permit_of(permits: &Arc<Semaphore>) -> impl FnOnce() -> Result<Permit, Rejection> + Send {
    || {
        let permit = Arc::clone(permits).try_acquire_owned();
        permit.map(Permit::new).map_err(|_| Rejection::ConnectionLimit)
    }
}

/// A valid request over HTTP/1.1, as hyper would read it.
pub(crate) fn valid_request() -> Request<()> {
    request_with_version("13")
}

pub(crate) fn request_with_version(version: &str) -> Request<()> {
    let request = Request::get("/")
        .header("host", "a")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", version)
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    request.body(()).unwrap()
}

/// Reads the head of a response.
pub(crate) async fn response_head(peer: &mut Peer) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(peer.bytes(1).await);
    }
    String::from_utf8(head).unwrap()
}

/// Sends the valid request and reads the head of the response.
pub(crate) async fn request_head(peer: &mut Peer) -> String {
    peer.send(REQUEST.as_bytes()).await;
    response_head(peer).await
}

/// Decides by a function.
pub(crate) struct AdmitBy<F>(pub(crate) F);

impl<F, D, H> Admit for AdmitBy<F>
where
    F: Fn(&Handshake<'_>) -> D + Send + Sync + 'static,
    D: Future<Output = Result<Admission<H>, Denial>> + Send,
    H: Handler,
{
    type Handler = H;

    fn admit(
        &self,
        handshake: &Handshake<'_>,
    ) -> impl Future<Output = Result<Admission<H>, Denial>> + Send {
        self.0(handshake)
    }
}

/// Sends these texts. It cannot be cloned.
pub(crate) struct Sends(VecDeque<String>);

impl Sends {
    pub(crate) fn new(texts: impl IntoIterator<Item = String>) -> Self {
        Self(texts.into_iter().collect())
    }
}

impl Handler for Sends {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Next> {
        let next = self.0.pop_front();
        next.map_or(Poll::Pending, |text| Poll::Ready(Next::Send(Message::Text(text.into()))))
    }

    fn receive(&mut self, _: Message) {}
}
