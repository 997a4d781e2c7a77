"""Servers of the example `publish` that can be restarted, and the test servers around them."""

import contextlib
import functools
import http.client
import http.server
import itertools
import json
import socket
import threading
import urllib.parse

from websockets.sync.server import serve

from endpoint import STEP_TIMEOUT, expect, running_server

# The lag of one server behind the other, in states: more than are published during the longest usual wait.
LAG = 20


class Node:
    """A `publish` process that can be restarted, on another port."""

    def __init__(self, origin, *settings):
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.admin = "127.0.0.1:%d" % free.getsockname()[1]
        self.settings = ["--admin-listen", self.admin, "--allowed-origins", origin, *settings]
        self.running = contextlib.ExitStack()
        self.address = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.running.close()

    @property
    def url(self):
        return "ws://%s:%d/ws/status" % self.address

    def start(self):
        self.server = self.running.enter_context(running_server(*self.settings))
        self.address, *_ = self.server.addresses()

    def restart(self, number):
        self.server.process.send_signal(number)
        expect("the exit code of a server", 0, self.server.process.wait(STEP_TIMEOUT))
        self.running.close()
        self.start()

    def kill(self):
        self.running.close()

    def publish(self, state):
        with contextlib.closing(http.client.HTTPConnection(self.admin, timeout=STEP_TIMEOUT)) as client:
            client.request("POST", "/publish", state)
            expect("the answer to a state", 204, client.getresponse().status)


@contextlib.contextmanager
def publishing(nodes):
    """Publishes a newer state ten times a second to the nodes that are up, with a lag between each node and
    the previous one. Yields a function that publishes the last state to all nodes."""
    stop = threading.Event()
    revisions = itertools.count(LAG)

    def publish_states():
        while not stop.wait(0.1):
            revision = next(revisions)
            for index, node in enumerate(nodes):
                state = json.dumps({"revision": revision - index * LAG})
                with contextlib.suppress(OSError, http.client.HTTPException):
                    node.publish(state)

    def last():
        final = {"revision": next(revisions), "state": "final"}
        for node in nodes:
            node.publish(json.dumps(final))
        return final

    thread = threading.Thread(target=publish_states)
    thread.start()
    try:
        yield last
    finally:
        stop.set()
        thread.join()


class LoadBalancer:
    """Forwards each connection to the next node that accepts it."""

    def __init__(self, nodes):
        self.nodes = itertools.cycle(nodes)
        self.count = len(nodes)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = "ws://127.0.0.1:%d/ws/status" % self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # `shutdown` wakes the thread in `accept`; `close` alone does not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.forward, args=[client], daemon=True).start()

    def forward(self, client):
        for node in itertools.islice(self.nodes, self.count):
            with contextlib.suppress(OSError):
                server = socket.create_connection(node.address, timeout=STEP_TIMEOUT)
                server.settimeout(None)
                back = threading.Thread(target=copy, args=[server, client], daemon=True)
                back.start()
                copy(client, server)
                back.join()
                break
        client.close()


def copy(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def closing_server():
    """A server that accepts every session, and closes it at once with the code in the path, and with the
    reason in the query if there is one. It knows no tags of states."""

    def close(connection):
        path, _, query = connection.request.path.partition("?")
        reason = "&".join(part for part in query.split("&") if not part.startswith("have="))
        code = path.strip("/")
        connection.close(int(code), urllib.parse.unquote(reason) or f"closed with {code}")

    with serve(close, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield "127.0.0.1:%d" % server.socket.getsockname()[1]


@contextlib.contextmanager
def files_of(folder):
    """An origin that serves the files of a folder."""

    class Files(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
