//! What to change where: the table from a cause to the line of each proxy's configuration.

mod place;

pub use place::Place;

/// A cause that can be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The rules that decide which clients get through.
    Access,
    /// Let this origin in.
    AllowOrigin(String),
    /// The certificate and its key, as the servers of TLS read them.
    Certificate,
    /// Connect with this option of this program.
    Client(&'static str),
    /// Let the path of the endpoint through to the server.
    Forward,
    /// Send the client's address to the server. With a value: the peer that the server sees instead.
    ForwardAddress(String),
    /// Forward without waiting for more bytes.
    ForwardAtOnce,
    /// Forward with HTTP/1.1.
    Http11,
    /// Accept `http/1.1` in TLS.
    Http11InTls,
    /// Stop offering, or pass on, extended CONNECT.
    Http2Connect,
    /// Offer extended CONNECT.
    Http2Offer,
    /// The limit of idle connections; so many seconds were seen.
    IdleLimit(String),
    /// Change something in the network.
    Network(String),
    /// Pass on `Connection`.
    PassConnection,
    /// Pass on control frames.
    PassFrames,
    /// Leave the method unchanged.
    PassMethod,
    /// Pass on the other headers of the handshake.
    PassHandshake,
    /// Pass on `Host`.
    PassHost,
    /// Pass on `Origin`.
    PassOrigin,
    /// Leave the path unchanged.
    PassPath,
    /// Pass on `Upgrade`.
    PassUpgrade,
    /// A limit of requests or connections of one client.
    RateLimit,
    /// No redirect for the path of the endpoint.
    Redirect,
    /// Replace what the client says about its own address.
    ReplaceAddress,
    /// A PROXY header in front of each connection, where the server requires one.
    SendProxyHeader,
    /// No PROXY header in front of each connection, where the server does not expect one.
    NoProxyHeader,
    /// A setting of the server.
    Server(String),
    /// TLS 1.2 and 1.3, with the default cipher suites.
    TlsVersions,
    /// A limit of the whole duration of a connection.
    TotalLimit,
    /// The servers behind the proxy, and its checks of their health.
    Upstream,
}

impl Remedy {
    /// The lines, each with its place.
    pub(crate) fn lines(&self) -> Vec<(Place, String)> {
        use Place::{Alb, Caddy, Client, HaProxy, Network, Nginx, Server};
        let fixed: &[(Place, &str)] = match self {
            Self::AllowOrigin(origin) => {
                return vec![(
                    Server,
                    format!("WS_STATUS_ALLOWED_ORIGINS={origin} (added to the list)"),
                )];
            }
            Self::Client(text) => return vec![(Client, (*text).to_owned())],
            Self::Network(text) => return vec![(Network, text.clone())],
            Self::Server(text) => return vec![(Server, text.clone())],
            Self::ForwardAddress(peer) => {
                let mut lines = owned(FORWARD_ADDRESS);
                lines.push((Server, "WS_STATUS_FORWARDED_HEADER=x-forwarded-for".to_owned()));
                if !peer.is_empty() {
                    lines.push((
                        Server,
                        format!("WS_STATUS_TRUSTED_PROXIES={peer} (added to the list)"),
                    ));
                }
                return lines;
            }
            Self::IdleLimit(seen) => {
                let mut lines = owned(IDLE_LIMIT);
                let ping = format!(
                    "WS_STATUS_PING_INTERVAL_SECS below {seen}, if no proxy can be changed"
                );
                lines.push((Server, ping));
                return lines;
            }
            Self::Access => &[
                (Nginx, "auth_basic, auth_request, allow and deny for this path"),
                (HaProxy, "http-request deny and http-request auth for this path"),
                (Caddy, "basicauth, forward_auth and respond for this path"),
                (Alb, "the authentication of the listener's rule, and its web access control list"),
                (Client, "--header with the credentials of a user who may connect"),
            ],
            Self::Certificate => &[
                (
                    Nginx,
                    "ssl_certificate /etc/nginx/ws-status.pem; with the certificate for this name \
                     and then the intermediate ones",
                ),
                (
                    HaProxy,
                    "bind :443 ssl crt /etc/haproxy/ws-status.pem with the certificate, the \
                     intermediate ones and the key",
                ),
                (
                    Caddy,
                    "the name in the address of the site, as in status.example.com { … }, or tls \
                     cert.pem key.pem",
                ),
                (Alb, "the certificate of the HTTPS:443 listener"),
                (
                    Server,
                    "WS_STATUS_TLS_CERT_FILE with the certificate for this name and then the \
                     intermediate ones",
                ),
            ],
            Self::Forward => &[
                (
                    Nginx,
                    "location = /ws/status { proxy_pass http://ws_status; } in the server block with \
                     this server_name",
                ),
                (
                    HaProxy,
                    "default_backend ws_status, or use_backend ws_status if { path /ws/status }",
                ),
                (Caddy, "reverse_proxy /ws/status 10.0.0.11:8080 10.0.0.12:8080"),
                (
                    Alb,
                    "a rule of the listener: path /ws/status forwards to the target group of the \
                     server",
                ),
            ],
            Self::ForwardAtOnce => &[
                (Nginx, "proxy_buffering off; and, in stream blocks, tcp_nodelay on;"),
                (HaProxy, "no option http-buffer-request, and option http-no-delay"),
                (Caddy, "flush_interval -1, and no request_buffers or response_buffers"),
                (
                    Network,
                    "a gateway or virus scanner that collects responses must exclude this path",
                ),
            ],
            Self::Http11 => &[
                (Nginx, "proxy_http_version 1.1;"),
                (HaProxy, "mode http, which speaks HTTP/1.1 to servers"),
                (Caddy, "reverse_proxy's transport http { versions 1.1 }"),
                (Alb, "protocol version HTTP1 of the target group"),
            ],
            Self::Http11InTls => &[
                (Nginx, "listen 443 ssl;"),
                (HaProxy, "bind :443 ssl crt … alpn h2,http/1.1"),
                (Caddy, "servers { protocols h1 h2 }"),
            ],
            Self::Http2Connect => &[
                (HaProxy, "h2-workaround-bogus-websocket-clients in global, which stops the offer"),
                (Nginx, "no http2 for this server, or a version that does not offer it"),
                (Caddy, "without GODEBUG=http2xconnect=1"),
            ],
            Self::Http2Offer => &[
                (
                    HaProxy,
                    "bind :443 ssl crt … alpn h2,http/1.1 since version 2.4, without \
                     h2-workaround-bogus-websocket-clients in global",
                ),
                (Caddy, "GODEBUG=http2xconnect=1 since version 2.9"),
                (Nginx, "nothing: nginx does not offer it, and browsers use HTTP/1.1"),
                (Alb, "nothing: it does not offer it, and browsers use HTTP/1.1"),
            ],
            Self::NoProxyHeader => &[
                (HaProxy, "server … without send-proxy and send-proxy-v2"),
                (Nginx, "stream: without proxy_protocol on;"),
                (
                    Server,
                    "WS_STATUS_PROXY_PROTOCOL=required, with the proxy in WS_STATUS_TRUSTED_PROXIES",
                ),
            ],
            Self::PassConnection => &[
                (
                    Nginx,
                    "proxy_set_header Connection $connection_upgrade; with its map, or \"Upgrade\"",
                ),
                (HaProxy, "no http-request del-header or set-header of connection"),
                (Caddy, "no header_up Connection"),
            ],
            Self::PassFrames => &[
                (
                    Network,
                    "a gateway or firewall that reads WebSocket frames must pass on pings, pongs and \
                     Close frames",
                ),
                (Server, "the log: it has a line when the session closed, with the cause"),
            ],
            Self::PassHandshake => &[
                (
                    Nginx,
                    "no proxy_set_header Sec-WebSocket-…, and no proxy_pass_request_headers off;",
                ),
                (HaProxy, "no http-request del-header or set-header of sec-websocket-…"),
                (Caddy, "no header_up Sec-WebSocket-…"),
                (
                    Network,
                    "a cache or gateway that answers or rewrites the handshake must exclude this path",
                ),
            ],
            Self::PassHost => &[
                (Nginx, "proxy_set_header Host $http_host;"),
                (HaProxy, "no http-request set-header host"),
                (Caddy, "no header_up Host"),
                (Alb, "routing.http.preserve_host_header.enabled = true"),
            ],
            Self::PassMethod => &[
                (Nginx, "no proxy_method"),
                (HaProxy, "no http-request set-method"),
                (Caddy, "no method"),
            ],
            Self::PassOrigin => &[
                (Nginx, "proxy_set_header Origin $http_origin; or no line for Origin at all"),
                (HaProxy, "no http-request del-header or set-header of origin"),
                (Caddy, "no header_up Origin or header_up -Origin"),
            ],
            Self::PassPath => &[
                (
                    Nginx,
                    "proxy_pass http://ws_status; without a path or a slash after the name, and no \
                     rewrite",
                ),
                (HaProxy, "no http-request set-path or replace-path"),
                (
                    Caddy,
                    "reverse_proxy /ws/status …, in handle and not in handle_path, without uri or \
                     rewrite",
                ),
                (Client, "a URL that ends in /ws/status"),
            ],
            Self::PassUpgrade => &[
                (Nginx, "proxy_set_header Upgrade $http_upgrade;"),
                (HaProxy, "no http-request del-header upgrade"),
                (Caddy, "no header_up -Upgrade"),
                (Alb, "protocol version HTTP1 of the target group"),
            ],
            Self::RateLimit => &[
                (Nginx, "limit_req and limit_conn for this path"),
                (HaProxy, "the stick-table and the http-request deny or reject that uses it"),
                (Caddy, "the rate limit for this path"),
                (Alb, "the rate-based rules of its web access control list"),
            ],
            Self::Redirect => &[
                (Nginx, "no return 301 or rewrite for this path"),
                (HaProxy, "no redirect or http-request redirect for this path"),
                (Caddy, "no redir for this path"),
                (Alb, "no redirect action in the listener's rule for this path"),
                (Client, "the URL to which it redirects, with wss:// for https://"),
            ],
            Self::ReplaceAddress => &[
                (Nginx, "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"),
                (HaProxy, "option forwardfor, without if-none"),
                (
                    Caddy,
                    "no trusted_proxies that contains clients, and no header_up X-Forwarded-For",
                ),
                (Alb, "routing.http.xff_header_processing.mode = append"),
                (
                    Server,
                    "WS_STATUS_TRUSTED_PROXIES with the proxies, and without networks that have \
                     clients",
                ),
            ],
            Self::SendProxyHeader => &[
                (HaProxy, "send-proxy-v2 in default-server or server"),
                (Nginx, "stream: proxy_protocol on;"),
                (Caddy, "transport http { proxy_protocol v2 } since version 2.7"),
                (
                    Alb,
                    "not possible: use a network load balancer with proxy_protocol_v2.enabled = true",
                ),
                (
                    Server,
                    "WS_STATUS_PROXY_PROTOCOL=off, and WS_STATUS_FORWARDED_HEADER=x-forwarded-for",
                ),
            ],
            Self::TlsVersions => &[
                (Nginx, "ssl_protocols TLSv1.2 TLSv1.3; and no ssl_ciphers"),
                (
                    HaProxy,
                    "ssl-default-bind-options ssl-min-ver TLSv1.2, and no ssl-default-bind-ciphers",
                ),
                (Caddy, "no protocols or ciphers in tls"),
                (Alb, "the security policy ELBSecurityPolicy-TLS13-1-2-2021-06 of the listener"),
            ],
            Self::TotalLimit => &[
                (Caddy, "no stream_timeout"),
                (HaProxy, "a longer hard-stop-after, if the cut follows a reload"),
                (Nginx, "a longer worker_shutdown_timeout, if the cut follows a reload"),
                (Network, "a gateway with a limit of the whole duration of a connection"),
                (
                    Server,
                    "WS_STATUS_MAX_CONNECTION_AGE_SECS below the limit, so that clients see 1001 and \
                     not 1006",
                ),
            ],
            Self::Upstream => &[
                (
                    Nginx,
                    "server 10.0.0.11:8080; in upstream, and http:// or https:// of proxy_pass as \
                     the server's listener has it",
                ),
                (
                    HaProxy,
                    "server node1 10.0.0.11:8080, and its check: option httpchk, check port 9090 \
                     with /readyz",
                ),
                (
                    Caddy,
                    "the addresses of reverse_proxy, and health_uri /readyz with health_port 9090",
                ),
                (Alb, "the targets' port, and the health check: /readyz on port 9090"),
                (
                    Server,
                    "is it running, and is WS_STATUS_LISTEN an address that the proxy reaches?",
                ),
            ],
        };
        owned(fixed)
    }
}

const FORWARD_ADDRESS: &[(Place, &str)] = &[
    (Place::Nginx, "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"),
    (Place::HaProxy, "option forwardfor"),
    (Place::Caddy, "no header_up -X-Forwarded-For"),
    (Place::Alb, "routing.http.xff_header_processing.mode = append"),
];

const IDLE_LIMIT: &[(Place, &str)] = &[
    (Place::Nginx, "proxy_read_timeout 60s; and proxy_send_timeout 60s;"),
    (Place::HaProxy, "timeout tunnel 60s"),
    (Place::Caddy, "no read_timeout or write_timeout in transport http"),
    (Place::Alb, "idle_timeout.timeout_seconds = 60"),
];

fn owned(lines: &[(Place, &str)]) -> Vec<(Place, String)> {
    lines.iter().map(|(place, text)| (*place, (*text).to_owned())).collect()
}
