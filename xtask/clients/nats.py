"""Two status nodes with a NATS bucket behind HAProxy: nodes and broker are restarted in turn while
thousands of clients connect, disconnect and reconnect. At the end each client has the newest state, and
none received an older state after a newer one, over all of its connections. Also one node: what it logs
and sends while its broker is not reachable, and afterwards."""

import contextlib
import json
import resource
import signal
import time
import urllib.parse

from websockets.sync.client import connect

from broker import Broker, Publisher, Relay
from endpoint import STEP_TIMEOUT, CheckFailed, expect, run, running_server
from load_clients import LoadClients
from proxy import NODES, PROXY_PROTOCOL, Proxy, free_port, free_ports, node, running, version_of

CLIENTS = 2000
# Mean duration of a session, in seconds.
MEAN_SESSION_SECONDS = 30
# States per second.
RATE = 20
# Delay between the broker and the second node, in seconds; the node lags behind the first by this time.
RELAY_DELAY = 0.1
# Duration of each step, in seconds.
STEP_SECONDS = 2

HAPROXY = Proxy(
    "haproxy",
    "haproxy.cfg",
    PROXY_PROTOCOL,
    lambda folder, config: ["haproxy", "-db", "-f", config],
    ["haproxy", "-v"],
    edits=[("maxconn 2000", f"maxconn {2 * CLIENTS}")],
)


def main():
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
    check_one_node()
    return check_rolling_restart()


def check_rolling_restart():
    """Restarts both nodes, and the broker twice, under load."""
    ports = [free_ports() for _ in NODES]
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Broker(free_port("127.0.0.1")))
        relay = stack.enter_context(Relay(broker.port, RELAY_DELAY))
        relay.connect()
        urls = [broker.url, relay.url]

        def start(index):
            flags = [
                *("--nats", urls[index], "--max-connections", str(2 * CLIENTS)),
                *("--drain-delay-secs", "2.5", "--drain-spread-secs", "1"),
            ]
            return stack.enter_context(node(HAPROXY, index, ports, flags))

        nodes = [start(index) for index in range(2)]
        opened = stack.enter_context(running(HAPROXY, ports))
        publisher = stack.enter_context(Publisher(broker))
        publisher.count(RATE)
        port = urllib.parse.urlsplit(opened.args[0]).port
        clients = stack.enter_context(LoadClients(port, CLIENTS, MEAN_SESSION_SECONDS))
        wait_until("all clients to receive a state", lambda: all(it.revision for it in clients.clients))

        for index in range(2):
            nodes[index].terminate()
            expect("the exit code of a node", 0, nodes[index].process.wait(STEP_TIMEOUT))
            nodes[index] = start(index)
            # The proxy has to detect that this node is up before the other one is restarted.
            nodes[index].wait_for(event="opened")
            time.sleep(STEP_SECONDS)
        for count, number in [(1, signal.SIGTERM), (2, signal.SIGKILL)]:
            broker.stop(number)
            wait_until(
                "both nodes to lose the broker",
                lambda: [count_away(it) for it in nodes] == [count] * 2,
            )
            time.sleep(STEP_SECONDS)
            broker.start()
            wait_until(
                "both nodes to reach the broker",
                lambda: [count_reached(it) for it in nodes] == [count + 1] * 2,
            )
            time.sleep(STEP_SECONDS)

        publisher.stop()
        clients.stop_leaving()
        last = publisher.put("the last one")
        started = time.monotonic()
        wait_until(
            "all clients to receive the last state",
            lambda: clients.count_with_state("the last one") == CLIENTS,
        )
        took = time.monotonic() - started
        expect("revisions of the states", sorted(set(publisher.revisions)), publisher.revisions)
        if clients.order_violations:
            violations = clients.order_violations
            raise CheckFailed(f"{len(violations)} states out of order, such as {violations[0]}")
        expect("attempts that failed", 0, clients.counts["failed"] + clients.counts["refused"])
        expect("connections that were lost", 0, clients.counts["lost"])
        expect("whether the nodes were drained", True, clients.counts[1001] > CLIENTS / 2)
        return (
            f"{CLIENTS} clients behind {version_of(HAPROXY)} on {clients.counts['opened']} connections "
            f"received {clients.counts['received']} states of {last}, in order, and the last one within "
            f"{took:.1f} s"
        )


def check_one_node():
    """What a node sends and logs when it starts without its broker, when the broker stops responding, when
    the connection is lost, and when the bucket is deleted."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Broker(free_port("127.0.0.1")))
        relay = stack.enter_context(Relay(broker.port))
        publisher = stack.enter_context(Publisher(broker))
        publisher.put("first")
        server = stack.enter_context(running_server("--nats", relay.url, "--max-wait-secs", "3"))

        wait_until("the node to lose the broker", lambda: count_away(server) == 1)
        early = stack.enter_context(Session(server))
        early.expect_silence(0.5)
        relay.connect()
        early.expect("first")

        # The node has not detected the stall, and must not send an old state to a new session.
        relay.stall()
        publisher.put("second")
        with Session(server) as late:
            late.expect_silence(0.5)
            relay.connect()
            late.expect("second")
        early.expect("second")

        # The same, for longer than a new session waits.
        relay.stall()
        publisher.put("third")
        with Session(server) as late:
            late.expect("second")
            wait_until("the node to lose the broker again", lambda: count_away(server) == 2)
            early.expect_silence(0.1)
            relay.connect()
            late.expect("third")
        early.expect("third")

        relay.disconnect()
        publisher.put("fourth")
        wait_until("the node to lose the broker a third time", lambda: count_away(server) == 3)
        relay.connect()
        early.expect("fourth")
        wait_until("the node to reach the broker a third time", lambda: count_reached(server) == 3)
        expect("how often the node has lost the broker", 3, count_away(server))

        broker.request("$KV.status.current", header="KV-Operation: DEL")
        early.expect(None)
        publisher.put("fifth")
        early.expect("fifth")
        broker.request("$JS.API.STREAM.DELETE.KV_status")
        expect("the first revision of a recreated bucket", 1, publisher.put("sixth"))
        early.expect("sixth")


class Session:
    """A session of a node, and the states that it receives."""

    def __init__(self, server):
        self.connecting = connect(server.url, proxy=None, open_timeout=STEP_TIMEOUT)

    def __enter__(self):
        self.connection = self.connecting.__enter__()
        return self

    def __exit__(self, *error):
        self.connecting.__exit__(*error)

    def expect(self, state):
        try:
            seen = json.loads(self.connection.recv(STEP_TIMEOUT))["state"]
        except TimeoutError:
            raise CheckFailed(f"the state of a session: expected {state!r}, saw nothing") from None
        expect("the state of a session", state, seen)

    def expect_silence(self, seconds):
        try:
            seen = self.connection.recv(seconds)
        except TimeoutError:
            return
        raise CheckFailed(f"the state of a session: expected nothing, saw {seen!r}")


def wait_until(what, holds):
    deadline = time.monotonic() + 2 * STEP_TIMEOUT
    while not holds():
        if time.monotonic() > deadline:
            raise CheckFailed(f"expected {what}, which did not happen")
        time.sleep(0.02)


def count_away(server):
    return count(server, "broker_away")


def count_reached(server):
    return count(server, "broker_reached")


def count(server, event):
    return sum(line["event"] == event for line in list(server.log))


run(main, limit=120)
