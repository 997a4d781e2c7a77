"""HAProxy with HTTP/2 on both sides, by its example, within TLS and in the clear: what holds behind
every proxy, many clients' sessions on one connection, and none of them that can end the others'."""

import pathlib
import socket
import time

from wsproto.events import CloseConnection, Ping

from endpoint import PATIENCE, certificate, expect, run
from proxy import (
    CLIENT,
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
                    expect("the answer to an odd request", b"HTTP/1.1 502", connection.recv(12))
            for _ in range(MANY):
                with opened():
                    pass
            expect_silence(first, 1)
            expect_silence(second, 1)


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


run(play, limit=150)
