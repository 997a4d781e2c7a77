"""Ten tabs of Chromium that share one connection of the module of examples/browser: held by a SharedWorker,
and by one of the tabs where a policy forbids workers. The holder is closed, left, frozen, hung and killed."""

import contextlib
import http.client
import itertools
import json
import pathlib
import re
import shutil
import tempfile
import threading
import time

from websockets.sync.client import connect

from browser import chromium_version
from devtools import Page, blank_page
from endpoint import STEP_TIMEOUT, CheckFailed, expect, expect_soon, run
from publish import Node, files_of

EXAMPLE = pathlib.Path(__file__).parent.parent.parent / "examples/browser"

TABS = 10

# How often the holder is replaced by each of the ways in which a tab goes.
ROUNDS = 4

# A silent holder is noticed by a tab that becomes visible, after the timeout of an answer.
NOTICE_TIMEOUT = 8
HANG_MS = 6_000

# `worker-src` is the only difference between a page that shares by a worker and one that shares by a lock.
PAGE = """<!doctype html>
<meta http-equiv="Content-Security-Policy" content="script-src 'self'; worker-src %s; connect-src ws://127.0.0.1:*">
<title>tab</title>
<link rel="icon" href="data:,">
"""
PAGES = {"worker.html": PAGE % "'self'", "lock.html": PAGE % "'none'"}

# Records every state. `feed` reports through events, so no part of it is replaced.
JOIN = """(async (url) => {
  const { StatusFeed } = await import("./status-feed.js");
  window.states = [];
  window.feed = StatusFeed.shared(url, { revisionOf: "revision" });
  feed.addEventListener("state", (event) => states.push(event.detail.revision));
})"""


def main():
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for file in [*EXAMPLE.glob("*.js"), EXAMPLE / "index.html", EXAMPLE / "page.css"]:
            shutil.copy(file, folder)
        for name, text in PAGES.items():
            pathlib.Path(folder, name).write_text(text)
        origin = stack.enter_context(files_of(folder))
        controller = stack.enter_context(blank_page())
        for check in (check_worker, check_lock, check_page):
            with Node(origin) as node:
                check(controller, origin, node)
    return f"{chromium_version()}: one connection for {TABS} tabs by worker and by lock, and no state was lost"


def check_worker(controller, origin, node):
    """The connection outlives each tab, so every state of a steady stream reaches every tab once."""
    with tabs_of(controller, f"{origin}/worker.html", node) as tabs:
        with publishing(node) as last:
            for go in [close, leave, close, leave] * ROUNDS:
                time.sleep(0.1)
                expect("whether a tab holds the connection", None, tabs.holder())
                # The oldest tab has created the worker.
                tabs.replace(0, go)
        tabs.expect_all(last())
        expect("the sessions that were opened", 1, metric(node, "sessions_opened_total"))
        check_leaving(tabs, node)

        # A worker that was killed with its process is replaced when a tab asks for it.
        tabs.kill_worker()
        other = tabs.open()
        other.page.call("Page.bringToFront")
        node.publish(state(last() + 1))
        tabs.expect_all(last() + 1, NOTICE_TIMEOUT)
        expect_soon("the sessions", 1, lambda: metric(node, "sessions"))


def check_leaving(tabs, node):
    """A tab that stops gets nothing more, and the connection ends with the last tab that stops."""
    *others, last = tabs.all
    for tab in others:
        tab.page.evaluate("feed.stop()")
    time.sleep(4)  # Longer than the timeout of an answer.
    expect("the sessions while one tab has not stopped", 1, metric(node, "sessions"))
    last.page.evaluate("feed.stop()")
    expect_soon("the sessions after all have stopped", 0, lambda: metric(node, "sessions"))
    for tab in tabs.all:
        # The server sends the newest state to each connection.
        tab.page.evaluate("states.length = 0, feed.start()")
    tabs.expect_open()
    expect("the sessions after all have started", 1, metric(node, "sessions"))


def check_lock(controller, origin, node):
    """The tab that gets the lock connects anew. A state that is published meanwhile reaches every tab once."""
    with tabs_of(controller, f"{origin}/lock.html", node) as tabs:
        revision = 0
        ways = [close, leave, freeze, crash] * ROUNDS
        for go in [*ways, hang]:
            revision += 1
            node.publish(state(revision))
            tabs.expect_all(revision)
            expect_soon("the sessions", 1, lambda: metric(node, "sessions"))
            index = tabs.all.index(tabs.holder())
            tabs.replace(index, go)
            revision += 1
            node.publish(state(revision))
            tabs.expect_all(revision, NOTICE_TIMEOUT)
        expect_soon("the sessions", 1, lambda: metric(node, "sessions"), NOTICE_TIMEOUT)
        expect("the sessions that were opened", len(ways) + 2, metric(node, "sessions_opened_total"))
        # The tab that hung takes part again.
        for tab in [*tabs.all, tabs.gone[-1]]:
            tab.page.evaluate("feed.stop()")
        expect_soon("the sessions after all have stopped", 0, lambda: metric(node, "sessions"))


def check_page(controller, origin, node):
    """The page of the example, whose policy requires trusted types, with which there is no worker."""
    node.publish("well")
    url = f"{origin}/?shared&url={node.url}"
    targets = [controller.call("Target.createTarget", url=url)["targetId"] for _ in range(2)]
    for target in targets:
        with devtools_of(controller, target) as devtools:
            shown = "document.getElementById('phase').innerText + document.getElementById('state').innerText"
            page = Page(devtools)
            expect_soon("the phase and the state of a page", "openwell", lambda: page.evaluate(shown))
    expect("the sessions of two pages", 1, metric(node, "sessions"))
    for target in targets:
        controller.call("Target.closeTarget", targetId=target)


def devtools_of(controller, target):
    host, port = controller.devtools.remote_address[:2]
    return connect(f"ws://{host}:{port}/devtools/page/{target}", max_size=None)


class Tab:
    """A tab that shares the connection."""

    def __init__(self, controller, url, node):
        self.id = controller.call("Target.createTarget", url=url)["targetId"]
        self.devtools = devtools_of(controller, self.id)
        self.page = Page(self.devtools)
        ready = "document.title === 'tab' && document.readyState"
        expect_soon("the document", "complete", lambda: self.page.evaluate(ready))
        self.page.evaluate(f"{JOIN}({json.dumps(node.url)})")

    def states(self):
        return self.page.evaluate("states")

    def phase(self):
        return self.page.evaluate("feed.health.phase")


class Tabs:
    """The tabs that share the connection, and those that have gone and are not closed yet."""

    def __init__(self, controller, url, node):
        self.controller, self.url, self.node = controller, url, node
        self.all = []
        self.gone = []

    def open(self):
        tab = Tab(self.controller, self.url, self.node)
        self.all.append(tab)
        return tab

    def replace(self, index, go):
        """Lets a tab go, and opens another one."""
        tab = self.all.pop(index)
        go(self.controller, tab)
        check_order(tab.last_states)
        self.gone.append(tab)
        self.open()

    def holder(self):
        holders = [tab for tab in self.all if tab.page.evaluate("feed.holdsConnection")]
        return holders[0] if holders else None

    def expect_open(self):
        expect_soon("the phases", ["open"] * len(self.all), lambda: [tab.phase() for tab in self.all])

    def expect_all(self, revision, timeout=STEP_TIMEOUT):
        """Expects that every tab gets this state, and has got every one since it was opened, once."""
        expected = [revision] * len(self.all)

        def newest():
            return [(tab.states() or [None])[-1] for tab in self.all]

        expect_soon("the newest states", expected, newest, timeout)
        for tab in self.all:
            check_order(tab.states())

    def kill_worker(self):
        targets = self.controller.call("Target.getTargets", filter=[{"type": "shared_worker"}])["targetInfos"]
        expect("how many workers there are", 1, len(targets))
        with devtools_of(self.controller, targets[0]["targetId"]) as devtools:
            devtools.send(json.dumps({"id": 1, "method": "Runtime.evaluate", "params": {"expression": "close()"}}))
            devtools.recv(STEP_TIMEOUT)


@contextlib.contextmanager
def tabs_of(controller, url, node):
    tabs = Tabs(controller, url, node)
    node.publish(state(0))
    try:
        for _ in range(TABS):
            tabs.open()
        tabs.expect_open()
        tabs.expect_all(0)
        expect("the sessions of all tabs", 1, metric(node, "sessions"))
        yield tabs
    finally:
        for tab in [*tabs.all, *tabs.gone]:
            with contextlib.suppress(CheckFailed):
                controller.call("Target.closeTarget", targetId=tab.id)
            tab.devtools.close()


def close(controller, tab):
    tab.last_states = tab.states()
    controller.call("Target.closeTarget", targetId=tab.id)


def leave(_controller, tab):
    tab.last_states = tab.states()
    tab.page.call("Page.navigate", url="about:blank")


def freeze(_controller, tab):
    tab.last_states = tab.states()
    tab.page.call("Page.setWebLifecycleState", state="frozen")


def crash(_controller, tab):
    """Kills the process of the tab."""
    tab.last_states = tab.states()
    tab.devtools.send(json.dumps({"id": 0, "method": "Page.crash"}))


def hang(_controller, tab):
    """The tab answers nothing and keeps its lock for a while, as one that is suspended without notice."""
    tab.last_states = tab.states()
    tab.page.evaluate(f"setTimeout(() => {{ for (const end = Date.now() + {HANG_MS}; Date.now() < end;); }})")


def check_order(revisions):
    if not revisions or revisions != list(range(revisions[0], revisions[0] + len(revisions))):
        raise CheckFailed(f"the states of a tab: expected each once and in order, saw {revisions}")


@contextlib.contextmanager
def publishing(node):
    """Publishes a newer state twenty times a second. Yields a function that returns the last revision."""
    stop = threading.Event()
    published = itertools.count(1)
    last = [0]

    def publish():
        while not stop.wait(0.05):
            last[0] = next(published)
            node.publish(state(last[0]))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield lambda: last[0]
    finally:
        stop.set()
        thread.join()


def state(revision):
    return json.dumps({"revision": revision})


def metric(node, name):
    with contextlib.closing(http.client.HTTPConnection(node.admin, timeout=STEP_TIMEOUT)) as client:
        client.request("GET", "/metrics")
        text = client.getresponse().read().decode()
    return int(float(re.search(rf"^ws_status_{name} (\S+)$", text, re.MULTILINE)[1]))


run(main, limit=150)
