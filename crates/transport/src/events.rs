//! Events of sessions and refused requests, for an observer that makes log lines and metrics from them.

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN, USER_AGENT};
use ws_core::{CloseFrame, CloseRecord, Counters};

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
    /// Another process continues this session, and reports its [`Closed`](Self::Closed).
    #[non_exhaustive]
    HandedOver {
        /// The id of the session, as in [`Opened`](Self::Opened).
        id: u64,
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
        /// The Close frame, if the refusal is [visible](crate::VisibleRefusal): the status was not sent.
        close: Option<&'a CloseFrame>,
    },
    /// This process continues a session, whose [`Opened`](Self::Opened) another one has reported.
    #[non_exhaustive]
    TakenOver {
        /// The id of the session, the same as there.
        id: u64,
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
    /// Boxed, because most requests have none.
    trace: Option<Box<TraceHeaders>>,
}

/// The headers by which a request is found in the log of a proxy, and in a trace.
#[derive(Debug)]
struct TraceHeaders {
    traceparent: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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

    /// Returns the first `traceparent` header, if it is valid: 55 characters, which identify the request in a
    /// trace (W3C Trace Context, section 3.2). A client that has it from nowhere can make one up.
    #[must_use]
    pub fn traceparent(self) -> Option<&'a str> {
        text(self.0.trace.as_ref()?.traceparent.as_ref()).and_then(valid_traceparent)
    }

    /// Returns the first `X-Request-ID` header, if it is 1 to 64 visible characters of ASCII without quotes
    /// and backslashes. Many proxies set it, and log it.
    #[must_use]
    pub fn request_id(self) -> Option<&'a str> {
        text(self.0.trace.as_ref()?.request_id.as_ref()).filter(|id| is_request_id(id))
    }
}

impl Headers {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let first = |name| headers.get(name).cloned();
        Self {
            origin: first(ORIGIN),
            user_agent: first(USER_AGENT),
            trace: TraceHeaders::of(headers),
        }
    }

    pub(crate) fn text(&self) -> RequestText<'_> {
        RequestText(self)
    }
}

impl TraceHeaders {
    fn of(headers: &HeaderMap) -> Option<Box<Self>> {
        let first = |name| headers.get(name).cloned();
        let (traceparent, request_id) = (first(TRACEPARENT), first(REQUEST_ID));
        let is_present = traceparent.is_some() || request_id.is_some();
        is_present.then(|| Box::new(Self { traceparent, request_id }))
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    str::from_utf8(value?.as_bytes()).ok()
}

/// Returns the version, the trace, the parent and the flags. A later version may append fields.
fn valid_traceparent(text: &str) -> Option<&str> {
    let (fields, rest) = text.split_at_checked(55)?;
    let lengths = fields.split('-').map(str::len);
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_valid = lengths.eq([2, 32, 16, 2])
        && fields.bytes().all(|byte| byte == b'-' || is_hex(byte))
        && !fields.starts_with("ff")
        && fields.split('-').skip(1).take(2).all(|id| id.bytes().any(|byte| byte != b'0'))
        && (rest.is_empty() || !fields.starts_with("00") && rest.starts_with('-'));
    is_valid.then_some(fields)
}

fn is_request_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    (1..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}
