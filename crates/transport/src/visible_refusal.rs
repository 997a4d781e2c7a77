//! A refusal that a page can see: a WebSocket that is closed at once.
//!
//! A browser hides the response to a handshake from the page (WebSockets Standard, section 4.1), which gets
//! 1006 whatever the reason is. A close code and its reason are not hidden.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use ws_core::{CloseFrame, Limits, SessionConfig, Timing};

use crate::drain::DrainToken;
use crate::handler::Handler;
use crate::handshake::Upgrade;
use crate::session::{Session, SizeLimits, WebSocket};

/// A WebSocket that opens only to be closed with the reason of a refusal. It is no session: it has no
/// handler of the application, no permit of a session, and no events but the refusal.
///
/// It ends after a second at the latest, and an endpoint has at most [`MAX_VISIBLE_REFUSALS`] of them at a
/// time. A drain waits for it.
///
/// [`Answer`](crate::Answer) sends it over HTTP/1.1 and HTTP/2. Its methods are for other protocols.
#[derive(Debug)]
#[must_use = "the client waits for the response"]
pub struct VisibleRefusal<H> {
    upgrade: Upgrade,
    subprotocol: Option<HeaderValue>,
    close: CloseFrame,
    token: DrainToken,
    /// As for a session: what the client sends before it has the Close frame is read and dropped.
    sizes: SizeLimits,
    permit: OwnedSemaphorePermit,
    /// The session is of the same type as the others, so the driver is monomorphized once.
    handler: PhantomData<fn() -> H>,
}

/// The most visible refusals of an endpoint at a time. Above it, requests are refused by a response.
pub const MAX_VISIBLE_REFUSALS: usize = 128;

/// Time for the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl<H: Handler> VisibleRefusal<H> {
    /// `subprotocol` is one that the client offers: a browser fails the connection if it offers some and none
    /// is selected, and the page would not see the code.
    pub(crate) fn new(
        upgrade: Upgrade,
        subprotocol: Option<&str>,
        close: CloseFrame,
        token: DrainToken,
        sizes: SizeLimits,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let subprotocol = subprotocol.and_then(|name| HeaderValue::from_str(name).ok());
        Self { upgrade, subprotocol, close, token, sizes, permit, handler: PhantomData }
    }

    /// Returns the response to send: a 101, or a 200 over HTTP/2.
    #[must_use]
    pub fn response(&self) -> Response<String> {
        let mut response = self.upgrade.response();
        if let Some(name) = &self.subprotocol {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name.clone());
        }
        response
    }

    /// Spawns the closing handshake on `stream`. The response has to be sent before.
    ///
    /// Must be called within a tokio runtime.
    pub fn begin<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        tokio::spawn(self.close(stream));
    }

    /// The same on the stream of an HTTP/1.1 connection, once hyper has sent the response.
    pub(crate) fn begin_on_upgrade<S>(self, upgraded: OnUpgrade, reclaim: fn(Upgraded) -> S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        tokio::spawn(async move {
            if let Ok(upgraded) = upgraded.await {
                self.close(reclaim(upgraded)).await;
            }
        });
    }

    async fn close<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let timing = Timing {
            ping_interval: CLOSE_TIMEOUT,
            pong_timeout: CLOSE_TIMEOUT,
            close_timeout: CLOSE_TIMEOUT,
            max_age: None,
            reconnect_spread: Duration::ZERO,
        };
        let config = Arc::new(SessionConfig { timing, limits: Limits::default() });
        let socket = WebSocket::new(stream, self.sizes);
        let _ = Session::<S, H>::closing(socket, config, self.token, self.close).await;
        drop(self.permit);
    }
}
