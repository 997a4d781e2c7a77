//! What is to be known of sessions from outside, told as facts. Log lines and metrics are made
//! from it.

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue, ORIGIN, USER_AGENT};
use ws_core::{CloseRecord, Counters};

use crate::catch_panic::guarded;
use crate::handshake::{Protocol, Rejection};
use crate::peer::Peer;
use crate::stream_end::StreamEnd;

/// Somebody who is told what happens to sessions. The [front page](crate#an-endpoint) has an example.
pub trait Observer: Send + Sync + 'static {
    /// Takes in one fact. Is called on the way of a connection, so it must not block.
    ///
    /// If it panics, it has missed this fact, and is told the next.
    fn observe(&self, event: &EndpointEvent<'_>);
}

/// Tells a fact. An observer that panics misses that one, and neither the session nor its other facts
/// are lost.
pub(crate) fn observe(observer: &impl Observer, event: &EndpointEvent<'_>) {
    let _ = guarded(|| observer.observe(event));
}

/// A fact about a connection. What is text here came from the peer: escape it.
/// The [front page](crate#an-endpoint) has an example.
///
/// There will be more facts, and more to be said of each; an observer passes over what it does not
/// know.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum EndpointEvent<'a> {
    /// A session is over.
    #[non_exhaustive]
    Closed {
        /// The number it was opened with.
        id: u64,
        /// What is to be said of it.
        record: &'a CloseRecord,
        /// How the stream ended, if it did before the session let go of it.
        stream_end: Option<StreamEnd>,
    },
    /// A session has begun: the 101 is sent, or the 200 is on its way over HTTP/2.
    #[non_exhaustive]
    Opened {
        /// A number that no other session of this endpoint has.
        id: u64,
        /// Who it is with.
        peer: Peer,
        /// How it came.
        protocol: Protocol,
        /// What the request said of itself.
        request: RequestText<'a>,
    },
    /// The code that serves a session panicked; there is a bug in it. The session ends.
    #[non_exhaustive]
    Panicked {
        /// The number it was opened with.
        id: u64,
    },
    /// A request was not upgraded.
    #[non_exhaustive]
    Refused {
        /// Who it came from.
        peer: Peer,
        /// How it came, if it got as far as HTTP.
        protocol: Option<Protocol>,
        /// What the request said of itself.
        request: RequestText<'a>,
        /// Why it was not.
        rejection: Rejection,
    },
    /// What has come on top since the session last told of it. It does so at each ping that it sends,
    /// at the pong to it, at its end, and when it is a million messages or bytes, so that nothing which
    /// sessions share is touched for a frame.
    #[non_exhaustive]
    Traffic {
        /// The number it was opened with.
        id: u64,
        /// What the peer sent.
        received: Counters,
        /// What the peer was sent.
        sent: Counters,
        /// The round trip, if one was measured.
        round_trip: Option<Duration>,
    },
}

/// What a request said of itself, in the peer's own words. [`EndpointEvent`]s bring it; only an endpoint makes
/// one.
#[derive(Clone, Copy, Debug)]
pub struct RequestText<'a>(&'a Headers);

/// The headers that are told on, shared with the request.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    origin: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
}

impl<'a> RequestText<'a> {
    /// The first `Origin`, if it is readable text.
    #[must_use]
    pub fn origin(self) -> Option<&'a str> {
        text(self.0.origin.as_ref())
    }

    /// The first `User-Agent`, if it is readable text.
    #[must_use]
    pub fn user_agent(self) -> Option<&'a str> {
        text(self.0.user_agent.as_ref())
    }
}

impl Headers {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let first = |name| headers.get(name).cloned();
        Self { origin: first(ORIGIN), user_agent: first(USER_AGENT) }
    }

    pub(crate) fn text(&self) -> RequestText<'_> {
        RequestText(self)
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    str::from_utf8(value?.as_bytes()).ok()
}
