//! The HTTP client of the service, with connections that are kept for later requests.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::spawn_blocking;

use super::connector::{TimedConnector, UnixConnector};
use super::failure::Failure;
use crate::config::AdmissionOptions;
use crate::config::values::admission::AuthTarget;

/// The maximum size of a response head in bytes, and of its number of fields.
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;

/// How long a connection stays idle at most: less than the five seconds after which common HTTP servers close
/// theirs, so that few requests meet a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The client of one service.
#[derive(Debug)]
pub(super) struct ServiceClient {
    target: AuthTarget,
    timeout: Duration,
    uri: Uri,
    pool: Pool,
}

/// The connections, by what they consist of. The requests have no body; a `String` is the simplest one.
#[derive(Debug)]
enum Pool {
    Tcp(Client<TimedConnector<HttpConnector>, String>),
    Tls(Client<TimedConnector<HttpsConnector<HttpConnector>>, String>),
    Unix(Client<TimedConnector<UnixConnector>, String>),
}

impl ServiceClient {
    /// Creates a client without connections. For `https` it loads the root certificates of the system.
    pub(super) async fn new(
        target: &AuthTarget,
        options: &AdmissionOptions,
    ) -> Result<Self, Failure> {
        let timeout = options.auth_timeout;
        // With fewer idle connections than there are requests at a time, many would be closed in a storm of
        // handshakes, and opened again.
        let max_idle = options.max_concurrent;
        let (uri, pool) = match target {
            AuthTarget::Http(uri) if uri.scheme_str() == Some("https") => {
                // Some two hundred certificates are read and parsed.
                let roots = spawn_blocking(system_roots).await;
                let roots = roots.map_err(|error| Failure::Roots(error.to_string()))??;
                let connector = HttpsConnectorBuilder::new()
                    .with_tls_config(tls_config(roots)?)
                    .https_only()
                    .enable_http1()
                    .wrap_connector(tcp_connector());
                (uri.clone(), Pool::Tls(pooled(TimedConnector::new(connector, timeout), max_idle)))
            }
            AuthTarget::Http(uri) => (
                uri.clone(),
                Pool::Tcp(pooled(TimedConnector::new(tcp_connector(), timeout), max_idle)),
            ),
            AuthTarget::Unix { socket, path } => {
                let uri = Uri::builder().scheme("http").authority("localhost");
                let uri = uri.path_and_query(path.as_str()).build().map_err(Failure::Request)?;
                let connector = UnixConnector::new(socket);
                (uri, Pool::Unix(pooled(TimedConnector::new(connector, timeout), max_idle)))
            }
        };
        Ok(Self { target: target.clone(), timeout, uri, pool })
    }

    pub(super) fn is_for(&self, target: &AuthTarget, timeout: Duration) -> bool {
        self.target == *target && self.timeout == timeout
    }

    /// Returns the target of requests.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Sends a request, and returns the response once its head is complete.
    ///
    /// If the connection ends without a response, it is sent once more: the service may have closed an idle
    /// connection at this moment, and a GET may be repeated (RFC 9112, section 9.3.1).
    pub(super) async fn send(
        &self,
        request: Request<String>,
    ) -> Result<Response<Incoming>, Failure> {
        match self.send_once(request.clone()).await {
            Err(failure) if failure.is_connection_lost() => self.send_once(request).await,
            result => result,
        }
    }

    async fn send_once(&self, request: Request<String>) -> Result<Response<Incoming>, Failure> {
        let response = match &self.pool {
            Pool::Tcp(client) => client.request(request).await,
            Pool::Tls(client) => client.request(request).await,
            Pool::Unix(client) => client.request(request).await,
        };
        response.map_err(Failure::Exchange)
    }
}

fn pooled<C: Connect + Clone>(connector: C, max_idle: usize) -> Client<C, String> {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(max_idle)
        .pool_timer(TokioTimer::new())
        .http1_max_buf_size(MAX_HEAD_BYTES)
        .http1_max_headers(MAX_HEADERS)
        .build(connector)
}

fn tcp_connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector
}

fn system_roots() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let error =
            found.errors.first().map_or_else(|| "there is none".into(), ToString::to_string);
        return Err(Failure::Roots(error));
    }
    Ok(roots)
}

fn tls_config(roots: RootCertStore) -> Result<ClientConfig, Failure> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Roots(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
