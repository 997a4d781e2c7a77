"""Servers of the example `publish` that come and go, and what stands around them in a test."""

import contextlib
import functools
import http.client
import http.server
import itertools
import json
import socket
import threading

from websockets.sync.server import serve

from endpoint import PATIENCE, expect, running_server

# By how many states one server is behind the other: more than come in the longest usual wait.
LAG = 20


class Node:
    """A `publish` that can be started again; its port is another one then."""

    def __init__(self, origin):
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.admin = "127.0.0.1:%d" % free.getsockname()[1]
        self.settings = ["--admin", self.admin, "--allowed-origins", origin]
        self.running = contextlib.ExitStack()
        self.address = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.running.close()

    @property
    def url(self):
        return self.server.url

    def start(self):
        self.server = self.running.enter_context(running_server(*self.settings))
        host, port = self.server.wait_for(event="listening")["address"].split(":")
        self.address = host, int(port)

    def restart(self, number):
        self.server.process.send_signal(number)
        expect("the exit code of a server", 0, self.server.process.wait(PATIENCE))
        self.running.close()
        self.start()

    def kill(self):
        self.running.close()

    def publish(self, state):
        with contextlib.closing(http.client.HTTPConnection(self.admin, timeout=PATIENCE)) as client:
            client.request("POST", "/publish", state)
            expect("the answer to a state", 204, client.getresponse().status)


@contextlib.contextmanager
def publishing(nodes):
    """Publishes a newer state ten times a second to whoever is there, of which each node knows less
    than the one before; gives what publishes the last one, which has to reach all."""
    over = threading.Event()
    revisions = itertools.count(LAG)

    def tell():
        while not over.wait(0.1):
            revision = next(revisions)
            for behind, node in enumerate(nodes):
                state = json.dumps({"revision": revision - behind * LAG})
                with contextlib.suppress(OSError, http.client.HTTPException):
                    node.publish(state)

    def last():
        final = {"revision": next(revisions), "state": "final"}
        for node in nodes:
            node.publish(json.dumps(final))
        return final

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield last
    finally:
        over.set()
        thread.join()


class Forwarder:
    """Hands each connection on to the next node that takes it, as a load balancer does."""

    def __init__(self, nodes):
        self.nodes = itertools.cycle(nodes)
        self.count = len(nodes)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = "ws://127.0.0.1:%d/ws/status" % self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # It wakes the thread that accepts, which closing alone does not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.hand_on, args=[client], daemon=True).start()

    def hand_on(self, client):
        for node in itertools.islice(self.nodes, self.count):
            with contextlib.suppress(OSError):
                server = socket.create_connection(node.address, timeout=PATIENCE)
                server.settimeout(None)
                back = threading.Thread(target=pump, args=[server, client], daemon=True)
                back.start()
                pump(client, server)
                back.join()
                break
        client.close()


def pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def closing_server():
    """A server that accepts everybody, and closes at once with the code that the path names."""

    def close(connection):
        code = connection.request.path.strip("/")
        connection.close(int(code), f"said {code}")

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
