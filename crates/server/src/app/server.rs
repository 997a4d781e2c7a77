//! What a program adds to the server: its endpoints, and its own operations on the admin listener.

use hyper::Method;
use prometheus_client::registry::Registry;
use transport::{Admit, SessionRegistry};

use crate::admin::operations::{Operation, Operations};
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
