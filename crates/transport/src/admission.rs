//! The interface between a handshake and its application: whether a session opens, whose it is, what for,
//! and until when.
//!
//! The endpoint calls it after its own checks, so an implementation sees only valid handshakes from
//! allowed origins. Read [`Admit`] first.

use std::future::{Future, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{
    HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_PROTOCOL,
};
use hyper::http::Extensions;
use hyper::{Request, Uri};
use tokio::time::Instant;

use crate::client::Client;
use crate::handler::Handler;
use crate::handshake::{Denial, Protocol, belongs_to_http, is_tchar};
use crate::identity::Identity;
use crate::peer::Peer;

/// Decides, for a request that is a valid opening handshake, whether a session opens, and what it is for.
///
/// A [`Handler`] that can be cloned is one: it admits everybody, and each session gets a clone.
///
/// ```
/// use transport::hyper::header::COOKIE;
/// use transport::{Admission, Admit, Denial, Discard, Handshake, Identity};
///
/// /// Admits a client by its cookie.
/// struct ByCookie;
///
/// impl Admit for ByCookie {
///     type Handler = Discard;
///
///     async fn admit(&self, handshake: &Handshake<'_>) -> Result<Admission<Discard>, Denial> {
///         let cookie = handshake.headers().get(COOKIE).and_then(|cookie| cookie.to_str().ok());
///         // A database would be asked here.
///         match cookie {
///             Some("session=7f3a") => {
///                 let user = Identity::try_from("alice").expect("the name is not empty");
///                 Ok(Admission::new(Discard).identity(user))
///             }
///             _ => Err(Denial::unauthorized("no_session", "log in first", "Cookie")),
///         }
///     }
/// }
/// ```
pub trait Admit: Send + Sync {
    /// The handler of the sessions.
    type Handler: Handler;

    /// Decides about one handshake.
    ///
    /// The session's permit is acquired already, so at most as many of these run as there are permits. The
    /// future is dropped if the client leaves, if its time is over, and if a drain begins: it has to be
    /// cancel safe. If it panics, the request is refused with 500.
    ///
    /// # Errors
    ///
    /// The reason why no session opens.
    fn admit(
        &self,
        handshake: &Handshake<'_>,
    ) -> impl Future<Output = Result<Admission<Self::Handler>, Denial>> + Send;

    /// Returns the handler that continues a session of the process before this one, from what its handler
    /// [froze](Handler::freeze) there, or `None` if it cannot. The session was admitted there, with this
    /// identity; its expiry holds on. By default it cannot.
    fn thaw(&self, identity: Option<&Identity>, frozen: Bytes) -> Option<Self::Handler> {
        let _ = (identity, frozen);
        None
    }
}

impl<H: Handler + Clone + Sync> Admit for H {
    type Handler = H;

    fn admit(
        &self,
        _: &Handshake<'_>,
    ) -> impl Future<Output = Result<Admission<H>, Denial>> + Send {
        ready(Ok(Admission::new(self.clone())))
    }

    fn thaw(&self, _: Option<&Identity>, frozen: Bytes) -> Option<H> {
        Handler::thaw(self, frozen)
    }
}

/// A valid opening handshake: the head of the request, and its client. [`Admit`] has an example.
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    protocol: Protocol,
    client: &'a Client,
    identity: Option<&'a Identity>,
}

impl<'a> Handshake<'a> {
    /// Creates the handshake of a request, which is not checked here.
    #[must_use]
    pub fn new<B>(request: &'a Request<B>, client: &'a Client) -> Self {
        Self {
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
            protocol: Protocol::of(request.version(), client.is_encrypted),
            client,
            identity: None,
        }
    }

    /// Returns the path of the request.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.uri.path()
    }

    /// Returns the query of the request, without the question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.uri.query()
    }

    /// Returns all header fields of the request.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns what the HTTP server has attached to the request.
    #[must_use]
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// Returns the version of HTTP, and whether the connection to this process uses TLS.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns the address of the client, as the server has determined it.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.client.peer
    }

    /// Returns the name in the client's verified TLS certificate, if it has one.
    #[must_use]
    pub fn certificate_name(&self) -> Option<&'a str> {
        self.client.certificate_name.as_deref()
    }

    /// Returns who the client is, if something in front of this application has determined it.
    #[must_use]
    pub fn identity(&self) -> Option<&'a Identity> {
        self.identity
    }

    /// Returns the same handshake with an identity, for an [`Admit`] that wraps another.
    #[must_use]
    pub fn with_identity(self, identity: &'a Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// Returns the subprotocols that the client offers, in the order of its preference (RFC 6455,
    /// section 4.2.2). What is no token is left out.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        //= rfc6455#11.3.4-1
        let lines = self.headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
        // Of bytes, because a byte that is not ASCII must not hide the other names of its line.
        let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        let names = names.filter_map(|name| str::from_utf8(name.trim_ascii()).ok());
        //= rfc6455#4.2.1-11
        names.filter(|name| is_token(name))
    }

    /// Returns this subprotocol, if the client offers it.
    #[must_use]
    pub fn subprotocol(&self, name: &str) -> Option<Subprotocol> {
        //= rfc6455#4.2.2-5
        let offered = self.subprotocols().find(|offered| *offered == name)?;
        HeaderValue::from_str(offered).ok().map(Subprotocol)
    }
}

/// Returns whether `text` is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    //= rfc6455#4.2.2-7
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// A subprotocol that the client has offered. Only [`Handshake::subprotocol`] creates it, because a client fails
/// if another is selected (RFC 6455, section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subprotocol(HeaderValue);

/// What a session is opened with. [`Admit`] has an example.
#[derive(Debug)]
#[must_use = "an admission is returned from `admit`"]
pub struct Admission<H> {
    pub(crate) handler: H,
    pub(crate) grant: Grant,
    /// Not a map, which is large while it is empty.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What an [`Admission`] was made of.
///
/// ```
/// use transport::{Admission, Discard, Identity};
///
/// let admission = Admission::new(Discard).identity(Identity::try_from("alice")?);
/// assert_eq!(admission.into_parts().identity.unwrap().as_str(), "alice");
/// # Ok::<(), transport::InvalidIdentity>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct AdmissionParts<H> {
    /// The handler of the session.
    pub handler: H,
    /// Whose session it is.
    pub identity: Option<Identity>,
    /// When it ends.
    pub expires: Option<Instant>,
    /// The headers of the response, with the subprotocol.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Whose a session is, and until when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grant {
    pub(crate) identity: Option<Identity>,
    pub(crate) expires: Option<Instant>,
    /// The number of calls of [`SessionRegistry::disconnect`](crate::SessionRegistry::disconnect) when the
    /// admission began.
    pub(crate) calls: u64,
}

impl<H> Admission<H> {
    /// Creates an admission without an identity and without an end.
    pub fn new(handler: H) -> Self {
        Self { handler, grant: Grant::default(), headers: Vec::new() }
    }

    /// Sets whose session it is. It appears in the log and the table of sessions, and
    /// [`SessionRegistry::disconnect`](crate::SessionRegistry::disconnect) ends the session by it.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.grant.identity = Some(identity);
        self
    }

    /// Sets whose session it is, unless that is set already.
    pub fn or_identity(mut self, identity: Identity) -> Self {
        self.grant.identity.get_or_insert(identity);
        self
    }

    /// Ends the session after this time, counted from now: it is closed with 3000 and the reason
    /// `expired`. An end that was set before stays if it is earlier.
    pub fn expires_in(mut self, time: Duration) -> Self {
        // A time that is beyond the clock's range is no end.
        if let Some(at) = Instant::now().checked_add(time) {
            self.grant.expires = Some(self.grant.expires.map_or(at, |earlier| earlier.min(at)));
        }
        self
    }

    /// Like [`expires_in`](Self::expires_in), at a time of the calendar. A later change of the system's
    /// clock does not change the end.
    pub fn expires_at(self, time: SystemTime) -> Self {
        self.expires_in(time.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Selects a subprotocol.
    pub fn subprotocol(mut self, Subprotocol(name): Subprotocol) -> Self {
        //= rfc6455#11.3.4-2
        self.headers.retain(|(header, _)| header != SEC_WEBSOCKET_PROTOCOL);
        self.headers.push((SEC_WEBSOCKET_PROTOCOL, name));
        self
    }

    /// Adds a header to the 101, or over HTTP/2 to the 200, such as `Set-Cookie`.
    ///
    /// # Panics
    ///
    /// Panics if it is one that the handshake itself has, frames a body, or is specific to the connection,
    /// such as `Keep-Alive`.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        //= rfc6455#11.3.2-1 rfc6455#11.3.3-1 rfc6455#11.3.4-2
        let of_handshake = [SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL];
        let is_reserved = of_handshake.contains(&name) || belongs_to_http(&name);
        assert!(!is_reserved, "the handshake decides on the header {name}");
        self.headers.push((name, value));
        self
    }

    /// Returns its parts, for tests of an [`Admit`].
    pub fn into_parts(self) -> AdmissionParts<H> {
        let Self { handler, grant: Grant { identity, expires, .. }, headers } = self;
        AdmissionParts { handler, identity, expires, headers }
    }

    /// Returns the same admission with another handler, for an [`Admit`] that wraps another.
    pub fn map_handler<T>(self, map: impl FnOnce(H) -> T) -> Admission<T> {
        Admission { handler: map(self.handler), grant: self.grant, headers: self.headers }
    }
}

impl Grant {
    /// Returns it in a box, because most sessions have none.
    pub(crate) fn boxed(self) -> Option<Box<Self>> {
        let is_empty = self.identity.is_none() && self.expires.is_none();
        (!is_empty).then(|| Box::new(self))
    }
}
