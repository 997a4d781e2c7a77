//! Events of sessions and refused requests, for an observer that makes log lines and metrics from them.

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue, ORIGIN, USER_AGENT};
use ws_core::{CloseRecord, Counters};

use crate::catch_panic::catch_panic;
use crate::compression::Compression;
use crate::handshake::{Denial, Protocol, Rejection};
use crate::identity::Identity;
use crate::peer::Peer;
use crate::stream_end::StreamEnd;

/// Receives the events of an endpoint. The [front page](crate#an-endpoint) has an example.
pub trait Observer: Send + Sync + 'static {
    /// Handles one event. It is called in the task of the connection or session, so it must not block.
    ///
    /// If it panics, this event is lost, and it receives the next.
    fn observe(&self, event: &EndpointEvent<'_>);
}

/// Delivers an event. If the observer panics, only this event is lost; the session goes on.
pub(crate) fn observe(observer: &impl Observer, event: &EndpointEvent<'_>) {
    let _ = catch_panic(|| observer.observe(event));
}

/// An event of a session or of a refused request. Its texts are the peer's: escape them.
/// The [front page](crate#an-endpoint) has an example.
///
/// Minor versions may add events and fields; an observer ignores those it does not know.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum EndpointEvent<'a> {
    /// A session ended.
    #[non_exhaustive]
    Closed {
        /// The id of the session, as in [`Opened`](Self::Opened).
        id: u64,
        /// Whose session it was, if the admission said so.
        identity: Option<&'a Identity>,
        /// The close record.
        record: &'a CloseRecord,
        /// How the stream ended, if it ended before the session closed it.
        stream_end: Option<StreamEnd>,
    },
    /// A session opened: the 101 is sent, or over HTTP/2 the 200 is queued.
    #[non_exhaustive]
    Opened {
        /// A number that is unique among the sessions of the endpoint.
        id: u64,
        /// Whose session it is, if the admission said so.
        identity: Option<&'a Identity>,
        /// The peer of the connection.
        peer: Peer,
        /// The protocol of the request.
        protocol: Protocol,
        /// How its messages are compressed, if that was negotiated.
        compression: Option<Compression>,
        /// Texts of the request.
        request: RequestText<'a>,
    },
    /// The code of a session panicked, which is a bug in it. The session ends.
    #[non_exhaustive]
    Panicked {
        /// The id of the session, as in [`Opened`](Self::Opened).
        id: u64,
    },
    /// A request was not upgraded, or a client was rejected before its request.
    #[non_exhaustive]
    Refused {
        /// The peer of the connection.
        peer: Peer,
        /// The protocol of the request, if there was one.
        protocol: Option<Protocol>,
        /// Texts of the request.
        request: RequestText<'a>,
        /// The reason.
        rejection: Rejection,
        /// The application's reason, if it is [`Rejection::Application`].
        denial: Option<&'a Denial>,
    },
    /// Messages, control frames and bytes since the session's previous `Traffic`. It is reported at each
    /// ping that is sent, at the pong that answers it, at the end, and when 2¹⁵ messages or control frames
    /// or 2²⁰ bytes are unreported. So no state that sessions share is accessed for each frame.
    #[non_exhaustive]
    Traffic {
        /// The id of the session, as in [`Opened`](Self::Opened).
        id: u64,
        /// Messages from the peer, and the payload of all its frames.
        received: Counters,
        /// Messages to the peer, and the payload of all frames.
        sent: Counters,
        /// Number of control frames from the peer.
        control_frames_received: u64,
        /// Number of control frames to the peer.
        control_frames_sent: u64,
        /// The round-trip time, if one was measured.
        round_trip: Option<Duration>,
    },
}

/// Texts of a request, as the peer sent them. They are part of [`EndpointEvent`]s; only an endpoint
/// creates them.
#[derive(Clone, Copy, Debug)]
pub struct RequestText<'a>(&'a Headers);

/// The headers that events have, shared with the request.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    origin: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
}

impl<'a> RequestText<'a> {
    /// Returns the first `Origin` header, if it is UTF-8.
    #[must_use]
    pub fn origin(self) -> Option<&'a str> {
        text(self.0.origin.as_ref())
    }

    /// Returns the first `User-Agent` header, if it is UTF-8.
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
