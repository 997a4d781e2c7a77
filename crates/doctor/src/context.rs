//! `Context`: what every probe is given.

use std::time::Duration;

use crate::admin::{Admin, Counters};
use crate::client::{Attempt, Dialer, Request};
use crate::options::Options;

/// What is examined, and what is known so far.
pub(crate) struct Context<'a> {
    pub(crate) options: &'a Options,
    pub(crate) dialer: Dialer,
    pub(crate) admin: Option<Admin>,
    /// The origin of the sessions that probes open: that of the options, if it is let in.
    pub(crate) origin: Option<&'a str>,
    /// Tells people what is waited for.
    pub(crate) progress: &'a dyn Fn(&str),
}

impl Context<'_> {
    /// Requests a session as a client would that is let in.
    pub(crate) async fn open(&self) -> Attempt {
        self.open_from(self.origin).await
    }

    /// Requests a session with another origin.
    pub(crate) async fn open_from(&self, origin: Option<&str>) -> Attempt {
        self.request(Request { origin, ..self.usual() }).await
    }

    /// Requests a session from a host with a port that does not exist.
    pub(crate) async fn open_with_wrong_port(&self) -> Attempt {
        let authority = self.dialer.target.authority();
        let port = format!(":{}", self.dialer.target.port);
        let host = authority.strip_suffix(&port).unwrap_or(&authority);
        self.request(Request { host: Some(&format!("{host}:99999")), ..self.usual() }).await
    }

    /// The request of a client that is let in.
    pub(crate) fn usual(&self) -> Request<'_> {
        Request { origin: self.origin, headers: &self.options.headers, host: None }
    }

    /// Requests a session.
    pub(crate) async fn request(&self, request: Request<'_>) -> Attempt {
        self.dialer.open(request).await
    }

    /// The counters of the server, if there is an admin listener.
    pub(crate) async fn counters(&self) -> Option<Counters> {
        self.admin.as_ref()?.counters().await
    }

    /// The time for each step.
    pub(crate) fn limit(&self) -> Duration {
        self.options.timeout_secs
    }
}

/// A time for people.
pub(crate) fn time(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 1e3 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
