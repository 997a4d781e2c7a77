//! The log lines at startup: the effective configuration, and warnings about valid settings that are
//! unlikely to work well.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tracing::{info, warn};
use transport::SizeLimits;

use crate::config::{Config, ShutdownOptions};
use crate::limits::MAX_CONCURRENT_REFUSALS;
use crate::net::address::ListenAddress;
use crate::net::client_addr::{ClientAddrPolicy, ForwardedHeader, ProxyProtocol};
use crate::net::listeners::Listeners;
use crate::time::milliseconds;

/// Memory of an idle session, rounded up.
const IDLE_SESSION_BYTES: usize = 4096;

/// Additional memory of a session over HTTP/2: its 16 KiB window in a buffer that has doubled, a DATA
/// frame, and h2's state of the stream.
const HTTP2_SESSION_BYTES: usize = 40 << 10;

/// Memory of HTTP and TLS for a connection: a TLS handshake of maximum length, or after it the buffers of
/// TLS and h2, a partial record, a partial frame, and the HPACK tables.
const CONNECTION_BYTES: usize = 96 << 10;

/// Memory of h2 for a stream without a session: a response, or a last DATA frame.
const HTTP2_STREAM_BYTES: usize = 6 << 10;

/// Output that one poll of a session may add above `max_queued_bytes`: the pongs for all pings it read.
const POLL_OUTPUT_BYTES: usize = 16 << 10;

/// Half of 60 seconds, the common idle timeout of proxies, so that one ping may be lost.
const MAX_PING_INTERVAL: Duration = Duration::from_secs(30);

/// Number of clients above which simultaneous reconnects overload a server.
const SPREAD_RECOMMENDED_ABOVE: u64 = 1000;

/// Logs the effective configuration, how to connect to the endpoints at `paths`, and all warnings.
pub(crate) fn log_startup(config: &Config, listeners: &Listeners, open_files: u64, paths: &[&str]) {
    let raw = |key| config.settings.get(key).texts().join(",");
    info!(
        event = "starting",
        version = config.settings.definitions().name_and_version(),
        listen = listeners.addresses().join(","),
        admin = listeners.admin_address().unwrap_or_else(|| "none".to_owned()),
        allowed_origins = raw("allowed_origins"),
        missing_origin = raw("missing_origin"),
        null_origin = raw("null_origin"),
        max_connections = config.max_connections,
        max_connections_per_address = config.max_connections_per_address,
        worst_case_bytes = worst_case_bytes(config),
    );
    warn_about_settings(config, open_files);
    let (all, plain) = (listeners.ports(), listeners.plain_ports());
    warn_about_addresses(config, &all, &plain, listeners.are_encrypted());
    if listeners.are_shared() && config.shutdown.delay.is_zero() {
        warn!(
            event = "no_delay_for_handover",
            "the listening socket is inherited and passes to the next process; set drain_delay_secs to a \
             few seconds, so that accepted clients can finish their handshake during a restart"
        );
    }

    for path in paths {
        for url in listeners.addresses().iter().filter_map(|address| url(address, path)) {
            info!(event = "endpoint", url, "clients connect here");
        }
    }
    if config.policy.origins.allowed.is_empty() {
        info!(
            event = "no_allowed_origins",
            "no page in a browser may connect; set allowed_origins to the origins of your pages"
        );
    }
}

/// Returns the URL of the endpoint on a listener, unless that is a Unix socket.
fn url(address: &str, path: &str) -> Option<String> {
    let (scheme, address) = match address.split_once(':') {
        Some(("unix", _)) => return None,
        Some(("tls", address)) => ("wss", address),
        Some(_) | None => ("ws", address),
    };
    let address: SocketAddr = address.parse().ok()?;
    if address.ip().is_unspecified() {
        // It accepts connections to every address of the machine.
        return Some(format!("{scheme}://localhost:{}{path}", address.port()));
    }
    Some(format!("{scheme}://{address}{path}"))
}

/// Recommends a spread of shutdowns if many sessions are open. Returns whether it did.
pub(crate) fn recommend_spread(config: &Config, sessions: u64) -> bool {
    let is_recommended =
        sessions > SPREAD_RECOMMENDED_ABOVE && config.shutdown.drain.spread.is_zero();
    if is_recommended {
        info!(
            event = "spread_recommended",
            sessions,
            "a shutdown closes all sessions at once, and all clients reconnect at once; set \
             drain_spread_secs to spread this"
        );
    }
    is_recommended
}

/// Logs the warnings that a start with this configuration would log without inherited sockets.
pub(crate) fn warn_about_config(config: &Config, open_files: u64) {
    warn_about_settings(config, open_files);
    let (tls, plaintext): (Vec<_>, Vec<_>) = config
        .listen
        .addresses
        .iter()
        .partition(|address| matches!(address, ListenAddress::Tls(_)));
    let ports = |addresses: &[&ListenAddress]| -> Vec<SocketAddr> {
        addresses.iter().filter_map(|address| address.tcp()).collect()
    };
    let plain = ports(&plaintext);
    let all = [plain.clone(), ports(&tls)].concat();
    warn_about_addresses(config, &all, &plain, !tls.is_empty());
}

/// Warns about valid settings that cannot work, or not well.
pub(crate) fn warn_about_settings(config: &Config, open_files: u64) {
    let connections = u64::try_from(config.max_connections).unwrap_or(u64::MAX);
    let files = connections.saturating_add(config.reserved_files);
    if files > open_files {
        warn!(
            event = "too_few_open_files",
            max_connections = config.max_connections,
            open_files,
            reserved = config.reserved_files,
            "the limit of open files is too low for max_connections: the system will refuse connections first"
        );
    }
    let interval = config.policy.session.timing.ping_interval;
    if interval >= MAX_PING_INTERVAL {
        warn!(
            event = "pings_too_rare",
            ping_interval_ms = milliseconds(interval),
            "common proxies close connections after 60 idle seconds, and one ping may be lost; keep \
             ping_interval_secs below 30"
        );
    }
    let ShutdownOptions { grace, delay, drain } = config.shutdown;
    let parts = delay + drain.spread + config.policy.session.timing.close_timeout;
    if parts > grace {
        warn!(
            event = "grace_too_short",
            parts_ms = milliseconds(parts),
            grace_ms = milliseconds(grace),
            "the sum of drain_delay_secs, drain_spread_secs and close_timeout_secs exceeds \
             shutdown_grace_secs, so a shutdown aborts sessions that could have closed"
        );
    }
    warn_about_certificate(config);
    let ClientAddrPolicy { proxies, forwarded_header, proxy_protocol } = &config.client_addr;
    let reads_client_addr =
        *forwarded_header != ForwardedHeader::Off || *proxy_protocol != ProxyProtocol::Off;
    if reads_client_addr && proxies.is_empty() {
        warn!(
            event = "no_trusted_proxies",
            "forwarded_header and proxy_protocol apply to trusted_proxies only, and trusted_proxies is \
             empty"
        );
    }
}

/// Warns that nobody can reach the operations of the program.
pub(crate) fn warn_about_missing_admin_listener() {
    warn!(
        event = "admin_listener_missing",
        "this program has operations for the admin listener, and admin_listen is none"
    );
}

/// Warns about inherited sockets that are not used.
pub(crate) fn warn_about_unused_sockets() {
    warn!(
        event = "sockets_for_another",
        "LISTEN_PID is not this process, so the sockets of LISTEN_FDS are not used; the process that \
         starts the server must replace itself (exec), or unset these variables"
    );
}

/// Warns about a certificate that expires soon, or whose expiry cannot be read.
pub(crate) fn warn_about_certificate(config: &Config) {
    let Some(tls) = &config.tls else { return };
    if let Some(certificate) = tls.undated() {
        warn!(
            event = "certificate_undated",
            certificate,
            "the expiry of this certificate in tls_cert_file cannot be read, so no warning precedes it"
        );
    }
    if tls.is_expiring() {
        warn!(
            event = "certificate_expires",
            not_after = format_expiry(tls.not_after()),
            "clients reject the certificate after this time; replace its files, and the new one is loaded"
        );
    }
}

/// Formats the expiry of a certificate for the log.
pub(crate) fn format_expiry(not_after: Option<SystemTime>) -> String {
    not_after.map_or_else(|| "unknown".to_owned(), httpdate::fmt_http_date)
}

/// Warns about listeners that clients can reach. `plain` has the TCP addresses in `all` without TLS;
/// `has_tls` is also set by a Unix socket with TLS, which has no address in `all`.
fn warn_about_addresses(config: &Config, all: &[SocketAddr], plain: &[SocketAddr], has_tls: bool) {
    let is_public = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
    let is_limited =
        config.max_connections_per_address > 0 || !config.client_addr.proxies.is_empty();
    if let Some(address) = all.iter().find(is_public).filter(|_| !is_limited) {
        warn!(
            event = "no_limit_per_address",
            %address,
            "one client can use all connections; if clients reach this address directly, set \
             max_connections_per_address"
        );
    }
    //= rfc6455#10.6-2
    if let Some(address) = plain.iter().find(is_public).filter(|_| !config.plaintext_ok) {
        warn!(
            event = "plaintext",
            %address,
            "data of clients on other machines can be read and modified on the network; use a tls: \
             listener, or set plaintext_ok if a proxy terminates TLS"
        );
    }
    if config.tls.is_some() && !has_tls {
        warn!(
            event = "tls_unused",
            "a certificate is set, but no listener uses it: none begins with tls:, no inherited socket is named tls"
        );
    }
}

/// Returns the memory of all connections together if each reaches all of its limits, and each session
/// has its own connection.
fn worst_case_bytes(config: &Config) -> usize {
    let SizeLimits { max_message_bytes, max_queued_bytes } = config.policy.sizes;
    // Twice: the frame that is being read, and the message that is being assembled.
    let input = max_message_bytes.saturating_mul(2);
    let output = max_queued_bytes.saturating_add(POLL_OUTPUT_BYTES);
    let session =
        input.saturating_add(output).saturating_add(IDLE_SESSION_BYTES + HTTP2_SESSION_BYTES);
    let streams = usize::try_from(config.http2_max_streams).unwrap_or(usize::MAX);
    // Twice: the head in the read buffer, and its parsed form.
    let connection = CONNECTION_BYTES
        .saturating_add(config.max_header_bytes.saturating_mul(2))
        .saturating_add(streams.saturating_mul(HTTP2_STREAM_BYTES));
    let connections = config.max_connections.saturating_add(MAX_CONCURRENT_REFUSALS);
    let sessions = config.max_connections.saturating_mul(session);
    sessions.saturating_add(connections.saturating_mul(connection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sources::RawSettings;

    fn config(spread: &str) -> Config {
        let flags = [("drain_spread_secs".to_owned(), spread.to_owned())];
        let settings = RawSettings::load(None, &[], &flags);
        Config::check(settings, 1024).expect("the settings are valid")
    }

    #[test]
    fn a_spread_is_recommended_above_a_thousand_open_sessions() {
        assert!(!recommend_spread(&config("0"), 1000));
        assert!(recommend_spread(&config("0"), 1001));
        assert!(!recommend_spread(&config("1"), 1001));
    }

    #[test]
    fn the_url_of_a_listener_is_one_to_connect_to() {
        let url = |address| url(address, "/path");
        assert_eq!(url("127.0.0.1:80").as_deref(), Some("ws://127.0.0.1:80/path"));
        assert_eq!(url("tls:[::1]:443").as_deref(), Some("wss://[::1]:443/path"));
        assert_eq!(url("tls:0.0.0.0:443").as_deref(), Some("wss://localhost:443/path"));
        assert_eq!(url("[::]:80").as_deref(), Some("ws://localhost:80/path"));
        assert_eq!(url("unix:/run/a.sock"), None);
    }
}
