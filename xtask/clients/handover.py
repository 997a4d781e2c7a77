"""Clients of the example `publish` outlive its process: upgrades by --take-over and by SIGUSR2, and successors
that are killed. Each client gets every state once, its pings are answered, and none sees a close."""

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from browser import chromium_version, site
from devtools import blank_page
from endpoint import STEP_TIMEOUT, CheckFailed, expect, expect_soon, run, running_server, seen_soon
from publish import Node

FOLDER = pathlib.Path(__file__).parent

# Clients of each kind.
CLIENTS = 8

INTERVAL = 0.05

# The longest time for a pong, in seconds. A handover of few sessions takes milliseconds, and other programs run
# beside this check.
PONG_TIMEOUT = 1

# When a successor is killed, in seconds after its start: as it begins, and not when it may have taken over. The
# server's own tests kill either side at each step.
KILLS = (0, 0.001, 0.002, 0.004)

# The value is the number of sockets, when all of them are open.
OPEN_SOCKETS = """
globalThis.clients = [];
Promise.all(Array.from({ length: %d }, () => new Promise((resolve) => {
  const client = { states: [], closes: [] };
  const socket = new WebSocket("%s");
  socket.onopen = resolve;
  socket.onmessage = ({ data }) => client.states.push(Number(data));
  socket.onclose = ({ code }) => client.closes.push(code);
  clients.push(client);
}))).then(({ length }) => length)
"""


def main():
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        takeover = f"unix:{folder}/takeover.sock"
        origin = stack.enter_context(site())
        page = stack.enter_context(blank_page())
        node = stack.enter_context(Node(origin.origin, "--takeover-listen", takeover))
        publishing = stack.enter_context(Publishing(node))
        clients = [stack.enter_context(Client(node.url)) for _ in range(CLIENTS)]
        others = stack.enter_context(NodeClients(node.url))
        page.open(f"{origin.origin}/")
        expect("the sockets of the page", CLIENTS, page.evaluate(OPEN_SOCKETS % (CLIENTS, node.url)))
        upgrade = Upgrade(stack, node, takeover)
        upgrade.by_option()
        upgrade.by_signal()
        for delay in KILLS:
            upgrade.killed(delay)
        upgrade.by_option()
        upgrade.new_session()
        last = publishing.stop()
        expect_soon("the last state of each client", {last}, lambda: {it.states[-1] for it in clients})
        in_page = seen_soon(
            lambda: page.evaluate("globalThis.clients"), lambda seen: all(last in it["states"] for it in seen)
        )
        in_node = others.stop()
        for name, seen in [
            ("websockets", [client.summary() for client in clients]),
            ("ws", in_node),
            ("Chromium", in_page),
        ]:
            expect(f"the number of clients with {name}", CLIENTS, len(seen))
            for client in seen:
                check(name, client, last)
    return f"{chromium_version()}, websockets, ws: {upgrade.count} upgrades, {last} states, no close"


def check(name, client, last):
    states = client["states"]
    expect(f"the closes that {name} saw", [], client["closes"])
    expect(f"the states that {name} got", list(range(states[0], last + 1)), states)
    if client.get("slowest", 0) > PONG_TIMEOUT:
        raise CheckFailed(f"a pong for {name}: expected it within a second, saw {client['slowest']:.3f} s")


class Upgrade:
    """Replaces the server process again and again."""

    def __init__(self, stack, node, takeover):
        self.stack, self.node = stack, node
        self.settings = [*node.settings, "--take-over", takeover]
        self.count = 0

    def start(self):
        """Starts a successor."""
        return self.stack.enter_context(running_server(*self.settings))

    def by_option(self):
        before, successor = self.node.server, self.start()
        expect("the exit code of a predecessor", 0, before.process.wait(STEP_TIMEOUT))
        line = successor.wait_for(event="taken_over")
        expect("the sessions that were taken over", 3 * CLIENTS, line["sessions"])
        expect("those that were not", (0, 0), (line["refused"], line["left"]))
        self.node.server = successor
        self.count += 1

    def by_signal(self):
        """The successor is a child of its predecessor, and writes to the same log."""
        server = self.node.server
        server.process.send_signal(signal.SIGUSR2)
        child = server.wait_for(event="successor_started")["successor"]
        self.stack.callback(kill, child)
        expect("the exit code of a predecessor", 0, server.process.wait(STEP_TIMEOUT))
        server.wait_for(event="taken_over", predecessor=server.process.pid)
        self.count += 1

    def killed(self, delay):
        """The predecessor goes on."""
        successor = self.start()
        time.sleep(delay)
        successor.process.kill()

    def new_session(self):
        with connect(self.node.url) as client:
            client.recv(STEP_TIMEOUT)


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Publishing:
    """Publishes 1, 2, 3, ... to the process that serves."""

    def __init__(self, node):
        self.node, self.ends = node, threading.Event()
        self.thread = threading.Thread(target=self.publish)

    def __enter__(self):
        self.node.publish("1")
        self.last = 1
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def publish(self):
        for number in itertools.count(2):
            if self.ends.wait(INTERVAL):
                return
            # A process that has handed over says 503 to what it had accepted before.
            while self.post(str(number)) == 503:
                pass
            self.last = number

    def post(self, state):
        client = http.client.HTTPConnection(self.node.admin, timeout=STEP_TIMEOUT)
        with contextlib.closing(client):
            client.request("POST", "/publish", state)
            return client.getresponse().status

    def stop(self):
        self.ends.set()
        self.thread.join()
        return self.last


class Client:
    """A client with Python's websockets."""

    def __init__(self, url):
        self.socket = connect(url)
        self.states, self.closes, self.slowest = [], [], 0
        self.threads = [threading.Thread(target=it, daemon=True) for it in (self.receive, self.ping)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.socket.close()

    def receive(self):
        try:
            for message in self.socket:
                self.states.append(int(message))
        except ConnectionClosed:
            pass
        self.closes.append(self.socket.close_code)

    def ping(self):
        with contextlib.suppress(ConnectionClosed):
            while True:
                begin = time.monotonic()
                self.socket.ping().wait(STEP_TIMEOUT)
                self.slowest = max(self.slowest, time.monotonic() - begin)
                time.sleep(INTERVAL)

    def summary(self):
        return {"states": list(self.states), "closes": list(self.closes), "slowest": self.slowest}


class NodeClients:
    """Clients with npm's ws, in one process."""

    def __init__(self, url):
        command = ["node", f"{FOLDER}/handover_ws.cjs", url, str(CLIENTS)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self):
        expect("what the clients with ws say", "open\n", self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.stdin.close()
        return json.loads(self.process.stdout.readline())


run(main, limit=60)
