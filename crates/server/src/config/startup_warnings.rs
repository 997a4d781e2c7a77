//! What the server says of itself when it starts: what was decided, and what cannot work.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tracing::{info, warn};
use transport::SizeLimits;

use crate::config::cli::VERSION;
use crate::config::sources::RawSettings;
use crate::config::{Config, RESERVED_FILES, ShutdownOptions};
use crate::limits::MAX_REFUSALS_AT_ONCE;
use crate::net::address::ListenAddress;
use crate::net::client_addr::{ClientAddrPolicy, ForwardedHeader, ProxyProtocol};
use crate::net::listener::Listeners;
use crate::time::milliseconds;

/// What a session takes when nothing waits to be read or written, generously.
const IDLE_BYTES: usize = 4096;

/// What HTTP/2 may hold for a session besides: its window of 16 KiB in a buffer that has doubled, a DATA
/// frame, and what h2 knows of a stream.
const HTTP2_SESSION_BYTES: usize = 40 << 10;

/// What HTTP or TLS may hold for a connection: a TLS handshake of the greatest length, or after it the
/// buffers of TLS and h2, a record and a frame that have not come in full, and the tables of headers.
const CHANNEL_BYTES: usize = 96 << 10;

/// What h2 may hold for a stream that has no session, or none any more: an answer, or a last DATA frame.
const HTTP2_STREAM_BYTES: usize = 6 << 10;

/// What one wake-up may add to the output, above what may be queued: a pong for all that it read.
const WAKE_UP_BYTES: usize = 16 << 10;

/// Common limits on the way are 60 seconds, and one ping may be late or lost.
const MAX_PING_INTERVAL: Duration = Duration::from_secs(30);

/// More than so many clients that come back at once are a storm.
const SPREAD_RECOMMENDED_ABOVE: usize = 1000;

/// Logs what was decided, and warns of settings that are allowed and cannot work, or not well.
pub(crate) fn log_startup(
    config: &Config,
    settings: &RawSettings,
    listeners: &Listeners,
    open_files: u64,
) {
    let written = |key| settings.get(key).texts().join(",");
    info!(
        event = "starting",
        version = VERSION,
        listen = listeners.addresses().join(","),
        admin = listeners.admin_address().unwrap_or_else(|| "none".to_owned()),
        allowed_origins = written("allowed_origins"),
        missing_origin = written("missing_origin"),
        null_origin = written("null_origin"),
        max_connections = config.max_connections,
        max_connections_per_address = config.max_connections_per_address,
        worst_case_bytes = worst_case_bytes(config),
    );
    warn_of_settings(config, open_files);
    let (all, plain) = (listeners.ports(), listeners.plain_ports());
    warn_of_addresses(config, &all, &plain, listeners.are_encrypted());
    if listeners.are_shared() && config.shutdown.delay.is_zero() {
        warn!(
            event = "no_delay_for_handover",
            "the listening socket is shared with whoever comes after; a drain_delay_secs of some \
             seconds lets clients that are connected already finish their handshake in a restart"
        );
    }

    let ShutdownOptions { farewell, .. } = config.shutdown;
    if config.max_connections > SPREAD_RECOMMENDED_ABOVE && farewell.spread.is_zero() {
        info!(
            event = "spread_recommended",
            max_connections = config.max_connections,
            "a shutdown closes all sessions at once, and all clients come back at once; \
             drain_spread_secs spreads it"
        );
    }
}

/// Warns of what a start with this configuration would warn of, without passed sockets.
pub(crate) fn warn_of(config: &Config, open_files: u64) {
    warn_of_settings(config, open_files);
    let (encrypted, others): (Vec<_>, Vec<_>) = config
        .listen
        .addresses
        .iter()
        .partition(|address| matches!(address, ListenAddress::Tls(_)));
    let ports = |addresses: &[&ListenAddress]| -> Vec<SocketAddr> {
        addresses.iter().filter_map(|address| address.tcp()).collect()
    };
    let plain = ports(&others);
    let all = [plain.clone(), ports(&encrypted)].concat();
    warn_of_addresses(config, &all, &plain, !encrypted.is_empty());
}

/// Warns of settings that are allowed and cannot work, or not well.
pub(crate) fn warn_of_settings(config: &Config, open_files: u64) {
    let files =
        u64::try_from(config.max_connections).unwrap_or(u64::MAX).saturating_add(RESERVED_FILES);
    if files > open_files {
        warn!(
            event = "too_few_open_files",
            max_connections = config.max_connections,
            open_files,
            reserved = RESERVED_FILES,
            "connections will be refused by the system before max_connections is reached"
        );
    }
    let interval = config.policy.session.timing.ping_interval;
    if interval >= MAX_PING_INTERVAL {
        warn!(
            event = "pings_too_rare",
            ping_interval_ms = milliseconds(interval),
            "common proxies cut connections that idle for 60 seconds, and one ping may be lost; \
             keep ping_interval_secs below 30"
        );
    }
    let ShutdownOptions { grace, delay, farewell } = config.shutdown;
    let parts = delay + farewell.spread + config.policy.session.timing.close_timeout;
    if parts > grace {
        warn!(
            event = "grace_too_short",
            parts_ms = milliseconds(parts),
            grace_ms = milliseconds(grace),
            "drain_delay_secs, drain_spread_secs and close_timeout_secs do not fit into \
             shutdown_grace_secs, so a shutdown cuts sessions that would have closed"
        );
    }
    warn_of_certificate(config);
    let ClientAddrPolicy { proxies, forwarded_header, proxy_protocol } = &config.trust;
    let names_clients =
        *forwarded_header != ForwardedHeader::Off || *proxy_protocol != ProxyProtocol::Off;
    if names_clients && proxies.is_empty() {
        warn!(
            event = "no_trusted_proxies",
            "forwarded_header and proxy_protocol are believed from trusted_proxies only, and there \
             are none"
        );
    }
}

/// Warns of sockets that were passed and are not used.
pub(crate) fn warn_of_sockets_of_another_process() {
    warn!(
        event = "sockets_for_another",
        "LISTEN_PID is not this process, so the sockets of LISTEN_FDS are not used; whoever starts the \
         server has to become it (exec), or to unset these variables"
    );
}

/// Warns of a certificate that nobody has renewed in time.
pub(crate) fn warn_of_certificate(config: &Config) {
    let Some(tls) = &config.tls else { return };
    if let Some(certificate) = tls.undated() {
        warn!(
            event = "certificate_undated",
            certificate,
            "when this certificate of tls_cert_file ends cannot be read, so nobody is warned of it"
        );
    }
    if tls.is_expiring() {
        warn!(
            event = "certificate_expires",
            not_after = date(tls.not_after()),
            "clients refuse it from then on; put a new one into its place, and it is used"
        );
    }
}

/// When a certificate ends, for people.
pub(crate) fn date(not_after: Option<SystemTime>) -> String {
    not_after.map_or_else(|| "unknown".to_owned(), httpdate::fmt_http_date)
}

/// Of `all` the ports, nothing is encrypted on the `plain` ones; whether there is a listener on which
/// everything is may be because of one without a port.
fn warn_of_addresses(
    config: &Config,
    all: &[SocketAddr],
    plain: &[SocketAddr],
    is_encrypted: bool,
) {
    let is_public = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
    let is_guarded = config.max_connections_per_address > 0 || !config.trust.proxies.is_empty();
    if let Some(address) = all.iter().find(is_public).filter(|_| !is_guarded) {
        warn!(
            event = "no_limit_per_address",
            %address,
            "one client can take all connections; where clients reach this address directly, set \
             max_connections_per_address"
        );
    }
    if let Some(address) = plain.iter().find(is_public).filter(|_| !config.plaintext_ok) {
        warn!(
            event = "plaintext",
            %address,
            "whoever is on the way can read and change what clients beyond this machine send; listen \
             on tls:, or behind a proxy that has TLS, say plaintext_ok"
        );
    }
    if config.tls.is_some() && !is_encrypted {
        warn!(
            event = "tls_unused",
            "there is a certificate, and no listener that begins with tls: or is named so"
        );
    }
}

/// What all connections together may take of this process' memory, if every one of them has sent and
/// been sent as much as it may. Each session may have a connection of its own.
fn worst_case_bytes(config: &Config) -> usize {
    let SizeLimits { max_message_bytes, max_queued_bytes } = config.policy.sizes;
    // A message is held while its frame is read and while it is put together.
    let input = max_message_bytes.saturating_mul(2);
    let output = max_queued_bytes.saturating_add(WAKE_UP_BYTES);
    let session = input.saturating_add(output).saturating_add(IDLE_BYTES + HTTP2_SESSION_BYTES);
    let streams = usize::try_from(config.http2_max_streams).unwrap_or(usize::MAX);
    // A head is held while it is read and while it is understood.
    let connection = CHANNEL_BYTES
        .saturating_add(config.max_header_bytes.saturating_mul(2))
        .saturating_add(streams.saturating_mul(HTTP2_STREAM_BYTES));
    let connections = config.max_connections.saturating_add(MAX_REFUSALS_AT_ONCE);
    let sessions = config.max_connections.saturating_mul(session);
    sessions.saturating_add(connections.saturating_mul(connection))
}
