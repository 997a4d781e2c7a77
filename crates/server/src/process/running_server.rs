//! Fetches the settings of a running server from its admin listener, and compares them.

use std::fmt::Write;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::Body;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::Config;

/// Time for the whole request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Returns a line for each setting in which this configuration differs from that of the server whose
/// admin listener has this URL, such as `http://127.0.0.1:9090`.
///
/// Blocks the thread, which must not be one of the runtime's.
///
/// # Errors
///
/// A sentence: the URL is invalid, or the server does not return its settings.
pub(crate) fn changes(url: &str, config: &Config, runtime: &Handle) -> Result<String, String> {
    let cannot = |problem: &dyn std::fmt::Display| {
        format!("--against: cannot read the settings of the server at {url:?}: {problem}")
    };
    let uri: Uri = url.parse().map_err(|error| cannot(&error))?;
    let authority = match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) => authority.to_string(),
        _ => return Err(cannot(&"it must be a URL such as http://127.0.0.1:9090")),
    };
    let running = runtime.block_on(async { timeout(TIMEOUT, fetch(&authority)).await });
    let running = running.map_err(|_| cannot(&"it does not respond"))?;
    let running = running.map_err(|error| cannot(&error))?;
    let mut lines = String::new();
    for setting in &config.settings.definitions().settings {
        let new = setting.toml(&config.settings.get(&setting.key).texts());
        let current = running.pointer(&format!("/{}/value", setting.key));
        let current = current.and_then(Value::as_str).unwrap_or_default();
        if new != current {
            let effect = if setting.needs_restart { "needs a restart" } else { "by a reload" };
            let _ = writeln!(lines, "{}: {current} -> {new} ({effect})", setting.key);
        }
    }
    if lines.is_empty() {
        lines.push_str("the running server has the same settings\n");
    }
    Ok(lines)
}

/// Requests `/config`.
async fn fetch(authority: &str) -> io::Result<Value> {
    let port = if authority.rsplit(':').next().is_some_and(|it| it.parse::<u16>().is_ok()) {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let stream = TcpStream::connect(port).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::get("/config").header(HOST, authority).body(String::new());
    let response = async move {
        let response = sender.send_request(request.map_err(io::Error::other)?).await;
        let (head, mut body) = response.map_err(io::Error::other)?.into_parts();
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        if head.status != StatusCode::OK {
            return Err(io::Error::other(format!("it responds with {}", head.status)));
        }
        serde_json::from_slice(&bytes).map_err(io::Error::other)
    };
    // The connection ends when the sender is dropped, or the server closes it.
    let (response, _) = tokio::join!(response, connection);
    response
}
