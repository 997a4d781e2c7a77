"""Shared by the checks of proxies: an example configuration adapted to two local servers, and the checks
that apply to every proxy."""

import asyncio
import contextlib
import functools
import http.client
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from endpoint import STEP_TIMEOUT, CheckFailed, expect, running_server

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "deploy/proxies"

# The addresses of the servers on this machine, in place of those in the examples.
NODES = ["127.0.0.11", "127.0.0.12"]
# The address of the client, which differs from the proxy's.
CLIENT = "127.0.0.77"

# The proxy's idle limit in this test, in seconds, instead of the examples' 60.
IDLE = 1

HEADER = ["--forwarded-header", "x-forwarded-for"]
PROXY_PROTOCOL = ["--proxy-protocol", "required"]


class Proxy:
    """How to run an example on this machine, and how to configure its servers.

    `flags` configure how the servers learn the client address; `protocol` is the proxy's protocol towards
    them. With a certificate the proxy's clients use TLS; with a prefix its servers do as well.
    """

    def __init__(
        self,
        name,
        example,
        flags,
        command,
        version,
        idle=None,
        protocol="http/1.1",
        certificate=None,
        prefix="",
        edits=(),
    ):
        self.name = name
        self.example = example
        self.flags = flags
        self.command = command
        self.version = version
        self.idle = idle
        self.protocol = protocol
        self.certificate = certificate
        self.prefix = prefix
        self.edits = edits


def nginx(cert, key):
    return Proxy(
        "nginx",
        "nginx.conf",
        HEADER,
        # Global directives that the example does not have.
        lambda folder, config: [
            "nginx",
            *("-e", "stderr", "-p", folder, "-c", config),
            *("-g", f"daemon off; user root; pid {folder}/pid; worker_processes 1;"),
        ],
        ["nginx", "-v"],
        idle=r"proxy_(read|send)_timeout 60s",
        certificate=(cert, key),
        edits=[("/etc/nginx/ws-status.pem", cert), ("/etc/nginx/ws-status.key", key)],
    )


HAPROXY = Proxy(
    "haproxy",
    "haproxy.cfg",
    PROXY_PROTOCOL,
    lambda folder, config: ["haproxy", "-db", "-f", config],
    ["haproxy", "-v"],
    idle=r"timeout tunnel 60s",
)

# Caddy has no idle limit for upgraded connections.
CADDY = Proxy(
    "caddy",
    "Caddyfile",
    HEADER,
    lambda folder, config: ["caddy", "run", "--adapter", "caddyfile", "--config", config],
    ["caddy", "version"],
)


def check_one_session(proxy):
    """Checks the client address, the pings, and 1001."""
    with nodes(proxy, "--ping-interval-secs", "0.3") as (ports, servers):
        with running(proxy, ports, idle=IDLE) as opened, opened() as session:
            opening = wait_for_any(servers, event="opened")
            address, _, _ = opening["peer"].partition(":")
            expect(f"the client's address behind {proxy.name}", CLIENT, address)
            expect(f"the protocol of {proxy.name}", proxy.protocol, opening["protocol"])
            # Only pings and pongs for longer than the proxy's idle limit.
            expect_silence(session, 3 * IDLE)
            for server in servers:
                server.terminate()
            expect_close(proxy, session)


def check_idleness(proxy):
    """Checks the opposite: without pings the proxy closes the idle session."""
    if proxy.idle is None:
        return
    with nodes(proxy, "--ping-interval-secs", "600") as (ports, _):
        with running(proxy, ports, idle=IDLE) as opened, opened() as session:
            try:
                session.recv(STEP_TIMEOUT)
            except TimeoutError:
                raise CheckFailed(f"{proxy.name} does not close a session after {IDLE} s of silence") from None
            except ConnectionClosed:
                pass


def check_restarts(proxy):
    """Restarts each server under load; every attempt to connect has to succeed."""
    ports = [free_ports() for _ in NODES]
    flags = [*("--drain-delay-secs", "2.5"), *("--drain-spread-secs", "0.5")]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(node(proxy, index, ports, flags)) for index in range(2)]
        opened = stack.enter_context(running(proxy, ports))
        load = stack.enter_context(Load(opened))
        for index in range(2):
            servers[index].terminate()
            expect("the exit code of a server that is restarted", 0, servers[index].process.wait(STEP_TIMEOUT))
            servers[index] = stack.enter_context(node(proxy, index, ports, flags))
            servers[index].wait_for(event="listening")
            # The proxy has to detect that this server is up before the other one is restarted.
            servers[index].wait_for(event="opened")
        load.stop()
        if load.failures:
            raise CheckFailed(f"{len(load.failures)} attempts failed through {proxy.name}: {load.failures[0]}")
        return load.attempts


class Load:
    """Clients that connect and disconnect continuously."""

    def __init__(self, opened):
        self.opened = opened
        self.attempts = 0
        self.failures = []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._connect_repeatedly) for _ in range(4)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def _connect_repeatedly(self):
        while not self.stopped.is_set():
            try:
                with self.opened():
                    self.attempts += 1
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")


class Session:
    """A session of a client with its own address.

    Uses the asyncio client, driven from other threads. The threaded client reads and writes concurrently,
    and with TLS its request was sometimes never sent (seen with Python 3.11).
    """

    loop = asyncio.new_event_loop()

    def __init__(self, url, context, **more):
        self.connecting = connect(
            url,
            **more,
            ssl=context,
            proxy=None,
            local_addr=(CLIENT, 0),
            open_timeout=STEP_TIMEOUT,
            ping_interval=None,
        )

    def __enter__(self):
        self.connection = self._wait_for(self.connecting.__aenter__())
        return self

    def __exit__(self, *_):
        self._wait_for(self.connection.close())

    def recv(self, seconds):
        """Waits for the next message, or raises `TimeoutError`."""
        try:
            return self._wait_for(asyncio.wait_for(self.connection.recv(), seconds))
        except asyncio.TimeoutError:  # A separate class before Python 3.11.
            raise TimeoutError from None

    def _wait_for(self, step):
        return asyncio.run_coroutine_threadsafe(step, self.loop).result()


threading.Thread(target=Session.loop.run_forever, daemon=True).start()


def expect_silence(session, seconds):
    try:
        session.recv(seconds)
    except TimeoutError:
        return
    except ConnectionClosed as closed:
        raise CheckFailed(f"an idle session: expected it to stay open, saw {closed}") from None
    raise CheckFailed("an idle session: expected no message, saw one")


def expect_close(proxy, session):
    try:
        session.recv(STEP_TIMEOUT)
    except ConnectionClosed as closed:
        code = closed.rcvd and (closed.rcvd.code, closed.rcvd.reason)
        expect(f"the close frame through {proxy.name}", (1001, "drained"), code)
        return
    raise CheckFailed("a drain: expected a close frame, saw a message")


def wait_for_any(servers, **fields):
    until = time.monotonic() + STEP_TIMEOUT
    while time.monotonic() < until:
        for server in servers:
            for line in list(server.log):
                if fields.items() <= line.items():
                    return line
        time.sleep(0.02)
    raise CheckFailed(f"the servers' logs: expected a line with {fields}")


@contextlib.contextmanager
def nodes(proxy, *flags):
    """Runs two servers; yields their public and admin ports, and the servers."""
    ports = [free_ports() for _ in NODES]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(node(proxy, index, ports, flags)) for index in range(2)]
        yield ports, servers


@contextlib.contextmanager
def node(proxy, index, ports, flags):
    public, admin = ports[index]
    # The proxies use the same health port for all servers.
    settings = [
        *("--listen", f"{proxy.prefix}{NODES[index]}:{public}"),
        *("--admin-listen", f"{NODES[index]}:{admin}"),
        *("--trusted-proxies", "127.0.0.1"),
        *proxy.flags,
        *flags,
    ]
    if proxy.prefix:
        cert, key = proxy.certificate
        settings += ["--tls-cert-file", cert, "--tls-key-file", key]
        # The proxy presents the same certificate, and the server requires it.
        settings += ["--tls-client-ca-file", cert]
    with running_server(*settings) as server:
        server.wait_for(event="listening")
        yield server


@contextlib.contextmanager
def running(proxy, ports, idle=None, refusal=426):
    """Runs the example with the addresses and ports of this test; yields a function that opens a session.

    `refusal` is the status of a request that is no handshake."""
    port = free_port("127.0.0.1")
    with serving(proxy, adapted(proxy, ports, port, idle), port, refusal) as url:
        yield functools.partial(Session, url, context_of(proxy))


def adapted(proxy, ports, port, idle=None):
    """Returns the example with the addresses and ports of this test; the proxy listens on `port`."""
    text = (EXAMPLES / proxy.example).read_text()
    for index, address in enumerate(["10.0.0.11", "10.0.0.12"]):
        text = re.sub(f"{address}:(8080|8443)", f"{NODES[index]}:{ports[index][0]}", text)
    text = re.sub(r"(port |health_port )9090", rf"\g<1>{ports[0][1]}", text)
    # The examples assume a higher limit of open files than this machine may have.
    text = text.replace("maxconn 20000", "maxconn 2000")
    text = re.sub(r"listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;", text)
    text = re.sub(r"bind :(80|443)\b", f"bind 127.0.0.1:{port}", text)
    text = re.sub(r"(?m)^:80 {", f"{{\n\tadmin off\n}}\nhttp://127.0.0.1:{port} {{", text)
    if idle is not None and proxy.idle is not None:
        text, count = re.subn(proxy.idle, lambda it: it[0].replace("60s", f"{idle}s"), text)
        expect(f"the idle limit in {proxy.example}", True, count > 0)
    for old, new in proxy.edits:
        expect(f"{old!r} in {proxy.example}", True, old in text)
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def serving(proxy, text, port, refusal):
    """Runs the proxy with a configuration; yields the URL of the endpoint.

    `refusal` is the status of a request that is no handshake, or `None` if a connection is enough."""
    folder = tempfile.mkdtemp()
    config = os.path.join(folder, proxy.example)
    pathlib.Path(config).write_text(text)
    log = open(os.path.join(folder, "log"), "w+")
    process = subprocess.Popen(
        proxy.command(folder, config),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder},
    )
    try:
        context = context_of(proxy)
        wait_until_serving(proxy, process, port, context, log, refusal)
        host = "wss://localhost" if context else "ws://127.0.0.1"
        yield f"{host}:{port}/ws/status"
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STEP_TIMEOUT)
        process.kill()
        process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def context_of(proxy):
    return proxy.certificate and ssl.create_default_context(cafile=proxy.certificate[0])


def wait_until_serving(proxy, process, port, context, log, refusal):
    """Waits until a request is refused as expected; a connection is enough if nothing is expected."""
    until = time.monotonic() + STEP_TIMEOUT
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            if context:
                connection = http.client.HTTPSConnection("localhost", port, timeout=2, context=context)
            connection.connect()
            if refusal is None:
                return
            connection.request("GET", "/ws/status")
            if connection.getresponse().status == refusal:
                return
        time.sleep(0.05)
    log.seek(0)
    raise CheckFailed(f"{proxy.name} does not serve: {log.read()[-500:]}")


def free_ports():
    return free_port(NODES[0]), ADMIN_PORT


def free_port(address):
    with socket.socket() as listener:
        listener.bind((address, 0))
        return listener.getsockname()[1]


# The same port for both servers, as on two machines.
ADMIN_PORT = free_port(NODES[0])


def version_of(proxy):
    done = subprocess.run(proxy.version, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    number = re.search(r"\d+\.\d+\.\d+", done.stdout)
    return f"{proxy.name} {number[0] if number else '?'}"
