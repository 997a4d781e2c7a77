"""HAProxy's example with HTTP/2 on both sides, with and without TLS: the checks of every proxy, sessions of
many clients on one connection, and isolation: no request of one client ends the sessions of others."""

import contextlib
import pathlib
import re
import socket
import time

from h2.events import ResponseReceived
from wsproto.events import CloseConnection, Ping

from endpoint import STEP_TIMEOUT, CheckFailed, certificate, expect, run
from proxy import (
    CLIENT,
    EXAMPLES,
    HEADER,
    NODES,
    Proxy,
    check_idleness,
    check_one_session,
    check_restarts,
    expect_close,
    expect_silence,
    nodes,
    running,
    version_of,
)
from python_h2 import ALLOWED, Http2

# A malicious client, and a request that HAProxy forwards but that is invalid over HTTP/2.
OTHER_CLIENT = "127.0.0.66"
INVALID_REQUEST = b"GET /ws/status?< HTTP/1.1\r\nHost: localhost\r\n\r\n"
# For two servers with a limit of 64 such requests from one client each.
REQUESTS = 150

SESSIONS = 40

# Malformed upgrades over HTTP/1.1, as replacements in a valid one; the response to each is 400.
UPGRADE = b"""GET /ws/status HTTP/1.1\r
Host: localhost\r
User-Agent: client\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
X-Any: x\r
\r
"""
MALFORMED = [
    (b"X-Any: x", b"X-Any: a\x01b"),
    (b"X-Any: x", b"X-Any: a\x7fb"),
    (b"X-Any: x", b"X\xe9: a"),
    (b"client", b"a\x1b[31m"),
    (b"localhost", b"a\xe9"),
    (b"localhost", b"a b"),
    (b"websocket", b"\xe9"),
    (b"/ws/status", b"/ws/status?\xe9"),
    (b"/ws/status", b"/ws/status?<"),
]
BAD_TRAILER = b"""POST /ws/status HTTP/1.1\r
Host: localhost\r
Transfer-Encoding: chunked\r
\r
1\r
a\r
0\r
X-Any: a\x01b\r
\r
"""
# Requests that HAProxy 2.6 encodes as an undecodable header block, so only HAProxy's rules can refuse them.
ONLY_WITH_RULES = [
    b"%s /ws/status HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"G" * 300),
    b"GET %s://localhost/ws/status HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"f" * 300),
]

# The same over HTTP/2: changed or added header fields, and trailers.
MALFORMED_H2 = [
    ({b"x-any": b"a\x01b"}, None),
    ({b"user-agent": b"a\x1b[31m"}, None),
    ({b":protocol": b"\xe9"}, None),
    ({b":authority": b"a\xe9"}, None),
    ({b":path": b"/ws/status?\xe9"}, None),
    ({b":path": b"/ws/status?<"}, None),
    ({b":method": b"POST", b":protocol": None}, [(b"x-any", b"a\x01b")]),
]

# One thread, because each thread of HAProxy has its own connections.
ONE_THREAD = ("global\n", "global\n    nbthread 1\n")


def main():
    with certificate() as (cert, key):
        both = pathlib.Path(cert).with_name("both.pem")
        both.write_text(pathlib.Path(cert).read_text() + pathlib.Path(key).read_text())
        edits = [
            ("/etc/haproxy/ws-status.pem", str(both)),
            ("/etc/haproxy/ws-status-ca.pem", cert),
            ("/etc/haproxy/ws-status-client.pem", str(both)),
            ("str(status.example.com)", "str(localhost)"),
        ]
        in_the_clear = ("default_backend ws_status\n", "default_backend ws_status_in_the_clear\n")
        seen = []
        for prefix, protocol, more in [
            ("tls:", "http/2+tls", []),
            ("", "http/2", [in_the_clear]),
        ]:
            proxy = haproxy((cert, key), prefix, protocol, [*edits, *more])
            check_one_session(proxy)
            check_idleness(proxy)
            attempts = check_restarts(proxy)
            proxy.edits.append(ONE_THREAD)
            check_sharing(proxy)
            check_isolation(proxy)
            check_malformed(proxy)
            seen.append(f"by {protocol} ({attempts} attempts during restarts)")
        return f"through {version_of(proxy)} {' and '.join(seen)}"


def haproxy(pair, prefix, protocol, edits):
    return Proxy(
        "haproxy",
        "haproxy-h2.cfg",
        HEADER,
        lambda folder, config: ["haproxy", "-db", "-f", config],
        ["haproxy", "-v"],
        idle=r"timeout tunnel 60s",
        protocol=protocol,
        certificate=pair,
        prefix=prefix,
        edits=edits,
    )


def check_sharing(proxy):
    """Clients over HTTP/1.1 and HTTP/2 share one connection to each server, together with refused requests,
    and each is closed with 1001."""
    flags = ["--allowed-origins", ALLOWED, "--ping-interval-secs", "0.3"]
    with nodes(proxy, *flags) as (ports, servers), running(proxy, ports) as opened:
        with opened() as first, opened() as second, opened() as third:
            client = Http2(address_of(opened), proxy.certificate[0])
            sessions = [client.session() for _ in range(3)]
            expect("the status for another origin", 403, client.request(origin="https://other.example")[1])
            expect("the status for another path", 404, client.request(path="/elsewhere")[1])
            for session in sessions:
                session.wait_for(Ping)
            lines = opened_lines(servers, 6)
            peers = sorted(line["peer"] for line in lines)
            expect("the client addresses in the servers' logs", ["127.0.0.1"] * 3 + [CLIENT] * 3, peers)
            expect("the proxy's protocol", {proxy.protocol}, {line["protocol"] for line in lines})
            for node, (port, _) in zip(NODES, ports):
                expect(f"connections to {node}", 1, connections_to(node, port))
            for server in servers:
                server.terminate()
            for session in (first, second, third):
                expect_close(proxy, session)
            for session in sessions:
                closing = session.wait_for(CloseConnection)
                expect("the close code over HTTP/2", (1001, "drained"), (closing.code, closing.reason))


def check_isolation(proxy):
    """Short sessions and invalid requests of one client do not end the sessions of others."""
    with nodes(proxy, "--ping-interval-secs", "0.3") as (ports, _), running(proxy, ports) as opened:
        with opened() as first, opened() as second:
            for _ in range(REQUESTS):
                with other_client(opened) as connection:
                    connection.sendall(INVALID_REQUEST)
                    expect("the answer to an invalid request", b"HTTP/1.1 400", connection.recv(12))
            for _ in range(REQUESTS):
                with opened():
                    pass
            expect_silence(first, 1)
            expect_silence(second, 1)


def check_malformed(proxy):
    """Malformed requests do not end the sessions of others, with HAProxy's rules and without."""
    rules = re.findall(r"(?m)^ +http-request deny .*\n", (EXAMPLES / proxy.example).read_text())
    expect("rules in the example", True, len(rules) > 0)
    without_rules = [(rule, "") for rule in rules]
    with_edits = proxy.edits
    for edits in ([], without_rules):
        proxy.edits = [*with_edits, *edits]
        with contextlib.ExitStack() as stack:
            ports, _ = stack.enter_context(nodes(proxy, "--ping-interval-secs", "0.3"))
            opened = stack.enter_context(running(proxy, ports))
            sessions = [stack.enter_context(opened()) for _ in range(SESSIONS)]
            requests = [UPGRADE.replace(old, new) for old, new in MALFORMED]
            for request in [*requests, BAD_TRAILER, *([] if edits else ONLY_WITH_RULES)]:
                with other_client(opened) as connection:
                    connection.sendall(request)
                    expect_refused(request, int(connection.recv(12)[9:]), request is BAD_TRAILER)
            for changes, trailers in MALFORMED_H2:
                client = Http2(address_of(opened), proxy.certificate[0])
                status = malformed_status(client, changes, trailers)
                expect_refused((changes, trailers), status, trailers)
                client.socket.close()
            # Checked in turn; each has been idle during the requests.
            for session in sessions:
                expect_silence(session, 0.05)
    proxy.edits = with_edits


def expect_refused(request, status, has_trailers):
    # The server may refuse the method before it receives the trailers.
    expected = [400, 405] if has_trailers else [400]
    if status not in expected:
        raise CheckFailed(f"the answer to {request}: expected one of {expected}, saw {status}")


def malformed_status(client, changes, trailers):
    """The status of the response to a request that the library's validation would not permit."""
    client.http.config.validate_outbound_headers = False
    client.http.config.normalize_outbound_headers = False
    fields = {
        b":method": b"CONNECT",
        b":protocol": b"websocket",
        b":scheme": b"https",
        b":path": b"/ws/status",
        b":authority": b"localhost",
        b"sec-websocket-version": b"13",
    }
    stream = client.http.get_next_available_stream_id()
    fields = {name: value for name, value in (fields | changes).items() if value is not None}
    client.http.send_headers(stream, [*fields.items()])
    if trailers:
        client.http.send_data(stream, b"a")
        client.http.send_headers(stream, trailers, end_stream=True)
    headers = client.wait_for(ResponseReceived, stream).headers
    return int(dict(headers)[":status"])


def opened_lines(servers, count):
    """Waits for `count` lines of opened sessions."""
    until = time.monotonic() + STEP_TIMEOUT
    while True:
        lines = [line for server in servers for line in list(server.log) if line["event"] == "opened"]
        if len(lines) >= count or time.monotonic() > until:
            return lines
        time.sleep(0.02)


def other_client(opened):
    host, port = address_of(opened)
    source = (OTHER_CLIENT, 0)
    connection = socket.create_connection((host, port), STEP_TIMEOUT, source)
    _, context = opened.args
    return context.wrap_socket(connection, server_hostname="localhost")


def address_of(opened):
    """The address of the proxy for clients."""
    url, _ = opened.args
    return "127.0.0.1", int(url.split(":")[2].split("/")[0])


def connections_to(address, port):
    """The number of established connections at a listener."""
    number = int.from_bytes(socket.inet_aton(address), "little")
    rows = [row.split() for row in pathlib.Path("/proc/net/tcp").read_text().splitlines()]
    established = "01"
    return sum(row[1] == f"{number:08X}:{port:04X}" and row[3] == established for row in rows)


run(main, limit=200)
