"""Two status nodes behind HAProxy that take their state from a NATS bucket: nodes and broker are
restarted in turn while thousands of clients stay, leave and come back. At the end each has the newest
state, and none was told an older one after a newer one, over all of its connections. And one node: what
it says and tells while its broker is away, and after that."""

import contextlib
import json
import resource
import signal
import time
import urllib.parse

from websockets.sync.client import connect

from broker import Broker, Cable, Publisher
from endpoint import PATIENCE, Surprise, expect, run, running_server
from fleet import Fleet
from proxy import NODES, PROXY_PROTOCOL, Proxy, free_port, free_ports, node, running, version_of

CLIENTS = 2000
# Seconds that a client stays on average.
STAY = 30
# States a second.
RATE = 20
# Seconds from the broker to the second node, which lags behind the first one by as much.
DISTANCE = 0.1
# Seconds that each stage is let go on for.
STAGE = 2

HAPROXY = Proxy(
    "haproxy",
    "haproxy.cfg",
    PROXY_PROTOCOL,
    lambda folder, config: ["haproxy", "-db", "-f", config],
    ["haproxy", "-v"],
    edits=[("maxconn 2000", f"maxconn {2 * CLIENTS}")],
)


def play():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    check_one_node()
    return check_rolling_restart()


def check_rolling_restart():
    """Both nodes and the broker, twice, under load."""
    ports = [free_ports() for _ in NODES]
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Broker(free_port("127.0.0.1")))
        cable = stack.enter_context(Cable(broker.port, DISTANCE))
        cable.plug()
        urls = [broker.url, cable.url]

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
        fleet = stack.enter_context(Fleet(port, CLIENTS, STAY))
        until("all clients to be told something", lambda: all(it.revision for it in fleet.clients))

        for index in range(2):
            nodes[index].terminate()
            expect("the exit code of a node", 0, nodes[index].process.wait(PATIENCE))
            nodes[index] = start(index)
            # The proxy has to find out that it is back before the other one goes.
            nodes[index].wait_for(event="opened")
            time.sleep(STAGE)
        for times, number in [(1, signal.SIGTERM), (2, signal.SIGKILL)]:
            broker.stop(number)
            until("both nodes to miss the broker", lambda: [away(it) for it in nodes] == [times] * 2)
            time.sleep(STAGE)
            broker.start()
            until("both nodes to be back", lambda: [there(it) for it in nodes] == [times + 1] * 2)
            time.sleep(STAGE)

        publisher.stop()
        fleet.settle()
        last = publisher.put("the last one")
        began = time.monotonic()
        until(
            "all clients to be told the last state",
            lambda: fleet.count_told("the last one") == CLIENTS,
        )
        took = time.monotonic() - began
        expect("revisions of the states", sorted(set(publisher.revisions)), publisher.revisions)
        if fleet.surprises:
            raise Surprise(f"{len(fleet.surprises)} states out of order, such as {fleet.surprises[0]}")
        expect("attempts that failed", 0, fleet.counts["failed"] + fleet.counts["refused"])
        expect("connections that were cut", 0, fleet.counts["lost"])
        expect("whether the nodes were drained", True, fleet.counts[1001] > CLIENTS / 2)
        return (
            f"{CLIENTS} clients behind {version_of(HAPROXY)} on {fleet.counts['opened']} connections were "
            f"told {fleet.counts['told']} states of {last}, in order, and the last one within {took:.1f} s"
        )


def check_one_node():
    """What a node tells and logs when it starts without its broker, when nothing comes from it any more,
    when the connection breaks, and when the bucket is not what it was."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Broker(free_port("127.0.0.1")))
        cable = stack.enter_context(Cable(broker.port))
        publisher = stack.enter_context(Publisher(broker))
        publisher.put("first")
        server = stack.enter_context(running_server("--nats", cable.url, "--patience-secs", "3"))

        until("the node to miss the broker", lambda: away(server) == 1)
        early = stack.enter_context(Session(server))
        early.expect_silence(0.5)
        cable.plug()
        early.expect("first")

        # It has not noticed that anything is wrong, and still tells a new session nothing old.
        cable.jam()
        publisher.put("second")
        with Session(server) as late:
            late.expect_silence(0.5)
            cable.plug()
            late.expect("second")
        early.expect("second")

        # The same for longer than a new session waits.
        cable.jam()
        publisher.put("third")
        with Session(server) as late:
            late.expect("second")
            until("the node to miss the broker again", lambda: away(server) == 2)
            early.expect_silence(0.1)
            cable.plug()
            late.expect("third")
        early.expect("third")

        cable.pull()
        publisher.put("fourth")
        until("the node to miss the broker a third time", lambda: away(server) == 3)
        cable.plug()
        early.expect("fourth")
        until("the node to be back a third time", lambda: there(server) == 3)
        expect("how often the node has missed the broker", 3, away(server))

        broker.ask("$KV.status.current", header="KV-Operation: DEL")
        early.expect(None)
        publisher.put("fifth")
        early.expect("fifth")
        broker.ask("$JS.API.STREAM.DELETE.KV_status")
        expect("the first revision of a bucket that is made anew", 1, publisher.put("sixth"))
        early.expect("sixth")


class Session:
    """A session of a node, and the states that it is told."""

    def __init__(self, server):
        self.connecting = connect(server.url, proxy=None, open_timeout=PATIENCE)

    def __enter__(self):
        self.connection = self.connecting.__enter__()
        return self

    def __exit__(self, *error):
        self.connecting.__exit__(*error)

    def expect(self, state):
        try:
            seen = json.loads(self.connection.recv(PATIENCE))["state"]
        except TimeoutError:
            raise Surprise(f"what a session is told: expected {state!r}, saw nothing") from None
        expect("what a session is told", state, seen)

    def expect_silence(self, seconds):
        try:
            seen = self.connection.recv(seconds)
        except TimeoutError:
            return
        raise Surprise(f"what a session is told: expected nothing, saw {seen!r}")


def until(what, is_so):
    deadline = time.monotonic() + 2 * PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise Surprise(f"expected {what}, saw nothing of the kind")
        time.sleep(0.02)


def away(server):
    return count(server, "broker_away")


def there(server):
    return count(server, "broker_reached")


def count(server, event):
    return sum(line["event"] == event for line in list(server.log))


run(play, limit=120)
