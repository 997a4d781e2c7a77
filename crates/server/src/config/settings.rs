//! The definition of every setting: its type, its default and its meaning. There is no other list.
//!
//! The command line and its help, the environment variables, the JSON Schema, the example file and the
//! table of the manual are derived from it.

use clap::{Arg, Args, Command};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;

use crate::config::values::admission::{AuthUrl, OptionalHeaderName};
use crate::config::values::compression::CompressionMode;
use crate::config::values::handover::{OptionalTakeoverAddress, UpToAMinute};
use crate::config::values::{
    Addresses, AdminAddress, ByteSize, Decision, DrainCode, ForwardedHeaderName, HeaderBytes,
    HostName, LogFilter, LogFormat, MaxConnections, Mode, OptionalByteSize, OptionalCount,
    OptionalPath, OptionalSeconds, OriginPatterns, ProxyProtocolUse, Seconds, Switch, TrustedPeers,
    UpToTenThousand, UpToThousand,
};

/// The prefix of the environment variables.
pub(crate) const PREFIX: &str = "WS_STATUS_";

/// The values of all settings. The doc comment of a field is its explanation in `--help` and in the manual.
#[expect(
    clippy::doc_markdown,
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "--help prints the comments as they are"
)]
#[derive(Clone, Debug, Args, Deserialize, JsonSchema)]
#[schemars(
    title = "Settings of ws-status",
    description = "A file with settings. An environment variable or a flag overrides it.",
    deny_unknown_fields
)]
pub struct Settings {
    /// Addresses to listen on: "ADDRESS:PORT", "tls:ADDRESS:PORT" or "unix:/PATH". Port 0 selects a
    /// free port, which the log reports. "[::]" also accepts IPv4, unless an IPv4 address with the
    /// same port is in the list, as in "0.0.0.0:8080,[::]:8080". Sockets inherited from systemd
    /// replace the whole list.
    #[arg(
        long,
        value_name = "ADDRESSES",
        default_value = "127.0.0.1:8080",
        help_heading = "Listen"
    )]
    #[schemars(extend("x-needs-restart" = true))]
    pub listen: Addresses,

    /// Permissions of the files of Unix sockets, in octal.
    #[arg(long, value_name = "MODE", default_value = "0660", help_heading = "Listen")]
    #[schemars(extend("x-needs-restart" = true))]
    pub listen_unix_mode: Mode,

    /// File with the certificate chain for "tls:" listeners, in PEM: the server's certificate first,
    /// then the intermediate certificates. It is reloaded when it changes.
    #[arg(long, value_name = "FILE", default_value = "", help_heading = "TLS")]
    pub tls_cert_file: OptionalPath,

    /// File with the private key of the certificate, in PEM, without a passphrase.
    #[arg(long, value_name = "FILE", default_value = "", help_heading = "TLS")]
    pub tls_key_file: OptionalPath,

    /// File with the CA certificates that client certificates are verified against, in PEM. If it is
    /// set, every client of a "tls:" listener needs a certificate.
    #[arg(long, value_name = "FILE", default_value = "", help_heading = "TLS")]
    pub tls_client_ca_file: OptionalPath,

    /// Declares that plaintext listeners on addresses other than loopback are intended, for example
    /// behind a proxy that terminates TLS: true, or false, which logs a warning for such a listener.
    #[arg(long, value_name = "BOOL", default_value = "false", help_heading = "TLS")]
    pub plaintext_ok: Switch,

    /// Proxies that may state the client's address: addresses, networks such as "10.0.0.0/8", and
    /// "unix" for all peers on Unix sockets. If empty, no proxy is trusted.
    #[arg(long, value_name = "NETWORKS", default_value = "", help_heading = "Proxies")]
    pub trusted_proxies: TrustedPeers,

    /// Header from which the client's address is read if a trusted proxy sent the request: "forwarded"
    /// (RFC 7239), "x-forwarded-for" or "off".
    #[arg(long, value_name = "HEADER", default_value = "off", help_heading = "Proxies")]
    pub forwarded_header: ForwardedHeaderName,

    /// Whether trusted proxies send a PROXY protocol header, version 1 or 2: "off", "optional" or
    /// "required". With "required", connections of all other peers are closed.
    #[arg(long, value_name = "MODE", default_value = "off", help_heading = "Proxies")]
    pub proxy_protocol: ProxyProtocolUse,

    /// Origins of the pages that may connect: "https://example.com", "https://*.example.com" for any
    /// single label, the origin that an app sends, such as "file://", "self" for the server's own
    /// origin by the Host header, or "*" for any. If empty, no page may connect.
    #[arg(long, value_name = "ORIGINS", default_value = "", help_heading = "Origins")]
    pub allowed_origins: OriginPatterns,

    /// Requests without an Origin header, which browsers always send: "allow" or "refuse".
    #[arg(long, value_name = "DECISION", default_value = "allow", help_heading = "Origins")]
    pub missing_origin: Decision,

    /// Requests with Origin: null, which sandboxed pages send: "allow" or "refuse".
    #[arg(long, value_name = "DECISION", default_value = "refuse", help_heading = "Origins")]
    pub null_origin: Decision,

    /// Whether pages of allowed origins see why they are refused: true or false. A browser hides the response
    /// to a handshake from the page. With true, a refusal for a limit, for a shutdown, by the application or
    /// by what authenticates clients is a WebSocket that is closed at once, with 1013, 3000 or 3003 and the
    /// reason.
    #[arg(long, value_name = "BOOL", default_value = "false", help_heading = "Origins")]
    pub visible_refusals: Switch,

    /// Header in which a trusted proxy names the user of a request, after it has authenticated it. Each
    /// request must then come from one of trusted_proxies and have this header once, or it is refused with
    /// 401. With auth_url, it is a header of the response of that service instead.
    #[arg(long, value_name = "HEADER", default_value = "", help_heading = "Admission")]
    pub identity_header: OptionalHeaderName,

    /// Header with the time at which the permission of a user ends, in seconds since 1970: the session is
    /// then closed with 3000. It is read and required like identity_header.
    #[arg(long, value_name = "HEADER", default_value = "", help_heading = "Admission")]
    pub expires_header: OptionalHeaderName,

    /// URL of a service that decides on each handshake: "http://HOST/PATH", "https://HOST/PATH", or
    /// "unix:/SOCKET:/PATH". 2xx admits, 401 and 403 refuse.
    #[arg(long, value_name = "URL", default_value = "", help_heading = "Admission")]
    pub auth_url: AuthUrl,

    /// Seconds that the service at auth_url has for its response. Then the request is refused with 503.
    #[arg(long, value_name = "SECONDS", default_value = "1", help_heading = "Admission")]
    pub auth_timeout_secs: Seconds,

    /// Maximum number of handshakes that are decided at the same time, by the service at auth_url or by the
    /// application, at most 10000. More wait in order, within handshake_timeout_secs.
    #[arg(long, value_name = "COUNT", default_value = "256", help_heading = "Admission")]
    #[schemars(extend("x-needs-restart" = true))]
    pub max_concurrent_admissions: UpToTenThousand,

    /// Seconds between two pings. Keep it below the idle timeout of every proxy between client and
    /// server.
    #[arg(long, value_name = "SECONDS", default_value = "25", help_heading = "Keep-alive")]
    pub ping_interval_secs: Seconds,

    /// Seconds after a ping within which the peer must send any data.
    #[arg(long, value_name = "SECONDS", default_value = "10", help_heading = "Keep-alive")]
    pub pong_timeout_secs: Seconds,

    /// Seconds that a closing handshake may take.
    #[arg(long, value_name = "SECONDS", default_value = "3", help_heading = "Keep-alive")]
    pub close_timeout_secs: Seconds,

    /// Compression of messages with permessage-deflate (RFC 7692) for clients that offer it: "off",
    /// "fresh" (each message by itself) or "shared" (with the message before it as the dictionary, which
    /// saves more if they are similar). Keep it "off" if a message contains a secret and text that an
    /// attacker chooses, because its compressed length tells the secret; with "shared", two consecutive
    /// messages count as one.
    #[arg(long, value_name = "MODE", default_value = "off", help_heading = "Compression")]
    pub compression: CompressionMode,

    /// Whether messages are also compressed for browsers with WebKit, which are Safari and every browser
    /// on iOS: true or false. WebKit fails sessions on valid compressed messages. It is recognized by
    /// User-Agent: "AppleWebKit/" without "Chrome/" or "Chromium/".
    #[arg(long, value_name = "BOOL", default_value = "false", help_heading = "Compression")]
    pub compress_webkit: Switch,

    /// Maximum number of concurrent sessions of one HTTP/2 connection, at most 1000.
    #[arg(long, value_name = "COUNT", default_value = "64", help_heading = "Limits")]
    pub http2_max_streams: UpToThousand,

    /// Seconds from accepting a connection to its upgrade.
    #[arg(long, value_name = "SECONDS", default_value = "10", help_heading = "Limits")]
    pub handshake_timeout_secs: Seconds,

    /// Maximum number of connections and sessions: each session counts, and so does each connection
    /// without a session. "auto" is the limit of open files minus 256, with auth_url minus
    /// max_concurrent_admissions, and with visible_refusals minus 128; a higher value logs a warning.
    #[arg(long, value_name = "COUNT", default_value = "auto", help_heading = "Limits")]
    pub max_connections: MaxConnections,

    /// Maximum age of a session in seconds: it is closed with 1001 at 0.9 to 1.0 of this time, so that
    /// its client reconnects and may reach another server. 0 disables the limit.
    #[arg(long, value_name = "SECONDS", default_value = "0", help_heading = "Limits")]
    pub max_connection_age_secs: OptionalSeconds,

    /// The same limit as max_connections for one client address, or for one /64 of IPv6. An IPv4
    /// address embedded in an IPv6 address (mapped, NAT64 by 64:ff9b::/96, 6to4) counts as the IPv4
    /// address. 0 disables the limit: behind a proxy or NAT, many users share one address.
    #[arg(long, value_name = "COUNT", default_value = "0", help_heading = "Limits")]
    pub max_connections_per_address: OptionalCount,

    /// Maximum size of a request head in bytes, at least 8192. For HTTP/2 it is the approximate size
    /// in HTTP/1.1: each name and value plus 4 bytes, and all parts of a cookie as one field.
    #[arg(long, value_name = "BYTES", default_value = "8192", help_heading = "Limits")]
    pub max_header_bytes: HeaderBytes,

    /// Maximum number of header fields in a request, at most 1000. In HTTP/2, pseudo-headers do not
    /// count, and all parts of a cookie count as one.
    #[arg(long, value_name = "COUNT", default_value = "64", help_heading = "Limits")]
    pub max_headers: UpToThousand,

    /// Maximum payload of a client's frame or message in bytes.
    #[arg(long, value_name = "BYTES", default_value = "4096", help_heading = "Limits")]
    pub max_message_bytes: ByteSize,

    /// Messages that a client may send per second. 0 disables the limit.
    #[arg(long, value_name = "COUNT", default_value = "10", help_heading = "Limits")]
    pub messages_per_second: OptionalCount,

    /// Messages that a client may send in a burst. 0 disables the limit.
    #[arg(long, value_name = "COUNT", default_value = "20", help_heading = "Limits")]
    pub message_burst: OptionalCount,

    /// Pings and unsolicited pongs that a client may send per second. 0 disables the limit.
    #[arg(long, value_name = "COUNT", default_value = "10", help_heading = "Limits")]
    pub control_frames_per_second: OptionalCount,

    /// Pings and unsolicited pongs that a client may send in a burst. 0 disables the limit.
    #[arg(long, value_name = "COUNT", default_value = "20", help_heading = "Limits")]
    pub control_frame_burst: OptionalCount,

    /// Seconds from the first byte of a message to its last. 0 disables the limit.
    #[arg(long, value_name = "SECONDS", default_value = "10", help_heading = "Limits")]
    pub message_timeout_secs: OptionalSeconds,

    /// Seconds that output may be pending without any progress. 0 disables the limit.
    #[arg(long, value_name = "SECONDS", default_value = "10", help_heading = "Limits")]
    pub write_timeout_secs: OptionalSeconds,

    /// Bytes of output queued for one client above which no further messages are generated for it.
    #[arg(long, value_name = "BYTES", default_value = "65536", help_heading = "Limits")]
    pub max_queued_bytes: ByteSize,

    /// Size of the kernel's buffers of a connection in bytes, for each direction (SO_RCVBUF and
    /// SO_SNDBUF; Linux adds its own overhead). Output is buffered up to this size only if it is sent
    /// soon. 0 uses the system's defaults, which grow to megabytes.
    #[arg(long, value_name = "BYTES", default_value = "65536", help_heading = "Limits")]
    #[schemars(extend("x-needs-restart" = true))]
    pub socket_buffer_bytes: OptionalByteSize,

    /// Seconds that a shutdown may take in total. Sessions that are still open then are aborted.
    #[arg(long, value_name = "SECONDS", default_value = "15", help_heading = "Shutdown")]
    pub shutdown_grace_secs: Seconds,

    /// Seconds from the shutdown signal to the first refusal. Readiness already fails during this
    /// delay, so that load balancers can notice.
    #[arg(long, value_name = "SECONDS", default_value = "0", help_heading = "Shutdown")]
    pub drain_delay_secs: OptionalSeconds,

    /// Seconds over which a shutdown closes the open sessions, evenly spread. With 0 all sessions are
    /// closed at once, and all clients reconnect at once.
    #[arg(long, value_name = "SECONDS", default_value = "0", help_heading = "Shutdown")]
    pub drain_spread_secs: OptionalSeconds,

    /// Seconds over which the clients of closed sessions come back, evenly spread: the reason of the Close
    /// tells each client when, as in "drained retry=4200", in milliseconds. It is counted from the first
    /// close of a shutdown, and for max_connection_age_secs from 0.9 of that age. With 0, clients are not
    /// told.
    #[arg(long, value_name = "SECONDS", default_value = "0", help_heading = "Shutdown")]
    pub reconnect_spread_secs: OptionalSeconds,

    /// Close code of a shutdown: 1001 (going away), or 1012 (service restart) if the service returns
    /// at once.
    #[arg(long, value_name = "CODE", default_value = "1001", help_heading = "Shutdown")]
    pub drain_close_code: DrainCode,

    /// Unix socket on which a new process of the server takes over from this one: "unix:/PATH" or "none".
    /// The new process is started by the same user, with --take-over and this address, and gets the listening
    /// sockets and the sessions.
    #[arg(long, value_name = "ADDRESS", default_value = "none", help_heading = "Handover")]
    #[schemars(extend("x-needs-restart" = true))]
    pub takeover_listen: OptionalTakeoverAddress,

    /// Seconds that a handover waits for sessions that cannot be handed over at once, for example while a
    /// message is being received, at most 60. Those that are left are closed as in a shutdown.
    #[arg(long, value_name = "SECONDS", default_value = "2", help_heading = "Handover")]
    pub takeover_wait_secs: UpToAMinute,

    /// Address of the admin listener, which serves health, metrics, the status page and the drain:
    /// "ADDRESS:PORT", "unix:/PATH" or "none". Clients must not be able to reach it.
    #[arg(long, value_name = "ADDRESS", default_value = "none", help_heading = "Admin")]
    #[schemars(extend("x-needs-restart" = true))]
    pub admin_listen: AdminAddress,

    /// Additional host name that requests to the admin listener may use, besides "localhost" and any
    /// IP address. Requests that use another name are refused, which stops DNS rebinding. Empty adds
    /// none.
    #[arg(long, value_name = "NAME", default_value = "", help_heading = "Admin")]
    pub admin_host: HostName,

    /// Whether to keep the table for /connections of the admin listener, about 240 bytes per session:
    /// true or false.
    #[arg(long, value_name = "BOOL", default_value = "false", help_heading = "Admin")]
    #[schemars(extend("x-needs-restart" = true))]
    pub connection_table: Switch,

    /// Log filter: a level ("error", "warn", "info", "debug", "trace", "off"), or levels by module,
    /// such as "warn,server=info".
    #[arg(long, value_name = "FILTER", default_value = "info", help_heading = "Log")]
    pub log: LogFilter,

    /// Log format: "text" or "json".
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Log")]
    #[schemars(extend("x-needs-restart" = true))]
    pub log_format: LogFormat,
}

/// A setting as it is documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the file.
    pub key: String,
    /// The part of the manual that it belongs to.
    pub group: String,
    /// Its default in the syntax of the file.
    pub default: String,
    /// Its explanation, in which values are in double quotes.
    pub meaning: String,
    /// Whether a change of it needs a restart.
    pub needs_restart: bool,
    /// Its default in the syntax of a flag.
    pub(crate) default_text: String,
    pub(crate) is_list: bool,
}

impl Setting {
    /// Returns the name of its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.to_uppercase())
    }

    /// Returns its flag.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// Formats the texts of a value as TOML.
    pub(crate) fn toml(&self, texts: &[String]) -> String {
        let quoted: Vec<String> = texts.iter().map(|text| basic_string(text)).collect();
        if self.is_list {
            return format!("[{}]", quoted.join(", "));
        }
        let text = texts.concat();
        // A number in another notation is quoted, which is accepted as well.
        let is_number = text.parse::<f64>().is_ok_and(|number| number.to_string() == text);
        let is_boolean = text == "true" || text == "false";
        if is_number || is_boolean { text } else { quoted.concat() }
    }
}

/// Returns the JSON Schema (draft 7) of a file with settings, for editors.
#[must_use]
pub fn schema() -> Value {
    let mut schema =
        SchemaGenerator::new(SchemaSettings::draft07()).into_root_schema_for::<Settings>();
    schema.remove("required");
    let mut schema = schema.to_value();
    for setting in read_definitions::<Settings>() {
        let table = toml::from_str::<Value>(&format!("default = {}", setting.default));
        let default = table.ok().and_then(|table| table.get("default").cloned());
        let property = schema.pointer_mut(&format!("/properties/{}", setting.key));
        if let Some(Value::Object(property)) = property {
            property.insert("default".to_owned(), default.unwrap_or_default());
            property.insert("description".to_owned(), setting.meaning.into());
        }
    }
    schema
}

/// Reads the list from clap (order, groups, defaults) and schemars (meanings, types).
pub(crate) fn read_definitions<T: Args + JsonSchema>() -> Vec<Setting> {
    let schema =
        SchemaGenerator::new(SchemaSettings::draft07()).into_root_schema_for::<T>().to_value();
    let command = T::augment_args(Command::new("settings"));
    let setting = |arg: &Arg| {
        let key = arg.get_id().to_string();
        let property = |name: &str| schema.pointer(&format!("/properties/{key}/{name}"));
        let meaning = property("description").and_then(Value::as_str).unwrap_or_default();
        let default = arg.get_default_values().first();
        let mut setting = Setting {
            group: arg.get_help_heading().unwrap_or_default().to_owned(),
            default: String::new(),
            meaning: meaning.split_whitespace().collect::<Vec<_>>().join(" "),
            needs_restart: property("x-needs-restart").is_some(),
            default_text: default.and_then(|it| it.to_str()).unwrap_or_default().to_owned(),
            is_list: property("type").is_some_and(|it| it == "array"),
            key,
        };
        let texts: Vec<String> = match (setting.is_list, setting.default_text.as_str()) {
            (true, "") => Vec::new(),
            (_, text) => vec![text.to_owned()],
        };
        setting.default = setting.toml(&texts);
        setting
    };
    command.get_arguments().map(setting).collect()
}

/// Quotes a text as a TOML basic string, whose escapes differ from Rust's.
fn basic_string(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
