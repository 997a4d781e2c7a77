complete -c server -l config -d 'A TOML file with settings [env: WS_STATUS_CONFIG]' -r -F
complete -c server -l against -d 'With --check-config: say what a reload would change in the server with this admin listener, and what needs a restart' -r
complete -c server -l listen -d 'Addresses to listen on: "ADDRESS:PORT", "tls:ADDRESS:PORT" or "unix:/PATH". Port 0 selects a free port, which the log reports. "[::]" also accepts IPv4, unless an IPv4 address with the same port is in the list, as in "0.0.0.0:8080,[::]:8080". Sockets inherited from systemd replace the whole list. [env: WS_STATUS_LISTEN]' -r
complete -c server -l listen-unix-mode -d 'Permissions of the files of Unix sockets, in octal. [env: WS_STATUS_LISTEN_UNIX_MODE]' -r
complete -c server -l tls-cert-file -d 'File with the certificate chain for "tls:" listeners, in PEM: the server\'s certificate first, then the intermediate certificates. It is reloaded when it changes. [env: WS_STATUS_TLS_CERT_FILE]' -r
complete -c server -l tls-key-file -d 'File with the private key of the certificate, in PEM, without a passphrase. [env: WS_STATUS_TLS_KEY_FILE]' -r
complete -c server -l tls-client-ca-file -d 'File with the CA certificates that client certificates are verified against, in PEM. If it is set, every client of a "tls:" listener needs a certificate. [env: WS_STATUS_TLS_CLIENT_CA_FILE]' -r
complete -c server -l plaintext-ok -d 'Declares that plaintext listeners on addresses other than loopback are intended, for example behind a proxy that terminates TLS: true, or false, which logs a warning for such a listener. [env: WS_STATUS_PLAINTEXT_OK]' -r
complete -c server -l trusted-proxies -d 'Proxies that may state the client\'s address: addresses, networks such as "10.0.0.0/8", and "unix" for all peers on Unix sockets. If empty, no proxy is trusted. [env: WS_STATUS_TRUSTED_PROXIES]' -r
complete -c server -l forwarded-header -d 'Header from which the client\'s address is read if a trusted proxy sent the request: "forwarded" (RFC 7239), "x-forwarded-for" or "off". [env: WS_STATUS_FORWARDED_HEADER]' -r
complete -c server -l proxy-protocol -d 'Whether trusted proxies send a PROXY protocol header, version 1 or 2: "off", "optional" or "required". With "required", connections of all other peers are closed. [env: WS_STATUS_PROXY_PROTOCOL]' -r
complete -c server -l allowed-origins -d 'Origins of the pages that may connect: "https://example.com", "https://*.example.com" for any single label, the origin that an app sends, such as "file://", "self" for the server\'s own origin by the Host header, or "*" for any. If empty, no page may connect. [env: WS_STATUS_ALLOWED_ORIGINS]' -r
complete -c server -l missing-origin -d 'Requests without an Origin header, which browsers always send: "allow" or "refuse". [env: WS_STATUS_MISSING_ORIGIN]' -r
complete -c server -l null-origin -d 'Requests with Origin: null, which sandboxed pages send: "allow" or "refuse". [env: WS_STATUS_NULL_ORIGIN]' -r
complete -c server -l identity-header -d 'Header in which a trusted proxy names the user of a request, after it has authenticated it. Each request must then come from one of trusted_proxies and have this header once, or it is refused with 401. With auth_url, it is a header of the response of that service instead. [env: WS_STATUS_IDENTITY_HEADER]' -r
complete -c server -l expires-header -d 'Header with the time at which the permission of a user ends, in seconds since 1970: the session is then closed with 3000. It is read and required like identity_header. [env: WS_STATUS_EXPIRES_HEADER]' -r
complete -c server -l auth-url -d 'URL of a service that decides on each handshake: "http://HOST/PATH", "https://HOST/PATH", or "unix:/SOCKET:/PATH". 2xx admits, 401 and 403 refuse. [env: WS_STATUS_AUTH_URL]' -r
complete -c server -l auth-timeout-secs -d 'Seconds that the service at auth_url has for its response. Then the request is refused with 503. [env: WS_STATUS_AUTH_TIMEOUT_SECS]' -r
complete -c server -l max-concurrent-admissions -d 'Maximum number of handshakes that are decided at the same time, by the service at auth_url or by the application, at most 10000. More wait in order, within handshake_timeout_secs. [env: WS_STATUS_MAX_CONCURRENT_ADMISSIONS]' -r
complete -c server -l ping-interval-secs -d 'Seconds between two pings. Keep it below the idle timeout of every proxy between client and server. [env: WS_STATUS_PING_INTERVAL_SECS]' -r
complete -c server -l pong-timeout-secs -d 'Seconds after a ping within which the peer must send any data. [env: WS_STATUS_PONG_TIMEOUT_SECS]' -r
complete -c server -l close-timeout-secs -d 'Seconds that a closing handshake may take. [env: WS_STATUS_CLOSE_TIMEOUT_SECS]' -r
complete -c server -l http2-max-streams -d 'Maximum number of concurrent sessions of one HTTP/2 connection, at most 1000. [env: WS_STATUS_HTTP2_MAX_STREAMS]' -r
complete -c server -l handshake-timeout-secs -d 'Seconds from accepting a connection to its upgrade. [env: WS_STATUS_HANDSHAKE_TIMEOUT_SECS]' -r
complete -c server -l max-connections -d 'Maximum number of connections and sessions: each session counts, and so does each connection without a session. "auto" is the limit of open files minus 256, and with auth_url minus max_concurrent_admissions; a higher value logs a warning. [env: WS_STATUS_MAX_CONNECTIONS]' -r
complete -c server -l max-connection-age-secs -d 'Maximum age of a session in seconds: it is closed with 1001 at 0.9 to 1.0 of this time, so that its client reconnects and may reach another server. 0 disables the limit. [env: WS_STATUS_MAX_CONNECTION_AGE_SECS]' -r
complete -c server -l max-connections-per-address -d 'The same limit as max_connections for one client address, or for one /64 of IPv6. An IPv4 address embedded in an IPv6 address (mapped, NAT64 by 64:ff9b::/96, 6to4) counts as the IPv4 address. 0 disables the limit: behind a proxy or NAT, many users share one address. [env: WS_STATUS_MAX_CONNECTIONS_PER_ADDRESS]' -r
complete -c server -l max-header-bytes -d 'Maximum size of a request head in bytes, at least 8192. For HTTP/2 it is the approximate size in HTTP/1.1: each name and value plus 4 bytes, and all parts of a cookie as one field. [env: WS_STATUS_MAX_HEADER_BYTES]' -r
complete -c server -l max-headers -d 'Maximum number of header fields in a request, at most 1000. In HTTP/2, pseudo-headers do not count, and all parts of a cookie count as one. [env: WS_STATUS_MAX_HEADERS]' -r
complete -c server -l max-message-bytes -d 'Maximum payload of a client\'s frame or message in bytes. [env: WS_STATUS_MAX_MESSAGE_BYTES]' -r
complete -c server -l messages-per-second -d 'Messages that a client may send per second. 0 disables the limit. [env: WS_STATUS_MESSAGES_PER_SECOND]' -r
complete -c server -l message-burst -d 'Messages that a client may send in a burst. 0 disables the limit. [env: WS_STATUS_MESSAGE_BURST]' -r
complete -c server -l control-frames-per-second -d 'Pings and unsolicited pongs that a client may send per second. 0 disables the limit. [env: WS_STATUS_CONTROL_FRAMES_PER_SECOND]' -r
complete -c server -l control-frame-burst -d 'Pings and unsolicited pongs that a client may send in a burst. 0 disables the limit. [env: WS_STATUS_CONTROL_FRAME_BURST]' -r
complete -c server -l message-timeout-secs -d 'Seconds from the first byte of a message to its last. 0 disables the limit. [env: WS_STATUS_MESSAGE_TIMEOUT_SECS]' -r
complete -c server -l write-timeout-secs -d 'Seconds that output may be pending without any progress. 0 disables the limit. [env: WS_STATUS_WRITE_TIMEOUT_SECS]' -r
complete -c server -l max-queued-bytes -d 'Bytes of output queued for one client above which no further messages are generated for it. [env: WS_STATUS_MAX_QUEUED_BYTES]' -r
complete -c server -l socket-buffer-bytes -d 'Size of the kernel\'s buffers of a connection in bytes, for each direction (SO_RCVBUF and SO_SNDBUF; Linux adds its own overhead). Output is buffered up to this size only if it is sent soon. 0 uses the system\'s defaults, which grow to megabytes. [env: WS_STATUS_SOCKET_BUFFER_BYTES]' -r
complete -c server -l shutdown-grace-secs -d 'Seconds that a shutdown may take in total. Sessions that are still open then are aborted. [env: WS_STATUS_SHUTDOWN_GRACE_SECS]' -r
complete -c server -l drain-delay-secs -d 'Seconds from the shutdown signal to the first refusal. Readiness already fails during this delay, so that load balancers can notice. [env: WS_STATUS_DRAIN_DELAY_SECS]' -r
complete -c server -l drain-spread-secs -d 'Seconds over which a shutdown closes the open sessions, evenly spread. With 0 all sessions are closed at once, and all clients reconnect at once. [env: WS_STATUS_DRAIN_SPREAD_SECS]' -r
complete -c server -l drain-close-code -d 'Close code of a shutdown: 1001 (going away), or 1012 (service restart) if the service returns at once. [env: WS_STATUS_DRAIN_CLOSE_CODE]' -r
complete -c server -l admin-listen -d 'Address of the admin listener, which serves health, metrics, the status page and the drain: "ADDRESS:PORT", "unix:/PATH" or "none". Clients must not be able to reach it. [env: WS_STATUS_ADMIN_LISTEN]' -r
complete -c server -l admin-host -d 'Additional host name that requests to the admin listener may use, besides "localhost" and any IP address. Requests that use another name are refused, which stops DNS rebinding. Empty adds none. [env: WS_STATUS_ADMIN_HOST]' -r
complete -c server -l connection-table -d 'Whether to keep the table for /connections of the admin listener, about 240 bytes per session: true or false. [env: WS_STATUS_CONNECTION_TABLE]' -r
complete -c server -l log -d 'Log filter: a level ("error", "warn", "info", "debug", "trace", "off"), or levels by module, such as "warn,server=info". [env: WS_STATUS_LOG]' -r
complete -c server -l log-format -d 'Log format: "text" or "json". [env: WS_STATUS_LOG_FORMAT]' -r
complete -c server -l check-config -d 'Check the configuration, print what a start would warn of, and exit'
complete -c server -l print-config -d 'Print the settings and the source of each, as a file, and exit'
complete -c server -s h -l help -d 'Print help'
complete -c server -s V -l version -d 'Print version'
