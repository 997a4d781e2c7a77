"""HAProxy with HTTP/2 on both sides, by its example, within TLS and in the clear: what holds behind
every proxy, many clients' sessions on one connection, and none of them that can end the others', whatever
it asks."""

import contextlib
import pathlib
import re
import socket
import time

from h2.events import ResponseReceived
from wsproto.events import CloseConnection, Ping

from endpoint import PATIENCE, Surprise, certificate, expect, run
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

# A client that means no good, and what HAProxy passes on and HTTP/2 has no place for.
STRANGER = "127.0.0.66"
ODD_REQUEST = b"GET /ws/status?< HTTP/1.1\r\nHost: localhost\r\n\r\n"
# For two servers, each of which takes no more than 64 of those from one client.
MANY = 150

SESSIONS = 40

# Malformed upgrades by HTTP/1.1, as what is changed in a good one; an answer to each is 400.
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
# What HAProxy 2.6 makes an undecodable block of, so that nothing but its own rules is left.
ONLY_THE_RULES = [
    b"%s /ws/status HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"G" * 300),
    b"GET %s://localhost/ws/status HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"f" * 300),
]

# The same by HTTP/2: fields of the head that are changed or added, and trailers.
MALFORMED_H2 = [
    ({b"x-any": b"a\x01b"}, None),
    ({b"user-agent": b"a\x1b[31m"}, None),
    ({b":protocol": b"\xe9"}, None),
    ({b":authority": b"a\xe9"}, None),
    ({b":path": b"/ws/status?\xe9"}, None),
    ({b":path": b"/ws/status?<"}, None),
    ({b":method": b"POST", b":protocol": None}, [(b"x-any", b"a\x01b")]),
]

# One thread, because each has connections of its own.
ONE_THREAD = ("global\n", "global\n    nbthread 1\n")


def play():
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
            check_neighbours(proxy)
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
    """Clients of HTTP/1.1 and a client of HTTP/2 have their sessions on one connection to each server,
    beside refusals, and each is told 1001."""
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
            expect("whom the servers know", ["127.0.0.1"] * 3 + [CLIENT] * 3, peers)
            expect("what the proxy speaks", {proxy.protocol}, {line["protocol"] for line in lines})
            for node, (port, _) in zip(NODES, ports):
                expect(f"connections to {node}", 1, connections_to(node, port))
            for server in servers:
                server.terminate()
            for session in (first, second, third):
                expect_close(proxy, session)
            for session in sessions:
                closing = session.wait_for(CloseConnection)
                expect("the code by HTTP/2", (1001, "drained"), (closing.code, closing.reason))


def check_neighbours(proxy):
    """A client that comes and goes, and asks for what HTTP/2 has no place for, ends nobody's session."""
    with nodes(proxy, "--ping-interval-secs", "0.3") as (ports, _), running(proxy, ports) as opened:
        with opened() as first, opened() as second:
            for _ in range(MANY):
                with stranger(opened) as connection:
                    connection.sendall(ODD_REQUEST)
                    expect("the answer to an odd request", b"HTTP/1.1 400", connection.recv(12))
            for _ in range(MANY):
                with opened():
                    pass
            expect_silence(first, 1)
            expect_silence(second, 1)


def check_malformed(proxy):
    """Nobody's malformed request ends the session of another, with HAProxy's rules and without."""
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
            for request in [*requests, BAD_TRAILER, *([] if edits else ONLY_THE_RULES)]:
                with stranger(opened) as connection:
                    connection.sendall(request)
                    expect_refused(request, int(connection.recv(12)[9:]), request is BAD_TRAILER)
            for changes, trailers in MALFORMED_H2:
                client = Http2(address_of(opened), proxy.certificate[0])
                status = malformed_status(client, changes, trailers)
                expect_refused((changes, trailers), status, trailers)
                client.socket.close()
            # One after the other, they have been silent for long.
            for session in sessions:
                expect_silence(session, 0.05)
    proxy.edits = with_edits


def expect_refused(request, status, has_trailers):
    # The head may have been refused, for the method, before the trailers came.
    expected = [400, 405] if has_trailers else [400]
    if status not in expected:
        raise Surprise(f"the answer to {request}: expected one of {expected}, saw {status}")


def malformed_status(client, changes, trailers):
    """The status that a request gets which the client's library would not send."""
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
    """As soon as there are so many."""
    until = time.monotonic() + PATIENCE
    while True:
        lines = [line for server in servers for line in list(server.log) if line["event"] == "opened"]
        if len(lines) >= count or time.monotonic() > until:
            return lines
        time.sleep(0.02)


def stranger(opened):
    host, port = address_of(opened)
    source = (STRANGER, 0)
    connection = socket.create_connection((host, port), PATIENCE, source)
    _, context = opened.args
    return context.wrap_socket(connection, server_hostname="localhost")


def address_of(opened):
    """Where the proxy's clients connect."""
    url, _ = opened.args
    return "127.0.0.1", int(url.split(":")[2].split("/")[0])


def connections_to(address, port):
    """How many the system knows at a listener."""
    number = int.from_bytes(socket.inet_aton(address), "little")
    rows = [row.split() for row in pathlib.Path("/proc/net/tcp").read_text().splitlines()]
    established = "01"
    return sum(row[1] == f"{number:08X}:{port:04X}" and row[3] == established for row in rows)


run(play, limit=200)
