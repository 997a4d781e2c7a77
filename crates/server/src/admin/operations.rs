//! The operations that a program adds to the admin listener.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use hyper::body::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

/// The paths of the server itself.
pub(super) const OWN_PATHS: [&str; 8] =
    ["/", "/config", "/connections", "/disconnect", "/drain", "/livez", "/metrics", "/readyz"];

/// The most bytes of a request's body. A longer one is refused with 413.
pub(super) const MAX_BODY_BYTES: usize = 1 << 20;

/// A request to an operation of the program.
///
/// Its host is one that the admin listener allows, its body is complete and at most 1 MiB long, and it has no
/// `Origin` header: no page in a browser can send it, except by GET or HEAD from the listener's own page.
#[derive(Debug)]
#[non_exhaustive]
pub struct AdminRequest {
    /// The method, the target and the header fields.
    pub head: Parts,
    /// The body.
    pub body: Bytes,
}

/// An operation of the program: an async function of an [`AdminRequest`].
pub trait Operation: Send + Sync + 'static {
    /// Answers a request. It has 5 seconds from the connection to the end of the response. If it panics, the
    /// connection is closed without a response, and the server goes on.
    fn call(&self, request: AdminRequest) -> BoxResponse;
}

/// The future response of an [`Operation`].
pub type BoxResponse = Pin<Box<dyn Future<Output = Response<String>> + Send>>;

impl<F, R> Operation for F
where
    F: Fn(AdminRequest) -> R + Send + Sync + 'static,
    R: Future<Output = Response<String>> + Send + 'static,
{
    fn call(&self, request: AdminRequest) -> BoxResponse {
        Box::pin(self(request))
    }
}

/// The operations of the program.
#[derive(Default)]
pub(crate) struct Operations(Vec<Registered>);

struct Registered {
    method: Method,
    path: String,
    operation: Box<dyn Operation>,
}

/// What the operations have for a request.
pub(super) enum Found<'a> {
    Operation(&'a dyn Operation),
    /// The path has operations for these methods only.
    OtherMethods(String),
    Nothing,
}

impl Operations {
    pub(crate) fn register(&mut self, method: Method, path: String, operation: impl Operation) {
        assert!(path.starts_with('/') && !path.contains(['?', '#']), "{path:?} is not a path");
        assert!(!OWN_PATHS.contains(&&*path), "{path:?} belongs to the server");
        let is_same = |it: &Registered| it.method == method && it.path == path;
        assert!(!self.0.iter().any(is_same), "{method} {path:?} is registered twice");
        self.0.push(Registered { method, path, operation: Box::new(operation) });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let at_path: Vec<&Registered> = self.0.iter().filter(|it| it.path == path).collect();
        if at_path.is_empty() {
            return Found::Nothing;
        }
        match at_path.iter().find(|it| it.method == *method) {
            Some(found) => Found::Operation(&*found.operation),
            None => {
                let methods: Vec<&str> = at_path.iter().map(|it| it.method.as_str()).collect();
                Found::OtherMethods(methods.join(", "))
            }
        }
    }

    /// Returns the paths, for the response to a request for another.
    pub(super) fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = self.0.iter().map(|it| it.path.as_str()).collect();
        paths.dedup();
        paths
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|it| (&it.method, &it.path))).finish()
    }
}

/// Returns a response with a status and a body of text.
///
/// ```
/// use server::admin_response;
/// use server::transport::hyper::StatusCode;
///
/// let response = admin_response(StatusCode::ACCEPTED, "published\n");
/// assert_eq!(response.status(), 202);
/// ```
#[must_use]
pub fn admin_response(status: StatusCode, body: impl Into<String>) -> Response<String> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
}
