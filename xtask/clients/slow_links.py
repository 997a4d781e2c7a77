"""Clients with a slow link, or with an app that reads slowly: a client that keeps reading stays open, and
the states that it receives are new. Also clients whose link fails, which the server has to detect.

Runs in a separate network namespace."""

import contextlib
import datetime
import http.client
import math
import socket
import ssl
import statistics
import threading
import time
from dataclasses import dataclass, field

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, Ping, Request, TextMessage

import links
from endpoint import STEP_TIMEOUT, CheckFailed, certificate, expect, run, running_server
from python_h2 import ALLOWED, Http2

# Duration of the test, and the time at which some links fail, in seconds.
DURATION = 95
LINK_FAILURE = 20

DELAY = 0.1  # Seconds in each direction.
LONG_QUEUE, SHORT_QUEUE = 300_000, 6_000  # Queue size of a link, in bytes.
FAST = 10_000_000
# An app that reads slowly: its SO_RCVBUF, and the seconds that it sleeps between two reads.
WINDOW, SLEEP = 4096, 1

# The maximum age of a state when its last byte arrives: the transmission time of MAX_AGE_IN_STATES states,
# and SLACK seconds for the delay, a packet that TCP retransmits before it has measured the link, the
# minimum of packets that the kernel buffers (more than two of the small states), and other load.
MAX_AGE_IN_STATES = 2
SLACK = DELAY + 1
# The minimum share of the states that the link could have transmitted.
MIN_UTILIZATION = 0.5

# Seconds until the server detects a failed link with the default settings: by an unanswered ping, or by the
# write timeout after the buffers are full.
PING_INTERVAL, PONG_TIMEOUT, WRITE_TIMEOUT, BUFFER_FILL_TIME = 25, 10, 10, 7
MAX_DETECTION_IDLE = PING_INTERVAL + PONG_TIMEOUT + 1
MAX_DETECTION_SENDING = WRITE_TIMEOUT + BUFFER_FILL_TIME + 1

OPEN = "open"  # The session has not ended.
HEADER_BYTES = 40  # IP and TCP headers of each packet.


@dataclass(frozen=True)
class Feed:
    """The states that a server publishes: their size, and their rate per second."""

    bytes: int
    per_second: int

    def __str__(self):
        return f"{self.bytes} B, {self.per_second}/s" if self.per_second else "nothing"


LARGE, SMALL, SLOW_RATE, NO_STATES = Feed(4096, 5), Feed(500, 20), Feed(4096, 1), Feed(0, 0)


@dataclass
class Client:
    """A client of a feed behind its own link, and its measurements."""

    kind: str
    protocol: str
    feed: Feed
    bits_per_second: int
    queue_bytes: int = LONG_QUEUE
    is_local: bool = False
    reads_slowly: bool = False
    link_fails: bool = False
    link: links.Link = None
    opened: float = None
    ages: list = field(default_factory=list)
    end: str = OPEN
    connection: object = None

    def run(self, namespace, address, cafile):
        if not self.is_local:
            namespace.enter()
        try:
            session = self.connect(address, cafile)
            self.opened = time.monotonic()
            for text in texts(session):
                self.ages.append(time.monotonic() - float(text.split()[0]))
        except Exception as error:  # The server's log has the cause.
            self.end = f"{type(error).__name__}: {error}"

    def connect(self, address, cafile):
        def open_socket(address, timeout):
            it = socket.socket()
            if self.reads_slowly:
                it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
            it.settimeout(timeout)
            it.bind((self.link.client, 0))
            it.connect(address)
            return it

        kind = Http2 if self.protocol.startswith("http/2") else Http1
        self.connection = kind(address, cafile, open_socket)
        session = self.connection.session()
        self.connection.socket.settimeout(None)
        if self.reads_slowly:
            self.connection.socket = SlowApp(self.connection.socket, self.bits_per_second // 8)
        return session

    @property
    def state_seconds(self):
        """The transmission time of one state over this link."""
        packets = max(1, math.ceil(self.feed.bytes / (links.MTU - HEADER_BYTES)))
        bytes = self.feed.bytes + HEADER_BYTES * packets
        return bytes * 8 / self.bits_per_second


class Http1:
    """A WebSocket over HTTP/1.1, with the interface of `Http2`."""

    def __init__(self, address, cafile, open_socket):
        self.socket = open_socket(address, STEP_TIMEOUT)
        if cafile:
            context = ssl.create_default_context(cafile=cafile)
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.websocket = WSConnection(ConnectionType.CLIENT)
        self.events = self._events()

    def session(self):
        self.send(Request(host="localhost", target="/ws/status"))
        self.wait_for(AcceptConnection)
        return self

    def send(self, event):
        self.socket.sendall(self.websocket.send(event))

    def wait_for(self, kind):
        return next(event for event in self.events if isinstance(event, kind))

    def _events(self):
        while data := self.socket.recv(65536):
            self.websocket.receive_data(data)
            for event in self.websocket.events():
                if isinstance(event, Ping) or self.websocket.state is ConnectionState.REMOTE_CLOSING:
                    self.send(event.response())
                yield event
        raise CheckFailed("the connection has ended")


class SlowApp:
    """A socket that is read in bursts, with pauses in between."""

    def __init__(self, socket, most):
        self.socket, self.most, self.left = socket, most, most

    def __getattr__(self, name):
        return getattr(self.socket, name)

    def recv(self, _):
        if self.left == 0:
            time.sleep(SLEEP)
            self.left = self.most
        data = self.socket.recv(self.left)
        self.left -= len(data)
        return data


def texts(session):
    """The messages of a session, each when it is complete."""
    while True:
        parts = [session.wait_for(TextMessage)]
        while not parts[-1].message_finished:
            parts.append(session.wait_for(TextMessage))
        yield "".join(part.data for part in parts)


def all_clients():
    """The clients of the test, for each combination of HTTP version and TLS."""
    clients = []
    for protocol in ("http/1.1", "http/1.1+tls", "http/2", "http/2+tls"):
        for rate in (16_000, 36_000, 64_000):
            for queue in (LONG_QUEUE, SHORT_QUEUE):
                clients.append(Client("slow link", protocol, LARGE, rate, queue))
        clients += [
            Client("slow link", protocol, SMALL, 16_000),
            Client("slow link", protocol, SLOW_RATE, 16_000),
            Client("slow app", protocol, LARGE, 64_000, reads_slowly=True),
            Client("local app", protocol, LARGE, 64_000, is_local=True, reads_slowly=True),
            Client("dead link", protocol, NO_STATES, FAST, link_fails=True),
            Client("dead link", protocol, LARGE, FAST, link_fails=True),
            Client("dead link", protocol, LARGE, 36_000, link_fails=True),
        ]
    for number, client in enumerate(clients):
        if client.is_local:
            client.link = links.Loopback(number)
        else:
            rate = FAST if client.reads_slowly else client.bits_per_second
            client.link = links.Link(number, rate, client.queue_bytes, DELAY)
    return clients


class Publisher:
    """Publishes a feed on a server; each state has the time at which it was published."""

    def __init__(self, feed, server, admin):
        self.feed, self.server, self.admin = feed, server, admin
        self.plain, self.encrypted = server.addresses()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.publish)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()

    def publish(self):
        host, port = self.admin.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=STEP_TIMEOUT)
        due = time.monotonic()
        while self.feed.per_second and not self.stopped.is_set():
            connection.request("POST", "/publish", f"{time.monotonic()} ".ljust(self.feed.bytes, "-"))
            answer = connection.getresponse()
            answer.read()
            expect("the answer to a state", 204, answer.status)
            due += 1 / self.feed.per_second
            time.sleep(max(0, due - time.monotonic()))

    def closed(self, client):
        """The close record of a client's session, if it has ended."""
        log = list(self.server.log)
        ids = [line["id"] for line in log if line["event"] == "opened" and comes_from(line, client)]
        closed = [line for line in log if line["event"] == "closed" and line["id"] in ids]
        return closed[0] if closed else None


def comes_from(line, client):
    return line["peer"].startswith(f"{client.link.client}:")


def main():
    clients = all_clients()
    with contextlib.ExitStack() as stack:
        cert, key = stack.enter_context(certificate())
        remote = [client.link for client in clients if not client.is_local]
        namespace = stack.enter_context(links.running(remote))
        publishers = {}
        for feed in dict.fromkeys(client.feed for client in clients):
            with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
                admin = "127.0.0.1:%d" % free.getsockname()[1]
            server = stack.enter_context(
                running_server(
                    "--listen", "0.0.0.0:0,tls:0.0.0.0:0",
                    "--plaintext-ok", "true",
                    "--allowed-origins", ALLOWED,
                    "--tls-cert-file", cert,
                    "--tls-key-file", key,
                    "--admin-listen", admin,
                )
            )
            publishers[feed] = stack.enter_context(Publisher(feed, server, admin))
        for client in clients:
            publisher = publishers[client.feed]
            is_tls = client.protocol.endswith("+tls")
            _, port = publisher.encrypted if is_tls else publisher.plain
            arguments = namespace, (client.link.server, port), cert if is_tls else None
            threading.Thread(target=client.run, args=arguments, daemon=True).start()
        time.sleep(LINK_FAILURE)
        failed_at = time.time()
        for client in clients:
            if client.link_fails:
                client.link.fail()
        time.sleep(DURATION - LINK_FAILURE)
        results = [evaluate(client, publishers[client.feed], failed_at) for client in clients]
    print(
        f"{'client':9} {'protocol':12} {'feed':12} {'kbit/s':>6} {'queue':>6} "
        f"{'states':>6} {'of':>5} {'median':>7} {'oldest':>7} {'in states':>9}  end"
    )
    for line, _ in results:
        print(line)
    failures = [sentence for _, sentences in results for sentence in sentences]
    for sentence in failures:
        print(f"FAILED: {sentence}")
    if failures:
        raise CheckFailed(f"expected no failures, saw {len(failures)}")
    return f"{len(clients)} clients: every reading client stayed open, and received new states"


def evaluate(client, publisher, failed_at):
    """Returns the line of the table, and the failures."""
    closed = publisher.closed(client)
    lived = time.monotonic() - client.opened if client.opened else 0
    end = client.end
    if closed:
        lived = closed["duration_ms"] / 1000
        end = f"{closed['cause']} after {lived:.1f} s"
    failures = []
    if client.opened is None:
        failures.append(f"no session: {end}")
    elif client.link_fails:
        detected = closed and datetime.datetime.fromisoformat(closed["timestamp"]).timestamp() - failed_at
        latest = MAX_DETECTION_SENDING if client.feed.per_second else MAX_DETECTION_IDLE
        if closed and detected < 0:
            failures.append(f"closed before its link failed: {end}")
        elif not closed or detected > latest:
            failures.append(f"not closed within {latest} s after its link failed")
        if closed and detected >= 0:
            end = f"{closed['cause']} {detected:.1f} s after the failure"
    elif end != OPEN:
        failures.append(f"closed: {end}")

    ages, rate = client.ages, client.bits_per_second // 1000
    median, oldest = (statistics.median(ages), max(ages)) if ages else (math.nan, math.nan)
    possible = int(lived * min(client.feed.per_second, 1 / client.state_seconds))
    if client.opened and not client.link_fails:
        limit = MAX_AGE_IN_STATES * client.state_seconds + SLACK + client.reads_slowly * SLEEP
        if not oldest <= limit:
            failures.append(f"received a state {oldest:.1f} s old, limit {limit:.1f} s")
        if len(ages) < MIN_UTILIZATION * possible:
            failures.append(f"received {len(ages)} states, its link could transmit {possible}")
    line = (
        f"{client.kind:9} {client.protocol:12} {str(client.feed):12} {rate:6} {client.queue_bytes:6} "
        f"{len(ages):6} {possible:5} {median:7.2f} {oldest:7.2f} "
        f"{oldest / client.state_seconds:9.1f}  {end}"
    )
    name = f"{client.kind}, {client.protocol}, {client.feed}, {rate} kbit/s, {client.queue_bytes} B"
    return line, [f"{name}: {sentence}" for sentence in failures]


if __name__ == "__main__":
    run(main, DURATION + 60)
