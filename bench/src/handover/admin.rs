//! Requests to the admin listener.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Limit of a request: a handover may delay it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends a request, and returns the status and the body of the response.
///
/// # Errors
///
/// [`io::ErrorKind::ConnectionRefused`] if no process listens; others if the request may have been received.
pub fn request(admin: SocketAddr, line: &str, body: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let sent = stream.write_all(request.as_bytes());
    let mut response = String::new();
    sent.and_then(|()| stream.read_to_string(&mut response)).map_err(|error| {
        match error.kind() {
            // The connection was accepted by the system, and not refused.
            io::ErrorKind::ConnectionRefused => io::ErrorKind::ConnectionReset.into(),
            _ => error,
        }
    })?;
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| io::Error::other(format!("the response is {response:?}")))
}

/// Returns a metric without labels.
///
/// # Errors
///
/// The request failed, or there is no such metric.
pub fn metric(admin: SocketAddr, name: &str) -> io::Result<f64> {
    let value = metrics(admin)?.remove(name);
    value.ok_or_else(|| io::Error::other(format!("there is no metric {name}")))
}

/// Returns all metrics without labels.
///
/// # Errors
///
/// The request failed.
pub fn metrics(admin: SocketAddr) -> io::Result<HashMap<String, f64>> {
    let (_, body) = request(admin, "GET /metrics", "")?;
    let metric = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(body.lines().filter_map(metric).collect())
}
