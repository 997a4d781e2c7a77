"""What the checks of proxies share: an example made to run here in front of two servers, and what has
to hold behind any of them."""

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

from endpoint import PATIENCE, Surprise, expect, running_server

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "deploy/proxies"

# What the examples call the proxy and the servers, and the same on this machine.
NODES = ["127.0.0.11", "127.0.0.12"]
# Where the client is, so that its address is not the proxy's.
CLIENT = "127.0.0.77"

# Seconds of a proxy's idle limit in this test, instead of the examples' 60.
IDLE = 1

HEADER = ["--forwarded-header", "x-forwarded-for"]
PROXY_PROTOCOL = ["--proxy-protocol", "required"]


class Proxy:
    """How an example is made to run here, and what its servers are told and say.

    `flags` are those by which they know the client, and `protocol` is what the proxy speaks to them.
    With a certificate the proxy's clients use TLS, and with a prefix its servers do, too.
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


def check_one_session(proxy):
    """The client's true address, the pings, and 1001."""
    with nodes(proxy, "--ping-interval-secs", "0.3") as (ports, servers):
        with running(proxy, ports, idle=IDLE) as opened, opened() as session:
            opening = wait_for_any(servers, event="opened")
            address, _, _ = opening["peer"].partition(":")
            expect(f"the client's address behind {proxy.name}", CLIENT, address)
            expect(f"what {proxy.name} speaks", proxy.protocol, opening["protocol"])
            # Nothing is sent but pings and pongs for much longer than the proxy would wait.
            expect_silence(session, 3 * IDLE)
            for server in servers:
                server.terminate()
            expect_close(proxy, session)


def check_idleness(proxy):
    """That it is the pings: without them the same proxy cuts the session."""
    if proxy.idle is None:
        return
    with nodes(proxy, "--ping-interval-secs", "600") as (ports, _):
        with running(proxy, ports, idle=IDLE) as opened, opened() as session:
            try:
                session.recv(PATIENCE)
            except TimeoutError:
                raise Surprise(f"{proxy.name} cuts nobody after {IDLE} s of silence") from None
            except ConnectionClosed:
                pass


def check_restarts(proxy):
    """Each server is stopped and started again under load, and every attempt gets its session."""
    ports = [free_ports() for _ in NODES]
    flags = [*("--drain-delay-secs", "2.5"), *("--drain-spread-secs", "0.5")]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(node(proxy, index, ports, flags)) for index in range(2)]
        opened = stack.enter_context(running(proxy, ports))
        load = stack.enter_context(Load(opened))
        for index in range(2):
            servers[index].terminate()
            expect("the exit code of a server that is restarted", 0, servers[index].process.wait(PATIENCE))
            servers[index] = stack.enter_context(node(proxy, index, ports, flags))
            servers[index].wait_for(event="listening")
            # The proxy has to find out that it is back before the other one goes.
            servers[index].wait_for(event="opened")
        load.stop()
        if load.failures:
            raise Surprise(f"{len(load.failures)} attempts failed by {proxy.name}: {load.failures[0]}")
        return load.attempts


class Load:
    """Clients that come and go all the time."""

    def __init__(self, opened):
        self.opened = opened
        self.attempts = 0
        self.failures = []
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._come_and_go) for _ in range(4)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def _come_and_go(self):
        while not self.is_over.is_set():
            try:
                with self.opened():
                    self.attempts += 1
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")


class Session:
    """A session of a client that has an address of its own.

    It is asyncio's, and waited for from outside. The client that has threads reads and writes at the
    same time, and with TLS it now and then never said what it wanted (seen with Python 3.11).
    """

    loop = asyncio.new_event_loop()

    def __init__(self, url, context):
        self.connecting = connect(
            url,
            ssl=context,
            proxy=None,
            local_addr=(CLIENT, 0),
            open_timeout=PATIENCE,
            ping_interval=None,
        )

    def __enter__(self):
        self.connection = self._wait_for(self.connecting.__aenter__())
        return self

    def __exit__(self, *_):
        self._wait_for(self.connection.close())

    def recv(self, seconds):
        """The next message within this time, or a `TimeoutError`."""
        try:
            return self._wait_for(asyncio.wait_for(self.connection.recv(), seconds))
        except asyncio.TimeoutError:  # Which is another one before Python 3.11.
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
        raise Surprise(f"an idle session: expected it to live, saw {closed}") from None
    raise Surprise("an idle session: expected no message, saw one")


def expect_close(proxy, session):
    try:
        session.recv(PATIENCE)
    except ConnectionClosed as closed:
        code = closed.rcvd and (closed.rcvd.code, closed.rcvd.reason)
        expect(f"the close frame through {proxy.name}", (1001, "drained"), code)
        return
    raise Surprise("a drain: expected a close frame, saw a message")


def wait_for_any(servers, **fields):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for server in servers:
            for line in list(server.log):
                if fields.items() <= line.items():
                    return line
        time.sleep(0.02)
    raise Surprise(f"the servers' logs: expected a line with {fields}")


@contextlib.contextmanager
def nodes(proxy, *flags):
    """Two servers, and their ports for clients and for the operator."""
    ports = [free_ports() for _ in NODES]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(node(proxy, index, ports, flags)) for index in range(2)]
        yield ports, servers


@contextlib.contextmanager
def node(proxy, index, ports, flags):
    public, admin = ports[index]
    # Servers of one proxy are asked about their health at one port.
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
        # The proxy shows the same one, and only who does is let in.
        settings += ["--tls-client-ca-file", cert]
    with running_server(*settings) as server:
        server.wait_for(event="listening")
        yield server


@contextlib.contextmanager
def running(proxy, ports, idle=None):
    """The example, with the addresses and the ports of this test. Gives what opens a session there."""
    port = free_port("127.0.0.1")
    text = (EXAMPLES / proxy.example).read_text()
    for index, address in enumerate(["10.0.0.11", "10.0.0.12"]):
        text = re.sub(f"{address}:(8080|8443)", f"{NODES[index]}:{ports[index][0]}", text)
    text = re.sub(r"(port |health_port )9090", rf"\g<1>{ports[0][1]}", text)
    # An example is for a machine with more open files than this one may have.
    text = text.replace("maxconn 20000", "maxconn 2000")
    text = re.sub(r"listen 80;", f"listen 127.0.0.1:{port};", text)
    text = re.sub(r"bind :(80|443)\b", f"bind 127.0.0.1:{port}", text)
    text = re.sub(r"(?m)^:80 {", f"{{\n\tadmin off\n}}\nhttp://127.0.0.1:{port} {{", text)
    if idle is not None and proxy.idle is not None:
        text, count = re.subn(proxy.idle, lambda it: it[0].replace("60s", f"{idle}s"), text)
        expect(f"the idle limit in {proxy.example}", True, count > 0)
    for old, new in proxy.edits:
        expect(f"{old!r} in {proxy.example}", True, old in text)
        text = text.replace(old, new)
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
        context = proxy.certificate and ssl.create_default_context(cafile=proxy.certificate[0])
        wait_until_it_answers(proxy, process, port, context, log)
        host = "wss://localhost" if context else "ws://127.0.0.1"
        yield functools.partial(Session, f"{host}:{port}/ws/status", context)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()
        process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_it_answers(proxy, process, port, context, log):
    """Until a request comes through to a server, which refuses it."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            if context:
                connection = http.client.HTTPSConnection("localhost", port, timeout=2, context=context)
            connection.request("GET", "/ws/status")
            if connection.getresponse().status == 426:
                return
        time.sleep(0.05)
    log.seek(0)
    raise Surprise(f"{proxy.name} does not serve: {log.read()[-500:]}")


def free_ports():
    return free_port(NODES[0]), ADMIN_PORT


def free_port(address):
    with socket.socket() as listener:
        listener.bind((address, 0))
        return listener.getsockname()[1]


# The same for both, as on two machines.
ADMIN_PORT = free_port(NODES[0])


def version_of(proxy):
    done = subprocess.run(proxy.version, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    number = re.search(r"\d+\.\d+\.\d+", done.stdout)
    return f"{proxy.name} {number[0] if number else '?'}"
