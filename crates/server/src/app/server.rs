//! What a program adds to the server: its endpoints, and its own operations on the admin listener.

use hyper::Method;
use transport::{Admit, SessionRegistry};

use crate::admin::operations::{Operation, Operations};
use crate::routes::{PATH, Routes};

/// The endpoints of a server, each at its path, and the program's operations on the admin listener.
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
