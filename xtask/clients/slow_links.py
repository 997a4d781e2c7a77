"""Clients that do all they can and have a slow link, or an app that reads slowly: nobody who goes on
reading is cut, and what arrives is new. Beside them clients whose link is dead, which is noticed.

Runs in a network namespace of its own."""

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
from endpoint import PATIENCE, Surprise, certificate, expect, run, running_server
from python_h2 import ALLOWED, Http2

# Seconds that all links live, and when those die that do.
LIFE = 95
DEATH = 20

DELAY = 0.1  # Seconds each way.
LONG, SHORT = 300_000, 6_000  # Bytes that may wait in a link.
FAST = 10_000_000
# Of an app that reads slowly: its SO_RCVBUF, and how many seconds it sleeps between two reads.
WINDOW, SLEEP = 4096, 1

# How old a state may be when its last byte arrives: as long as so many states take by that link, and
# some seconds for the delay, a packet that TCP sends twice while it does not know the link, the few
# packets that the system keeps at least (more than two of the small states), and whoever else uses this
# machine.
STATES_OF_AGE = 2
SLACK = DELAY + 1
# The part of what the link could have brought that has to have come.
LEAST_USE = 0.5

# Seconds until a dead link is noticed, by default: by a ping of ours, or by output that waits, after
# some that it takes to fill the buffers.
PING_INTERVAL, PONG_TIMEOUT, WRITE_TIMEOUT, FILLING = 25, 10, 10, 7
LATEST_IDLE = PING_INTERVAL + PONG_TIMEOUT + 1
LATEST_TALKING = WRITE_TIMEOUT + FILLING + 1

OPEN = "open"  # The end of a session that has none.
HEADS = 40  # Bytes of IP and TCP in each packet.


@dataclass(frozen=True)
class Feed:
    """What a server publishes: states of so many bytes, so often each second."""

    bytes: int
    per_second: int

    def __str__(self):
        return f"{self.bytes} B, {self.per_second}/s" if self.per_second else "nothing"


LARGE, SMALL, SELDOM, NOTHING = Feed(4096, 5), Feed(500, 20), Feed(4096, 1), Feed(0, 0)


@dataclass
class Client:
    """A client of a feed behind a link of its own, and what it has seen."""

    what: str
    protocol: str
    feed: Feed
    bits_per_second: int
    queue_bytes: int = LONG
    is_local: bool = False
    reads_slowly: bool = False
    dies: bool = False
    link: links.Link = None
    opened: float = None
    ages: list = field(default_factory=list)
    end: str = OPEN
    connection: object = None

    def live(self, clients, address, cafile):
        if not self.is_local:
            clients.enter()
        try:
            session = self.connect(address, cafile)
            self.opened = time.monotonic()
            for text in texts(session):
                self.ages.append(time.monotonic() - float(text.split()[0]))
        except Exception as error:  # Whatever it is, the server's log has the cause.
            self.end = f"{type(error).__name__}: {error}"

    def connect(self, address, cafile):
        def reach(address, timeout):
            it = socket.socket()
            if self.reads_slowly:
                it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
            it.settimeout(timeout)
            it.bind((self.link.client, 0))
            it.connect(address)
            return it

        kind = Http2 if self.protocol.startswith("http/2") else Http1
        self.connection = kind(address, cafile, reach)
        session = self.connection.session()
        self.connection.socket.settimeout(None)
        if self.reads_slowly:
            self.connection.socket = SlowApp(self.connection.socket, self.bits_per_second // 8)
        return session

    @property
    def state_seconds(self):
        """How long one state takes by this link."""
        packets = max(1, math.ceil(self.feed.bytes / (links.MTU - HEADS)))
        bytes = self.feed.bytes + HEADS * packets
        return bytes * 8 / self.bits_per_second


class Http1:
    """A WebSocket on a connection of its own, in the shape of `Http2`."""

    def __init__(self, address, cafile, reach):
        self.socket = reach(address, PATIENCE)
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
        raise Surprise("the connection has ended")


class SlowApp:
    """A socket of which so many bytes are read, and then none for a while."""

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
    """The messages of a session, each as soon as its end is here."""
    while True:
        parts = [session.wait_for(TextMessage)]
        while not parts[-1].message_finished:
            parts.append(session.wait_for(TextMessage))
        yield "".join(part.data for part in parts)


def everyone():
    """Who is there, over each of the four ways."""
    them = []
    for protocol in ("http/1.1", "http/1.1+tls", "http/2", "http/2+tls"):
        for rate in (16_000, 36_000, 64_000):
            for queue in (LONG, SHORT):
                them.append(Client("slow link", protocol, LARGE, rate, queue))
        them += [
            Client("slow link", protocol, SMALL, 16_000),
            Client("slow link", protocol, SELDOM, 16_000),
            Client("slow app", protocol, LARGE, 64_000, reads_slowly=True),
            Client("local app", protocol, LARGE, 64_000, is_local=True, reads_slowly=True),
            Client("dead link", protocol, NOTHING, FAST, dies=True),
            Client("dead link", protocol, LARGE, FAST, dies=True),
            Client("dead link", protocol, LARGE, 36_000, dies=True),
        ]
    for number, client in enumerate(them):
        if client.is_local:
            client.link = links.Loopback(number)
        else:
            rate = FAST if client.reads_slowly else client.bits_per_second
            client.link = links.Link(number, rate, client.queue_bytes, DELAY)
    return them


class Publisher:
    """A server that publishes a feed, and says in each state when that was, until this is left."""

    def __init__(self, feed, server, admin):
        self.feed, self.server, self.admin = feed, server, admin
        self.plain, self.encrypted = server.addresses()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.publish)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()

    def publish(self):
        host, port = self.admin.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        due = time.monotonic()
        while self.feed.per_second and not self.is_over.is_set():
            connection.request("POST", "/publish", f"{time.monotonic()} ".ljust(self.feed.bytes, "-"))
            answer = connection.getresponse()
            answer.read()
            expect("the answer to a state", 204, answer.status)
            due += 1 / self.feed.per_second
            time.sleep(max(0, due - time.monotonic()))

    def closed(self, client):
        """The closure record of the session of a client, if it has ended."""
        log = list(self.server.log)
        ids = [line["id"] for line in log if line["event"] == "opened" and comes_from(line, client)]
        closed = [line for line in log if line["event"] == "closed" and line["id"] in ids]
        return closed[0] if closed else None


def comes_from(line, client):
    return line["peer"].startswith(f"{client.link.client}:")


def play():
    them = everyone()
    with contextlib.ExitStack() as stack:
        cert, key = stack.enter_context(certificate())
        remote = [client.link for client in them if not client.is_local]
        namespace = stack.enter_context(links.running(remote))
        publishers = {}
        for feed in dict.fromkeys(client.feed for client in them):
            with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
                admin = "127.0.0.1:%d" % free.getsockname()[1]
            server = stack.enter_context(
                running_server(
                    "--listen", "0.0.0.0:0,tls:0.0.0.0:0",
                    "--plaintext-ok", "true",
                    "--allowed-origins", ALLOWED,
                    "--tls-cert-file", cert,
                    "--tls-key-file", key,
                    "--admin", admin,
                )
            )
            publishers[feed] = stack.enter_context(Publisher(feed, server, admin))
        for client in them:
            publisher = publishers[client.feed]
            is_tls = client.protocol.endswith("+tls")
            _, port = publisher.encrypted if is_tls else publisher.plain
            arguments = namespace, (client.link.server, port), cert if is_tls else None
            threading.Thread(target=client.live, args=arguments, daemon=True).start()
        time.sleep(DEATH)
        died = time.time()
        for client in them:
            if client.dies:
                client.link.die()
        time.sleep(LIFE - DEATH)
        fared = [judge(client, publishers[client.feed], died) for client in them]
    print(
        f"{'client':9} {'protocol':12} {'feed':12} {'kbit/s':>6} {'queue':>6} "
        f"{'states':>6} {'of':>5} {'median':>7} {'oldest':>7} {'in states':>9}  end"
    )
    for line, _ in fared:
        print(line)
    wrong = [sentence for _, sentences in fared for sentence in sentences]
    for sentence in wrong:
        print(f"FAILED: {sentence}")
    if wrong:
        raise Surprise(f"expected that all fare well, saw {len(wrong)} faults")
    return f"{len(them)} clients: nobody who read was cut, and what arrived was new"


def judge(client, publisher, died):
    """A line of the table, and what is wrong."""
    closed = publisher.closed(client)
    lived = time.monotonic() - client.opened if client.opened else 0
    end = client.end
    if closed:
        lived = closed["duration_ms"] / 1000
        end = f"{closed['cause']} after {lived:.1f} s"
    wrong = []
    if client.opened is None:
        wrong.append(f"no session: {end}")
    elif client.dies:
        noticed = closed and datetime.datetime.fromisoformat(closed["timestamp"]).timestamp() - died
        latest = LATEST_TALKING if client.feed.per_second else LATEST_IDLE
        if closed and noticed < 0:
            wrong.append(f"cut before its link died: {end}")
        elif not closed or noticed > latest:
            wrong.append(f"not given up within {latest} s of its link's death")
        if closed and noticed >= 0:
            end = f"{closed['cause']} {noticed:.1f} s after its death"
    elif end != OPEN:
        wrong.append(f"cut: {end}")

    ages, rate = client.ages, client.bits_per_second // 1000
    median, oldest = (statistics.median(ages), max(ages)) if ages else (math.nan, math.nan)
    could = int(lived * min(client.feed.per_second, 1 / client.state_seconds))
    if client.opened and not client.dies:
        limit = STATES_OF_AGE * client.state_seconds + SLACK + client.reads_slowly * SLEEP
        if not oldest <= limit:
            wrong.append(f"told a state {oldest:.1f} s old, where {limit:.1f} s is the limit")
        if len(ages) < LEAST_USE * could:
            wrong.append(f"told {len(ages)} states, where its link could bring {could}")
    line = (
        f"{client.what:9} {client.protocol:12} {str(client.feed):12} {rate:6} {client.queue_bytes:6} "
        f"{len(ages):6} {could:5} {median:7.2f} {oldest:7.2f} "
        f"{oldest / client.state_seconds:9.1f}  {end}"
    )
    name = f"{client.what}, {client.protocol}, {client.feed}, {rate} kbit/s, {client.queue_bytes} B"
    return line, [f"{name}: {sentence}" for sentence in wrong]


if __name__ == "__main__":
    run(play, LIFE + 60)
