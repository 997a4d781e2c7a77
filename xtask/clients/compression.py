"""Clients with permessage-deflate (RFC 7692) receive random states, of which each byte is compared. Most are
compressed as differences; clients that read slowly skip some.

compression.py SERVER [PROGRAM...]: each program runs compression_web.js as a further client, such as `bun`."""

import bisect
import collections
import contextlib
import hashlib
import http.client
import itertools
import json
import pathlib
import random
import shlex
import subprocess
import sys
import threading

from browser import chromium_version, site
from compression_raw import RawClient
from compression_states import states
from devtools import blank_page
from endpoint import STEP_TIMEOUT, CheckFailed, certificate, expect, run
from publish import Node

FOLDER = pathlib.Path(__file__).parent
SEED = 7692

# The number of states for each mode of the server.
COUNTS = {"shared": 10_000, "fresh": 1_000}

# Clients that do not pause receive the last state of a burst before the next burst is published.
MAX_BURST = 20

# The most bytes that may be sent for each byte of the states.
MAX_SHARE = {"shared": 0.25, "fresh": 0.5}

NAME = "permessage-deflate"
RESPONSE = {
    "shared": f"{NAME}; client_no_context_takeover",
    "fresh": f"{NAME}; client_no_context_takeover; server_no_context_takeover",
}

# After it, the page's WebSockets within TLS are streams of the same HTTP/2 connection.
CONNECT_HTTP2 = 'fetch("https://%s/elsewhere", { mode: "no-cors", credentials: "include" }).then(() => true)'


def main():
    clients = {
        "websockets": [sys.executable, "-B", f"{FOLDER}/compression_websockets.py"],
        "ws": ["node", f"{FOLDER}/compression_ws.cjs"],
    }
    node = node_with_websocket()
    for words in map(shlex.split, [*node, *sys.argv[2:]]):
        clients[pathlib.Path(words[0]).name] = [*words, f"{FOLDER}/compression_web.js"]
    results = []
    with contextlib.ExitStack() as stack:
        cert, key = stack.enter_context(certificate())
        origin = stack.enter_context(site())
        page = stack.enter_context(blank_page("--ignore-certificate-errors"))
        # Otherwise the browser reports each frame with its payload.
        page.call("Network.disable")
        tls = ["--listen", "127.0.0.1:0,tls:127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", key]
        for mode, count in COUNTS.items():
            # The server's pings are between the states.
            settings = ["--compression", mode, "--ping-interval-secs", "0.5"]
            with Node(origin.origin, *tls, *settings) as server:
                page.open(f"{origin.origin}/?{mode}")
                results.append(Pass(server, mode, count).run(clients, page))
    skipped = "" if node else " (not Node.js's own client, which needs 22 or later)"
    return f"{chromium_version()}, {', '.join(clients)}{skipped}: {'; '.join(results)}"


def node_with_websocket():
    """A list with the first Node.js that has a client of its own, if there is one."""
    for program in ("node", "target/newer-node/node_modules/.bin/node"):
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([program, "-e", "WebSocket"], stderr=subprocess.DEVNULL).returncode == 0:
                return [program]
    return []


class Pass:
    """The clients of a server that compresses in one mode, and the states that it publishes."""

    def __init__(self, server, mode, count):
        self.server = server
        self.mode = mode
        self.published = Published(count)
        self.clients = []
        self.raw = None

    def run(self, programs, page):
        """Returns the result in words."""
        with contextlib.ExitStack() as stack:
            for name, program in programs.items():
                for speed in ("fast", "slow"):
                    process = stack.enter_context(running([*program, self.server.url, speed]))
                    self.start(self.client(name, speed), follow_process, process)
            self.raw = RawClient(self.server.url)
            self.start(self.client("a socket", "fast"), self.raw.follow)
            self.start_in_page(stack, page)

            self.wait_for("open", lambda client: client.extensions is not None)
            self.publish()
            self.wait_for("with the last state", Client.is_current)
            self.published.may_close = True
            self.server.server.terminate()
            self.wait_for("closed", lambda client: client.closing is not None)
        self.check_clients()
        self.check_frames()
        return self.summary()

    def client(self, name, speed):
        self.clients.append(Client(name, speed, self.published))
        return self.clients[-1]

    def start(self, client, follow, *arguments):
        """Follows a client in a thread."""

        def follow_to_end():
            with failures_reported_by([client]):
                follow(*arguments, client.report)

        threading.Thread(target=follow_to_end, daemon=True).start()

    def start_in_page(self, stack, page):
        """Opens two sockets over HTTP/1.1 and two over HTTP/2, and follows them in a thread."""
        page.evaluate((FOLDER / "compression_web.js").read_text())
        _, (_, port) = self.server.server.addresses()
        page.evaluate(CONNECT_HTTP2 % f"localhost:{port}")
        clients = {}
        for protocol, url in [("HTTP/1.1", self.server.url), ("HTTP/2", f"wss://localhost:{port}/ws/status")]:
            for speed, function in [("fast", "follow"), ("slow", "followSlowly")]:
                client = self.client(f"Chromium over {protocol}", speed)
                clients[str(client)] = client
                page.evaluate(f"void {function}({json.dumps(url)}, reportAs({json.dumps(str(client))}))")

        def follow():
            with failures_reported_by(clients.values()):
                while not has_ended.is_set():
                    for name, report in page.evaluate("takeReports()"):
                        clients[name].report(report)

        has_ended = threading.Event()
        thread = threading.Thread(target=follow)
        thread.start()
        stack.callback(thread.join)
        stack.callback(has_ended.set)

    def publish(self):
        rng = random.Random(SEED)
        all_states = states(SEED, self.published.count)
        with contextlib.closing(http.client.HTTPConnection(self.server.admin, timeout=STEP_TIMEOUT)) as admin:
            while burst := list(itertools.islice(all_states, rng.randint(1, MAX_BURST))):
                for state in burst:
                    self.published.add(state.encode())
                    admin.request("POST", "/publish", state.encode())
                    with admin.getresponse() as response:
                        expect("the answer to a state", 204, response.status)
                self.wait_for("with the newest state", lambda client: client.is_slow or client.is_current())

    def wait_for(self, what, is_true):
        """Waits until it is true of all clients."""

        def failures():
            return [f"{client}: {client.failure}" for client in self.clients if client.failure]

        changed = self.published.changed
        with changed:
            changed.wait_for(lambda: failures() or all(map(is_true, self.clients)), STEP_TIMEOUT)
            if failures():
                # A frame that one client cannot inflate was sent to others, too.
                changed.wait_for(lambda: len(failures()) == len(self.clients), 2)
                raise CheckFailed("\n  ".join(["some clients failed:", *failures()]))
            late = [str(client) for client in self.clients if not is_true(client)]
        expect(f"which clients are not yet {what}", [], late)

    def check_clients(self):
        opened = [line["protocol"] for line in self.server.server.log if line["event"] == "opened"]
        expect("how many sessions were over HTTP/2", 2, opened.count("http/2+tls"))
        for client in self.clients:
            if client.name in ("websockets", "ws", "a socket"):
                expect(f"{client}: the extensions", RESPONSE[self.mode], client.extensions)
            elif client.name == "node" or client.name.startswith("Chromium"):
                # Some have the parameters, too.
                expect(f"{client}: the extension", NAME, client.extensions.split(";")[0])
            if client.name in ("websockets", "ws"):
                expect(f"{client}: whether pings were answered", True, client.pongs > 0)
            expect(f"{client}: the closing", "1001 drained", client.closing)
        # A state that does not follow the one that a client has is sent compressed by itself.
        skipped = [client for client in self.clients if client.is_slow and client.received < self.published.count]
        expect("whether slow clients skipped states", True, skipped != [])

    def check_frames(self):
        """Checks that the server compresses as its mode says."""
        frames = self.raw.frames
        most = "difference" if self.mode == "shared" else "fresh"
        expect("the kind of most frames", most, max(frames, key=frames.get))
        expect("whether some frames are differences", self.mode == "shared", frames["difference"] > 0)
        expect("whether some frames are plain", True, frames["plain"] > 0)
        share = self.raw.sent_bytes / self.raw.state_bytes
        if share > MAX_SHARE[self.mode]:
            raise CheckFailed(f"the bytes sent: expected {MAX_SHARE[self.mode]} of the states, saw {share:.2f}")

    def summary(self):
        skipped = [1 - client.received / self.published.count for client in self.clients if client.is_slow]
        frames = ", ".join(f"{count:,} {kind}" for kind, count in self.raw.frames.most_common())
        return (
            f"{self.mode}: {self.raw.sent_bytes:,} of {self.raw.state_bytes:,} bytes in frames to a client"
            f" ({frames}); slow ones skipped {min(skipped):.0%} to {max(skipped):.0%}"
        )


class Published:
    """The hashes of the states that were published, in their order."""

    def __init__(self, count):
        self.count = count
        self.hashes = []
        self.positions = collections.defaultdict(list)
        self.may_close = False
        # Protects this and the clients, and is notified when a client reports something.
        self.changed = threading.Condition()

    def add(self, state):
        key = hashlib.sha256(state).hexdigest()
        with self.changed:
            self.positions[key].append(len(self.hashes))
            self.hashes.append(key)

    def next_position(self, key, after):
        """The first position of a state behind another position, or `None`. Equal states have several."""
        positions = self.positions.get(key, [])
        index = bisect.bisect_right(positions, after)
        return positions[index] if index < len(positions) else None


class Client:
    """What a client has reported. It may skip states, and gets them in the order in which they were published."""

    def __init__(self, name, speed, published):
        self.name = name
        self.speed = speed
        self.is_slow = speed == "slow"
        self.published = published
        self.extensions = None
        self.position = -1
        self.received = 0
        self.pongs = 0
        self.error = ""
        self.closing = None
        self.failure = None

    def __str__(self):
        return f"{self.name} ({self.speed})"

    def is_current(self):
        """Whether its state is the newest one, or equal to it."""
        return self.position >= 0 and self.published.hashes[self.position] == self.published.hashes[-1]

    def report(self, report):
        word, _, rest = report.partition(" ")
        with self.published.changed:
            if word == "open":
                self.extensions = rest
            elif word == "state":
                self.receive(rest)
            elif word == "pong":
                self.pongs += 1
            elif word == "error":
                self.error = rest
            elif self.closing is None:
                self.closing = rest
                if not self.published.may_close:
                    self.fail(f"expected no end, saw {report} {self.error}".strip())
            self.published.changed.notify_all()

    def receive(self, key):
        self.received += 1
        position = self.published.next_position(key, self.position)
        if position is not None:
            self.position = position
            return
        older = self.published.positions.get(key)
        seen = f"state {older[-1]}" if older else "one that was not published"
        self.fail(f"expected a state after {self.position} of {len(self.published.hashes)}, saw {seen}")

    def fail(self, failure):
        with self.published.changed:
            # Later ones may be its consequence.
            self.failure = self.failure or failure
            self.published.changed.notify_all()


@contextlib.contextmanager
def failures_reported_by(clients):
    try:
        yield
    except Exception as error:
        for client in clients:
            client.fail(str(error))


def follow_process(process, report):
    for line in process.stdout:
        report(line.rstrip("\n"))
    report(f"exited with {process.wait()}")


@contextlib.contextmanager
def running(command):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


run(main, limit=180)
