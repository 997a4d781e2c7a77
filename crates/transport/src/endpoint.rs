//! The endpoint: a request in, a response out, and behind a 101 a session that runs by itself.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use ws_core::{Progress, Rules, Tally};

use crate::drain::{Phase, Watch};
use crate::handler::Handler;
use crate::observer::{Event, Observer, RequestText};
use crate::origin::Origins;
use crate::peer::Peer;
use crate::rejection::Rejection;
use crate::session::{Session, run};
use crate::socket::{Sizes, Socket};
use crate::upgrade::Upgrade;

/// What holds for every session of an endpoint.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which pages may connect.
    pub origins: Origins,
    /// When to ping, how long to wait, and how much a peer may do. The sessions share them.
    pub rules: Arc<Rules>,
    /// How much may be held for one peer.
    pub sizes: Sizes,
}

/// A WebSocket endpoint. It knows no path: routing is the server's.
#[derive(Debug)]
pub struct Endpoint<H, O, S> {
    handler: H,
    observer: Arc<O>,
    reclaim: fn(Upgraded) -> S,
}

/// An accepted connection, as the endpoint needs to know it.
#[derive(Clone, Debug)]
pub struct Client {
    /// Who it is. Whoever accepts decides that; here it is only told on.
    pub peer: Peer,
    /// Its place among the connections there may be, which a session keeps to its end; or why it has
    /// none and was accepted only to be told so.
    pub slot: Result<Slot, Rejection>,
    /// Its token in the drain. A session takes one of its own before the 101 goes out.
    pub watch: Watch,
}

/// A place among the connections there may be. It is given back when the last clone is dropped.
#[derive(Clone)]
pub struct Slot(
    #[expect(dead_code, reason = "it is held for its drop")] Arc<dyn Any + Send + Sync>,
);

impl Slot {
    /// A place that is given back by the drop of `guard`.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Arc::new(guard))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl<H, O, S> Endpoint<H, O, S>
where
    H: Handler + Clone,
    O: Observer,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// An endpoint whose sessions each get a clone of `handler`.
    ///
    /// `reclaim` makes of hyper's upgraded stream the one that was accepted, without the layers
    /// around it, which an idle session would pay for; `TokioIo::new` leaves them on.
    pub fn new(handler: H, observer: Arc<O>, reclaim: fn(Upgraded) -> S) -> Self {
        Self { handler, observer, reclaim }
    }

    /// Answers a request. If the answer is a 101, a session begins once it is sent, and keeps to
    /// `policy` to its end, whatever the next request is answered by.
    ///
    /// Must be called within a tokio runtime, and the response has to go out on the connection that
    /// the request came from, served by hyper with upgrades.
    /// There is no authentication here: whoever wants one asks for it before calling this.
    #[must_use = "the client waits for the response"]
    pub fn respond<B>(
        &self,
        request: &mut Request<B>,
        client: &Client,
        policy: &Policy,
    ) -> Response<String> {
        let checked = Upgrade::check(request, &policy.origins);
        match checked.and_then(|upgrade| admit(upgrade, client)) {
            Ok(upgrade) => {
                let response = upgrade.response();
                self.open(upgrade, request, client.clone(), policy);
                response
            }
            Err(rejection) => self.refuse(rejection, request, client),
        }
    }

    /// Answers a request with a refusal, for a router that has nothing at the request's path.
    #[must_use = "the client waits for the response"]
    pub fn refuse<B>(
        &self,
        rejection: Rejection,
        request: &Request<B>,
        client: &Client,
    ) -> Response<String> {
        let request = RequestText::of(request.headers());
        self.observer.observe(&Event::Refused { peer: client.peer, request, rejection });
        rejection.response()
    }

    /// Starts the session's task. It holds its tokens from now on, so no drain can overlook it.
    fn open<B>(&self, upgrade: Upgrade, request: &Request<B>, client: Client, policy: &Policy) {
        let headers = request.headers().clone();
        let sizes = policy.sizes;
        let rules = Arc::clone(&policy.rules);
        let handler = self.handler.clone();
        let observer = Arc::clone(&self.observer);
        let reclaim = self.reclaim;

        tokio::spawn(SessionTask::Opening(Box::pin(async move {
            // A client that went away before the 101 has not been a session.
            let upgraded = upgrade.finish().await.ok()?;
            let stream = reclaim(upgraded);
            let request = RequestText::of(&headers);
            let Client { peer, slot, watch } = client;
            let session = run(Socket::new(stream, sizes), rules, handler, watch);
            observer.observe(&Event::Opened { id: session.number(), peer, request });
            Some(Observed { session, observer, told: Told::default(), _slot: slot })
        })));
    }
}

/// What a session's task does, in a box for each part of its life. A task is as large as all that it
/// ever holds, and tokio's are laid out in steps of 128 bytes.
enum SessionTask<H, O, S> {
    Opening(Opening<H, O, S>),
    Open(Box<Observed<H, O, S>>),
}

/// Gives nothing for a client that went away.
type Opening<H, O, S> = Pin<Box<dyn Future<Output = Option<Observed<H, O, S>>> + Send>>;

impl<H, O, S> Future for SessionTask<H, O, S>
where
    H: Handler,
    O: Observer,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            *self = match &mut *self {
                Self::Open(session) => return Pin::new(session).poll(cx),
                Self::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Some(session) => Self::Open(Box::new(session)),
                    None => return Poll::Ready(()),
                },
            };
        }
    }
}

/// A session, with somebody who is told of it.
struct Observed<H, O, S> {
    session: Session<S, H>,
    observer: Arc<O>,
    told: Told,
    /// Behind the session, so that its place is free only when its stream is closed.
    _slot: Result<Slot, Rejection>,
}

#[derive(Default)]
struct Told {
    received: Tally,
    sent: Tally,
}

impl<H, O, S> Future for Observed<H, O, S>
where
    H: Handler,
    O: Observer,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (id, had_panicked) = (self.session.number(), self.session.has_panicked());
        let Progress { pings, pongs, .. } = self.session.progress();
        let closure = Pin::new(&mut self.session).poll(cx);
        if self.session.has_panicked() && !had_panicked {
            self.observer.observe(&Event::Panicked { id });
        }
        let progress = self.session.progress();
        let is_measured = progress.pongs != pongs;
        if is_measured || progress.pings != pings || closure.is_ready() {
            self.tally(progress, is_measured);
        }
        closure.map(|closure| self.observer.observe(&Event::Closed { id, closure: &closure }))
    }
}

impl<H, O: Observer, S> Observed<H, O, S> {
    /// Tells what has come on top since the last time.
    fn tally(&mut self, progress: Progress, is_measured: bool) {
        let Progress { received, sent, round_trip, .. } = progress;
        self.observer.observe(&Event::Tally {
            id: self.session.number(),
            received: received.since(self.told.received),
            sent: sent.since(self.told.sent),
            round_trip: round_trip.filter(|_| is_measured),
        });
        self.told = Told { received, sent };
    }
}

/// Whether there is room, which is asked last: a request that is wrong is told so even then.
fn admit(upgrade: Upgrade, client: &Client) -> Result<Upgrade, Rejection> {
    if client.watch.phase() != Phase::Serving {
        return Err(Rejection::Draining);
    }
    match client.slot {
        Ok(_) => Ok(upgrade),
        Err(rejection) => Err(rejection),
    }
}
