"""The examples in deploy/proxies for real: through nginx, HAProxy and Caddy a session has its client's
true address in the log, outlives the proxy's idle limit thanks to the pings, is told 1001 on a drain,
and while two servers are restarted in turn no attempt to connect fails."""

import contextlib
import http.client
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from endpoint import PATIENCE, Surprise, expect, run, running_server

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
    """How an example is made to run here, and by which flags its servers know the client."""

    def __init__(self, name, example, flags, command, version, idle=None):
        self.name = name
        self.example = example
        self.flags = flags
        self.command = command
        self.version = version
        self.idle = idle


PROXIES = [
    Proxy(
        "nginx",
        "nginx.conf",
        HEADER,
        # What only a whole system's nginx has stands in front of the example.
        lambda folder, config: [
            "nginx",
            *("-e", "stderr", "-p", folder, "-c", config),
            *("-g", f"daemon off; user root; pid {folder}/pid; worker_processes 1;"),
        ],
        ["nginx", "-v"],
        idle=r"proxy_(read|send)_timeout 60s",
    ),
    Proxy(
        "haproxy",
        "haproxy.cfg",
        PROXY_PROTOCOL,
        lambda folder, config: ["haproxy", "-db", "-f", config],
        ["haproxy", "-v"],
        idle=r"timeout tunnel 60s",
    ),
    # Caddy has no idle limit for a connection that is upgraded.
    Proxy(
        "caddy",
        "Caddyfile",
        HEADER,
        lambda folder, config: ["caddy", "run", "--adapter", "caddyfile", "--config", config],
        ["caddy", "version"],
    ),
]


def play():
    seen = []
    for proxy in PROXIES:
        check_one_session(proxy)
        check_idleness(proxy)
        attempts = check_restarts(proxy)
        seen.append(f"{version_of(proxy)} ({attempts} attempts during restarts)")
    return f"through {', '.join(seen)}"


def check_one_session(proxy):
    """The client's true address, the pings, and 1001."""
    with nodes(proxy, "--ping-interval-secs", "0.3") as (ports, servers):
        with running(proxy, ports, idle=IDLE) as url, opened(url) as session:
            opening = wait_for_any(servers, event="opened")
            address, _, _ = opening["peer"].partition(":")
            expect(f"the client's address behind {proxy.name}", CLIENT, address)
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
        with running(proxy, ports, idle=IDLE) as url, opened(url) as session:
            try:
                session.recv(timeout=PATIENCE)
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
        url = stack.enter_context(running(proxy, ports))
        load = stack.enter_context(Load(url))
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

    def __init__(self, url):
        self.url = url
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
                with opened(self.url):
                    self.attempts += 1
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")


def opened(url):
    return connect(url, proxy=None, source_address=(CLIENT, 0), open_timeout=PATIENCE, ping_interval=None)


def expect_silence(session, seconds):
    try:
        session.recv(timeout=seconds)
    except TimeoutError:
        return
    except ConnectionClosed as closed:
        raise Surprise(f"an idle session: expected it to live, saw {closed}") from None
    raise Surprise("an idle session: expected no message, saw one")


def expect_close(proxy, session):
    try:
        session.recv(timeout=PATIENCE)
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
        *("--listen", f"{NODES[index]}:{public}"),
        *("--admin-listen", f"{NODES[index]}:{admin}"),
        *("--trusted-proxies", "127.0.0.1"),
        *proxy.flags,
        *flags,
    ]
    with running_server(*settings) as server:
        server.wait_for(event="listening")
        yield server


@contextlib.contextmanager
def running(proxy, ports, idle=None):
    """The example, with the addresses and the ports of this test, and its address for clients."""
    port = free_port("127.0.0.1")
    text = (EXAMPLES / proxy.example).read_text()
    for index, address in enumerate(["10.0.0.11", "10.0.0.12"]):
        text = text.replace(f"{address}:8080", f"{NODES[index]}:{ports[index][0]}")
    text = re.sub(r"(port |health_port )9090", rf"\g<1>{ports[0][1]}", text)
    # An example is for a machine with more open files than this one may have.
    text = text.replace("maxconn 20000", "maxconn 2000")
    text = re.sub(r"listen 80;", f"listen 127.0.0.1:{port};", text)
    text = re.sub(r"bind :80\b", f"bind 127.0.0.1:{port}", text)
    text = re.sub(r"(?m)^:80 {", f"{{\n\tadmin off\n}}\nhttp://127.0.0.1:{port} {{", text)
    if idle is not None and proxy.idle is not None:
        text, count = re.subn(proxy.idle, lambda it: it[0].replace("60s", f"{idle}s"), text)
        expect(f"the idle limit in {proxy.example}", True, count > 0)
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
        url = f"ws://127.0.0.1:{port}/ws/status"
        wait_until_it_answers(proxy, process, port, log)
        yield url
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()
        process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_it_answers(proxy, process, port, log):
    """Until a request comes through to a server, which refuses it."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
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


run(play, limit=150)
