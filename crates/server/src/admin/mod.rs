//! The admin listener: health, metrics, the table of connections, the drain, and the status page.
//!
//! It answers one HTTP/1.1 request per connection and keeps no state; `telemetry` and `shutdown` own the
//! data. Start with [`Admin::respond`].

mod disconnect;
pub(crate) mod operations;

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, HeaderValue, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::info;
use transport::{Authority, Peer, SessionRegistry};

use crate::admin::disconnect::Disconnect;
use crate::admin::operations::{AdminRequest, Found, MAX_BODY_BYTES, OWN_PATHS, Operations};
use crate::config::values::DrainCode;
use crate::handover::ThisProcess;
use crate::handover::states::Owner;
use crate::net::accept_errors::AcceptErrors;
use crate::net::listener::Listener;
use crate::net::stream::Stream;
use crate::shutdown::Stage;
use crate::telemetry::MAX_PAGE_ROWS;
use crate::telemetry::metrics::{Format, Snapshot};
use crate::telemetry::writer::dropped_lines;
use crate::tls::Tls;

/// The status page: one file, which fetches only `/metrics` and `/drain`.
const PAGE: &str = include_str!("index.html");

/// Allows the inline script and style of the page, and requests to this listener; forbids everything else,
/// including frames.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Maximum number of concurrent connections. More wait in the backlog.
const MAX_CONNECTIONS: usize = 64;

/// Time from accepting a connection to the end of its response.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Rows of a page of the table if the request has no limit.
const DEFAULT_PAGE_ROWS: usize = 100;

/// Serves the requests of operators.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) process: Arc<ThisProcess>,
    pub(crate) sessions: SessionRegistry,
    pub(crate) operations: Operations,
}

impl Admin {
    /// Serves until it is dropped, which is after the drain, so that operators can watch the drain. After a
    /// handover the successor serves.
    pub(crate) async fn serve(self, listener: Arc<Listener>) {
        let admin = Arc::new(self);
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut errors = AcceptErrors::default();
        let mut accepting = admin.process.shutdown.accepting().receiver();
        loop {
            let permit =
                Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            let admin = Arc::clone(&admin);
            match accepting.accept(|| listener.accept()).await {
                None => break,
                Some(Ok((stream, peer))) => {
                    errors.reset();
                    connections.spawn(async move {
                        admin.serve_connection(stream, peer).await;
                        drop(permit);
                    });
                }
                Some(Err(error)) => {
                    admin.process.telemetry.record_accept_failure(&error);
                    errors.pause(&error).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        connections.join_all().await;
        // The task ends with the process.
        pending::<()>().await;
    }

    /// Serves one request.
    async fn serve_connection(&self, stream: Stream, peer: Peer) {
        let service = service_fn(async |request: Request<Incoming>| {
            let host = request.headers().get(HOST).cloned();
            let path = request.uri().path().to_owned();
            let response = self.respond(request).await;
            if response.status().is_client_error() {
                let host = host.as_ref().map_or(&[][..], HeaderValue::as_bytes);
                let host = str::from_utf8(host).unwrap_or_default();
                self.process.telemetry.record_admin_refusal(peer, &path, host, response.status());
            }
            Ok::<_, Infallible>(response)
        });
        let http = http1::Builder::new()
            .keep_alive(false)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service);
        // Other errors are a client that disconnected, or the timeout.
        if let Ok(Err(error)) = timeout(TIMEOUT, http).await
            && error.is_parse()
        {
            let status = if error.is_parse_too_large() {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            };
            self.process.telemetry.record_admin_refusal(peer, "", "", status);
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<String> {
        match Authority::of(&request) {
            Ok(Some(authority)) if self.is_allowed(&authority) => {}
            // Health checks over HTTP/1.0 may omit Host. Browsers always send it.
            Ok(None) if request.version() < Version::HTTP_11 => {}
            // RFC 9112, section 3.2.
            Ok(None) | Err(_) => {
                let sentence = "the request must have exactly one valid Host header";
                return refuse(StatusCode::BAD_REQUEST, sentence);
            }
            Ok(Some(_)) => {
                let sentence = "the host of the request must be an IP address, localhost or the admin_host setting";
                return refuse(StatusCode::FORBIDDEN, sentence);
            }
        }
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/disconnect" if request.method() == Method::POST => {
                self.perform(async || self.disconnect(&request)).await
            }
            "/disconnect" => not_allowed("POST"),
            "/drain" if request.method() == Method::POST => self.begin_drain(&request),
            "/drain" if !is_read => not_allowed("GET, HEAD, POST"),
            "/" | "/config" | "/connections" | "/livez" | "/metrics" | "/readyz" if !is_read => {
                not_allowed("GET, HEAD")
            }
            "/" => page(),
            "/config" => self.settings(),
            "/connections" => self.connections(request.uri().query().unwrap_or_default()),
            "/drain" => json(StatusCode::OK, &self.progress()),
            // A response is sufficient as proof of liveness.
            "/livez" => plain(StatusCode::OK, "live"),
            "/metrics" => self.metrics(request.headers()),
            "/readyz" => self.readiness(),
            _ => self.call_operation(request).await,
        }
    }

    /// Performs an operation on sessions or on the states of the program, unless the successor has these. A
    /// handover that is being decided delays it.
    async fn perform(&self, operation: impl AsyncFnOnce() -> Response<String>) -> Response<String> {
        let owner = self.process.operations.begin_operation().await;
        if *owner == Owner::Successor {
            let sentence = "another process has taken over; repeat the request";
            return refuse(StatusCode::SERVICE_UNAVAILABLE, sentence);
        }
        operation().await
    }

    /// Whether requests may use this authority. Rejects DNS rebinding, where a web page resolves its own
    /// host name to the address of this listener.
    fn is_allowed(&self, authority: &Authority) -> bool {
        let is_admin_host = |name: &String| authority.host() == name;
        authority.ip().is_some()
            || authority.host() == "localhost"
            || self.process.configs.borrow().admin_host.as_ref().is_some_and(is_admin_host)
    }

    fn readiness(&self) -> Response<String> {
        let stage = self.process.shutdown.stage();
        let status = match stage {
            Stage::Ready => StatusCode::OK,
            Stage::Draining { .. } | Stage::Starting => StatusCode::SERVICE_UNAVAILABLE,
        };
        plain(status, stage.as_str())
    }

    /// Every setting, as TOML has it, and the source of its value.
    fn settings(&self) -> Response<String> {
        let config = self.process.configs.borrow().clone();
        let settings = config.settings.definitions().settings.iter().map(|setting| {
            let raw = config.settings.get(&setting.key);
            let value = setting.toml(&raw.texts());
            (setting.key.clone(), json!({ "value": value, "source": raw.source }))
        });
        json(StatusCode::OK, &settings.collect())
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<String> {
        let stage = self.process.shutdown.stage();
        let config = self.process.configs.borrow().clone();
        let snapshot = Snapshot {
            connections: self.process.permits.in_use(),
            max_connections: config.max_connections,
            is_ready: stage == Stage::Ready,
            is_draining: matches!(stage, Stage::Draining { .. }),
            certificate_expiry: config.tls.as_ref().and_then(Tls::not_after).map_or(
                0,
                |not_after| {
                    let since_epoch = not_after.duration_since(SystemTime::UNIX_EPOCH);
                    since_epoch.unwrap_or_default().as_secs()
                },
            ),
            dropped_lines: dropped_lines(),
        };
        let format = negotiate_format(headers);
        respond(
            StatusCode::OK,
            format.content_type(),
            self.process.telemetry.metrics.encode(format, snapshot),
        )
    }

    fn connections(&self, query: &str) -> Response<String> {
        let Some(table) = &self.process.telemetry.table else {
            let sentence = "the connection table is disabled; connection_table = true enables it, after a restart";
            return refuse(StatusCode::NOT_FOUND, sentence);
        };
        let (mut after, mut limit) = (0, DEFAULT_PAGE_ROWS);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let is_valid = match pair.split_once('=') {
                Some(("after", number)) => number.parse().map(|number| after = number).is_ok(),
                Some(("limit", number)) => number.parse().map(|number| limit = number).is_ok(),
                _ => false,
            };
            if !is_valid || !(1..=MAX_PAGE_ROWS).contains(&limit) {
                let sentence = "the query may be after=ID and limit=N, with N from 1 to 1000";
                return refuse(StatusCode::BAD_REQUEST, sentence);
            }
        }
        json(StatusCode::OK, &table.page(after, limit))
    }

    /// Calls an operation of the program.
    async fn call_operation(&self, request: Request<Incoming>) -> Response<String> {
        let operation = match self.operations.find(request.method(), request.uri().path()) {
            Found::Operation(operation) => operation,
            Found::OtherMethods(methods) => return not_allowed(&methods),
            Found::Nothing => {
                let paths = OWN_PATHS.into_iter().chain(self.operations.paths());
                let paths = paths.collect::<Vec<_>>().join(", ");
                return refuse(StatusCode::NOT_FOUND, &format!("not found; the paths are {paths}"));
            }
        };
        let (head, body) = request.into_parts();
        // Cross-site request forgery: a browser adds this header to every request that is not a GET or HEAD.
        if head.headers.contains_key(ORIGIN) {
            let sentence = "the request must have no Origin header";
            return refuse(StatusCode::FORBIDDEN, sentence);
        }
        match read_body(body).await {
            Some(body) => {
                let request = AdminRequest { head, body };
                self.perform(async || operation.call(request).await).await
            }
            None => refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body must have at most 1 MiB"),
        }
    }

    /// Ends the sessions of an identity.
    fn disconnect<B>(&self, request: &Request<B>) -> Response<String> {
        // As for a drain.
        let headers = request.headers();
        let is_confirmed = headers.get("x-disconnect").is_some_and(|value| value == "1");
        if headers.contains_key(ORIGIN) || !is_confirmed {
            let sentence = "the request must have the header X-Disconnect: 1 and no Origin header";
            return refuse(StatusCode::FORBIDDEN, sentence);
        }
        match Disconnect::parse(request.uri().query().unwrap_or_default()) {
            Ok(Disconnect { identity, frame }) => {
                let sessions = self.sessions.disconnect(&identity, &frame);
                let (code, reason) = (u16::from(frame.code), frame.reason.as_str());
                info!(event = "disconnect_requested", identity, code, reason, sessions);
                json(StatusCode::OK, &json!({ "sessions": sessions }))
            }
            Err(sentence) => refuse(StatusCode::BAD_REQUEST, sentence),
        }
    }

    /// The state of the drain, and the latest handover if there was one.
    fn progress(&self) -> Value {
        let ThisProcess { shutdown, status, telemetry, .. } = &*self.process;
        let mut progress = shutdown.progress(&telemetry.metrics);
        if let (Value::Object(fields), Some(handover)) = (&mut progress, status.to_json()) {
            fields.insert("handover".to_owned(), handover);
        }
        progress
    }

    fn begin_drain<B>(&self, request: &Request<B>) -> Response<String> {
        // Cross-site request forgery: a browser sends this header across origins only after a preflight
        // request, and adds Origin.
        let headers = request.headers();
        if headers.contains_key(ORIGIN) || headers.get("x-drain").is_none_or(|value| value != "1") {
            let sentence = "the request must have the header X-Drain: 1 and no Origin header";
            return refuse(StatusCode::FORBIDDEN, sentence);
        }
        let code = match request.uri().query() {
            None => None,
            Some(query) => match query.strip_prefix("code=").map(str::parse) {
                Some(Ok(DrainCode(code))) => Some(code),
                Some(Err(_)) | None => {
                    let sentence = "the query may be code=1001 or code=1012";
                    return refuse(StatusCode::BAD_REQUEST, sentence);
                }
            },
        };
        info!(event = "drain_requested", code = code.map(u16::from));
        self.process.shutdown.begin(code);
        json(StatusCode::ACCEPTED, &self.progress())
    }
}

/// Selects the format by the `Accept` header. The Prometheus text format is the default.
fn negotiate_format(headers: &HeaderMap) -> Format {
    let quality = |media_type: &str| {
        let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let elements = lines.flat_map(|line| line.split(','));
        let qualities = elements.filter_map(|element| {
            let mut parts = element.split(';').map(str::trim);
            let is_match = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            // RFC 9110, section 12.4.2.
            is_match.then(|| weight.map_or(Some(1.0), |text| text.parse().ok()))?
        });
        qualities.fold(0.0, f32::max)
    };
    let open_metrics = quality("application/openmetrics-text");
    if open_metrics > 0.0 && open_metrics >= quality("text/plain") {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

fn page() -> Response<String> {
    let mut response = respond(StatusCode::OK, "text/html; charset=utf-8", PAGE.to_owned());
    let policy = HeaderValue::from_static(PAGE_POLICY);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

fn json(status: StatusCode, value: &Value) -> Response<String> {
    respond(status, "application/json", format!("{value}\n"))
}

fn plain(status: StatusCode, text: &str) -> Response<String> {
    respond(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn refuse(status: StatusCode, sentence: &str) -> Response<String> {
    plain(status, sentence)
}

/// Reads a body; returns `None` if it is longer than [`MAX_BODY_BYTES`] or is cut short.
async fn read_body(mut body: Incoming) -> Option<Bytes> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > MAX_BODY_BYTES {
            return None;
        }
    }
    Some(bytes.into())
}

fn not_allowed(methods: &str) -> Response<String> {
    let mut response =
        refuse(StatusCode::METHOD_NOT_ALLOWED, "this path does not support the method");
    response.headers_mut().extend(HeaderValue::from_str(methods).ok().map(|it| (ALLOW, it)));
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers: [(HeaderName, &'static str); 3] = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
