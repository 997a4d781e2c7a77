//! What a program adds to the server: its endpoints, and its own operations on the admin listener.

use bytes::Bytes;
use hyper::Method;
use prometheus_client::registry::Registry;
use transport::{Admit, SessionRegistry};

use crate::admin::operations::{Operation, Operations};
use crate::handover::states::States;
use crate::routes::{PATH, Routes};

/// The endpoints of a server, each at its path, and the program's operations and metrics on the admin
/// listener.
///
/// ```
/// use server::Server;
/// use server::transport::Discard;
///
/// let server = Server::new().route("/ws/status", Discard).route("/ws/other", Discard);
/// # drop(server);
/// ```
#[derive(Debug, Default)]
#[must_use = "a server does nothing unless it is run"]
pub struct Server {
    pub(super) routes: Routes,
    pub(super) operations: Operations,
    pub(super) sessions: SessionRegistry,
    pub(super) metrics: Registry,
    pub(super) states: States,
}

impl Server {
    /// Creates a server without endpoints.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a server with one endpoint, at [`PATH`].
    pub fn status(admit: impl Admit + 'static) -> Self {
        Self::new().route(PATH, admit)
    }

    /// Registers an endpoint. A request for it may have a query, which is the application's.
    ///
    /// # Panics
    ///
    /// Panics if the path does not begin with `/`, has a query, or is registered already.
    pub fn route(mut self, path: impl Into<String>, admit: impl Admit + 'static) -> Self {
        self.routes.register(path.into(), admit);
        self
    }

    /// Registers an operation on the admin listener. See [`AdminRequest`](crate::AdminRequest) for what has
    /// been checked before it is called.
    ///
    /// # Panics
    ///
    /// Panics if the path does not begin with `/`, has a query, or belongs to the server or to another
    /// operation.
    pub fn admin(
        mut self,
        method: Method,
        path: impl Into<String>,
        operation: impl Operation,
    ) -> Self {
        self.operations.register(method, path.into(), operation);
        self
    }

    /// Registers metrics of the program, which `/metrics` on the admin listener has beside those of the
    /// server. `docs/metrics.md` in the repository has the names of those, which no other metric may have.
    ///
    /// A collector must not block, because the admin listener waits for it. If it panics, the connection is
    /// closed without a response, and the server goes on. A label whose values clients choose would let them
    /// create series without end.
    ///
    /// ```
    /// use server::Server;
    /// use server::prometheus_client::metrics::counter::Counter;
    /// use server::transport::Discard;
    ///
    /// let published: Counter = Counter::default();
    /// let server = Server::status(Discard).metrics(|registry| {
    ///     let registry = registry.sub_registry_with_prefix("example");
    ///     registry.register("published", "States that were published", published.clone());
    /// });
    /// published.inc(); // example_published_total 1
    /// # drop(server);
    /// ```
    pub fn metrics(mut self, register: impl FnOnce(&mut Registry)) -> Self {
        register(&mut self.metrics);
        self
    }

    /// Registers a state of the program, such as what a publisher has published, which the process after this
    /// one continues when it takes over. The name finds it there.
    ///
    /// `freeze` returns the state. It is called when sessions are frozen and no operation of the program runs
    /// on the admin listener; this process may go on with the state afterwards. `restore` continues the state of
    /// the process before, which may be another version of the program. It is called before the sessions of that
    /// process continue and before the first client is accepted, and again before sessions that follow later:
    /// then it does nothing if this process has a newer state. Neither may block. If all states together have more
    /// than 60 MiB, nothing is handed over.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use server::Server;
    /// use server::transport::Discard;
    ///
    /// let orders = Arc::new(AtomicU64::new(0));
    /// let restored = Arc::clone(&orders);
    /// let server = Server::status(Discard).hand_over(
    ///     "orders",
    ///     move || orders.load(Ordering::Relaxed).to_string().into(),
    ///     move |frozen| {
    ///         let number = str::from_utf8(&frozen).ok().and_then(|text| text.parse().ok());
    ///         restored.store(number.unwrap_or_default(), Ordering::Relaxed);
    ///     },
    /// );
    /// # drop(server);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the name is registered already.
    pub fn hand_over(
        mut self,
        name: &'static str,
        freeze: impl Fn() -> Bytes + Send + Sync + 'static,
        restore: impl Fn(Bytes) + Send + Sync + 'static,
    ) -> Self {
        self.states.register(name, freeze, restore);
        self
    }

    pub(crate) fn has_operations(&self) -> bool {
        !self.operations.is_empty()
    }

    pub(crate) fn paths(&self) -> Vec<&str> {
        self.routes.paths()
    }

    /// Returns the sessions of all endpoints that have an identity, through which they can be ended.
    #[must_use]
    pub fn sessions(&self) -> SessionRegistry {
        self.sessions.clone()
    }
}
