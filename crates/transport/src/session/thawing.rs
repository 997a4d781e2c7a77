//! A frozen session of another process, until it continues in this one.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use ws_core::SessionConfig;

use super::driver::Session;
use super::task::SessionTask;
use super::websocket::{SizeLimits, WebSocket};
use crate::catch_panic::CatchPanic;
use crate::drain::DrainToken;
use crate::events::{EndpointEvent, Observer, observe};
use crate::handler::Handler;
use crate::handover::FrozenSession;
use crate::permit::Permit;

/// A frozen session of another process, which is about to continue here.
#[derive(Debug)]
#[must_use = "the session continues with `begin`"]
pub struct ThawingSession<H, O, S> {
    pub(crate) frozen: FrozenSession,
    pub(crate) handler: CatchPanic<H>,
    pub(crate) stream: S,
    pub(crate) token: DrainToken,
    pub(crate) observer: Arc<O>,
    pub(crate) config: Arc<SessionConfig>,
    pub(crate) sizes: SizeLimits,
    pub(crate) permit: Permit,
    /// As in [`Grant`](crate::admission::Grant), when it was prepared.
    pub(crate) calls: u64,
}

impl<H, O, S> ThawingSession<H, O, S>
where
    H: Handler,
    O: Observer,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Returns the stream.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Spawns the session. It was frozen for the time `pause`.
    ///
    /// Its id must be one that this process does not assign
    /// ([`Drain::skip_session_ids_below`](crate::Drain::skip_session_ids_below)). Must be called within a tokio
    /// runtime.
    pub fn begin(self, pause: Duration) {
        let Self { frozen, handler, stream, token, observer, config, sizes, permit, calls } = self;
        let id = frozen.id;
        let socket = WebSocket::new(stream, sizes);
        let session = Session::thaw(&frozen, pause, socket, config, handler, token);
        if let Some(identity) = frozen.identity {
            session.token().sessions().insert(id, identity, calls);
        }
        observe(&*observer, &EndpointEvent::TakenOver { id });
        tokio::spawn(SessionTask::observed(session, observer, permit));
    }
}
