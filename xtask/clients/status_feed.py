"""The page of examples/browser in Chromium: it reconnects after restarts, a kill, refusals and each kind of
close code, and after back navigation."""

import contextlib
import itertools
import json
import pathlib
import signal
import socket
import time

from browser import chromium_version
from devtools import blank_page, check_readable
from endpoint import CheckFailed, expect, expect_soon, run, seen_soon
from publish import LoadBalancer, Node, closing_server, files_of, publishing

EXAMPLE = pathlib.Path(__file__).parent.parent.parent / "examples/browser"

# Enough to detect synchronized reconnects.
FEEDS = 50
RESTARTS = 4
BASE_MS = 1_000

# The visible contents of the page.
SHOWN = """(() => {
  const texts = [...document.querySelectorAll("#phase, #state, #why, #ending, #age")];
  return Object.fromEntries(texts.map((element) => [element.id, element.innerText]));
})()"""

# Creates feeds in addition to the page's own, and records their events. A feed reports through events, so no
# part of it is replaced.
FOLLOW = """(async (urls, options) => {
  const { StatusFeed } = await import("./status-feed.js");
  if (options.revisions) options.revisionOf = (state) => state?.revision;
  window.feeds = [...(window.feeds ?? []), ...urls.map((url) => {
    const feed = new StatusFeed(url, options);
    const recorded = { feed, attempts: [Date.now()], waits: [], states: [], phases: [] };
    feed.addEventListener("state", (event) => recorded.states.push(event.detail));
    feed.addEventListener("health", () => {
      const { phase, until, lastEnding } = feed.health;
      recorded.phases.push(phase);
      if (phase === "connecting") recorded.attempts.push(Date.now());
      if (phase === "waiting" && lastEnding) {
        recorded.waits.push({ ...lastEnding, ms: until - lastEnding.at });
      }
    });
    return recorded;
  })];
})"""

RECORDED = """window.feeds.map(({ feed, attempts, waits, states, phases }) =>
  ({ attempts, waits, phases, states, health: feed.health, now: Date.now() }))"""


def main():
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(files_of(EXAMPLE))
        page = stack.enter_context(blank_page())
        check_the_page(page, origin)
        check_rolling_restart(page, origin)
        check_told_restart(page, origin)
        check_known_state(page, origin)
        check_full_server(page, origin)
        check_codes(page, origin)
        check_visible_refusals(page, origin)
        check_kill(page, origin)
        check_quiet_connection(page, origin)
        check_refusal(page, origin)
        check_back_navigation(page, origin)
        check_early_retry(page, origin)
        # Network errors are expected.
        expect("errors in the page's console", [], page.console_errors(but="network"))
    return f"{chromium_version()}: the page reconnected each time, the reconnects of {FEEDS} feeds were spread"


def check_the_page(page, origin):
    with Node(origin) as node:
        page.open(f"{origin}/?url={node.url}")
        expect_shown(page, phase="open", state="none yet")
        node.publish("all is well")
        expect_shown(page, state="all is well")
        node.publish('{"revision": 1, "state": "better"}')
        expect_shown(page, state='{\n  "revision": 1,\n  "state": "better"\n}')
        expect("errors in the page's console", [], page.console_errors())

        expect("the page's language", "en", page.evaluate("document.documentElement.lang"))
        expect("the headings of level 1", ["Status"], page.names("heading", level=1))
        expect("the text of the status role", [["open"]], page.texts_of("status"))
        expect("the names of regions", {"Newest state", "Connection"}, set(page.names("region")))
        check_readable(page, "open")

        press(page, "stop")
        expect_shown(page, phase="stopped", why="The page called stop().")
        check_readable(page, "stopped")
        closed = node.server.wait_for(event="closed")
        expect("the close code of the stopped page", 1000, closed["code"])
        press(page, "start")
        expect_shown(page, phase="open")


def check_rolling_restart(page, origin):
    """Restarts two servers behind a load balancer in turn while states are published."""
    with Node(origin) as one, Node(origin) as other, LoadBalancer([one, other]) as front:
        page.open(f"{origin}/?url={front.url}")
        follow(page, [front.url] * FEEDS, baseMs=BASE_MS, steadyMs=300, revisions=True)
        with publishing([one, other]) as last:
            expect_open(page, FEEDS)
            for node, _ in zip(itertools.cycle([one, other]), range(RESTARTS)):
                time.sleep(0.5)  # Longer than steadyMs.
                node.restart(signal.SIGTERM)
                expect_open(page, FEEDS)
        final = last()
        expect_soon("the states at last", [final] * FEEDS, lambda: newest_states(page))
        expect_shown(page, state=json.dumps(final, indent=2), phase="open")
    check_order(recorded(page))
    check_restarts(recorded(page))


def check_order(feeds):
    for feed in feeds:
        revisions = [state["revision"] for state in feed["states"]]
        expect("the revisions in the order in which they were shown", sorted(revisions), revisions)
    # Otherwise no feed had to discard an older state.
    outdated = sum(feed["health"]["outdated"] > 0 for feed in feeds)
    expect("whether some received an older state", True, outdated > FEEDS / 4)


def check_restarts(feeds):
    """Checks that no feed retries too often, and that the retries are spread."""
    for feed in feeds:
        busiest = most_within(1_000, feed["attempts"])
        if busiest > 3:
            raise CheckFailed(f"a feed's attempts: expected at most 3 in a second, saw {busiest}")
    waits = [wait for feed in feeds for wait in feed["waits"] if wait["code"] == 1001]
    shares = [wait["ms"] / BASE_MS for wait in waits]
    # A restart ends at least half of the sessions; half of that is sufficient here.
    if len(waits) < FEEDS * RESTARTS / 4:
        raise CheckFailed(f"waits after 1001: expected some of each restart, saw {len(waits)}")
    mean = sum(shares) / len(shares)
    if not 0.4 < mean < 0.6 or max(shares) > 2 or min(shares) > 0.1:
        raise CheckFailed(f"waits after 1001: expected them to be even, saw a mean of {mean:.2f}")
    starts = sorted(start for feed in feeds for start in feed["attempts"][1:])
    busiest = most_within(BASE_MS // 10, starts)
    if busiest > 0.4 * FEEDS:
        raise CheckFailed(f"attempts in a tenth of a window: expected them spread, saw {busiest}")


def check_told_restart(page, origin):
    """A server ends and says when to come back."""
    spread = 2
    with Node(origin, "--reconnect-spread-secs", str(spread)) as node, LoadBalancer([node]) as front:
        page.open(f"{origin}/?url={front.url}")
        follow(page, [front.url] * FEEDS, baseMs=BASE_MS, resume=True)
        expect_open(page, FEEDS)
        node.restart(signal.SIGTERM)
        expect_open(page, FEEDS)
    feeds = recorded(page)
    for feed in feeds:
        # Those that come back first find no server yet, and wait again.
        wait, second = feed["waits"][0], feed["attempts"][1]
        expect("the reason of the close", "drained", wait["reason"])
        expect("the wait that was taken", wait["retryMs"], wait["ms"])
        lateness = second - wait["at"] - wait["ms"]
        if not -5 <= lateness <= 500:
            raise CheckFailed(f"an attempt: expected it when told, saw it {lateness} ms later")
    busiest = most_within(1_000 * spread // 10, [feed["attempts"][1] for feed in feeds])
    if busiest > FEEDS / 5:
        raise CheckFailed(f"attempts in a tenth of the spread: expected them even, saw {busiest}")


def check_known_state(page, origin):
    """Feeds whose sessions reach their greatest age get no state again."""
    settings = ["--max-connection-age-secs", "1.5", "--reconnect-spread-secs", "1"]
    with Node(origin, *settings) as node:
        node.publish('{"revision": 1}')
        page.open(f"{origin}/?url={node.url}")
        # Chromium delays connections of a page that had many.
        count = 8
        follow(page, [node.url] * count, steadyMs=300, resume=True)

        def reconnected():
            return all(len(feed["waits"]) > 1 for feed in recorded(page))

        expect_soon("whether all sessions have ended twice", True, reconnected)
        for feed in recorded(page):
            expect("the states of a feed", [{"revision": 1}], feed["states"])
            expect("the reasons", {"max_age"}, {wait["reason"] for wait in feed["waits"]})
            expect("the waits", [wait["retryMs"] for wait in feed["waits"]], [wait["ms"] for wait in feed["waits"]])
        node.publish('{"revision": 2}')
        expect_soon("the states at last", [{"revision": 2}] * count, lambda: newest_states(page))
        for feed in recorded(page):
            expect("the states of a feed", [{"revision": 1}, {"revision": 2}], feed["states"])

        def confirmed():
            return sum("currentSince" in feed["health"] for feed in recorded(page))

        expect_soon("whether feeds know that their state is current", True, lambda: confirmed() > count / 4)


def check_full_server(page, origin):
    with Node(origin, "--visible-refusals", "true", "--max-connections", "1") as node:
        page.open(f"{origin}/?url={node.url}")
        expect_shown(page, phase="open")
        follow(page, [node.url])
        wait = wait_of_first_feed(page)
        seen = wait["code"], wait["reason"], wait["opened"], wait["verdict"]
        expect("the refusal by a full server", (1013, "connection_limit", True, "later"), seen)
        node.server.wait_for(event="refused", refusal="connection_limit", close_code=1013)


def check_visible_refusals(page, origin):
    refusals = {(1013, "connection_limit"): "waiting", (3000, "unauthorized"): "waiting", (3003, "forbidden"): "stopped"}
    with closing_server() as address:
        page.open(f"{origin}/?url=ws://{address}/1013?connection_limit%20retry=60000")
        why = "The server is overloaded and asks to try again later."
        expect_shown(page, phase="waiting", why=why)
        expect("the ending that the page shows", "1013 “connection_limit”", shown_on(page)["ending"].split(" at ")[0])
        follow(page, [f"ws://{address}/{code}?{reason}" for code, reason in refusals], capMs=60_000)
        for index, ((code, reason), phase) in enumerate(refusals.items()):

            def refused(index=index):
                health = recorded(page)[index]["health"]
                ending = health.get("lastEnding", {})
                return ending.get("code"), ending.get("reason"), ending.get("opened"), health["unreachable"]

            expect_soon(f"the refusal {reason}", (code, reason, True, False), refused)
            expect_soon(f"the phase after {reason}", phase, lambda: recorded(page)[index]["health"]["phase"])


def check_codes(page, origin):
    """Checks each close code with a server that accepts and closes at once."""
    with closing_server() as address:
        codes = [1001, 1012, 1011, 1013, 1000, 1002, 1008, 1009, 4000]
        page.open(f"{origin}/?url=ws://{address}/4000")
        expect_shown(page, phase="stopped", why="The application closed it.")
        follow(page, [f"ws://{address}/{code}" for code in codes], baseMs=100, capMs=800)
        time.sleep(4)
        for code, feed in zip(codes, recorded(page)):
            check_code(code, feed)


def check_code(code, feed):
    last_close = feed["health"]["lastEnding"]
    seen = last_close["code"], last_close["reason"], last_close["opened"]
    expect(f"the close with {code}", (code, f"closed with {code}", True), seen)
    if code not in (1001, 1011, 1012, 1013):
        expect(f"the phase after {code}", "stopped", feed["health"]["phase"])
        expect(f"the attempts with {code}", 1, len(feed["attempts"]))
        return
    waits = [wait["ms"] for wait in feed["waits"]]
    attempts = len(feed["attempts"])
    # Uniform within 800 ms at the end: ten in four seconds on average, and more by chance.
    if not 2 <= attempts <= 25:
        raise CheckFailed(f"attempts with {code} in four seconds: expected 2 to 25, saw {attempts}")
    for number, wait in enumerate(waits, start=1):
        window = 800 if code in (1011, 1013) else min(800, 100 * 2**number)
        if wait > window:
            raise CheckFailed(f"wait {number} after {code}: expected {window} ms at most, saw {wait}")
    expect(f"the failures with {code}", len(waits), feed["health"]["failures"])


def check_kill(page, origin):
    with Node(origin) as node, LoadBalancer([node]) as front:
        page.open(f"{origin}/?url={front.url}&quiet=60")
        follow(page, [front.url])
        expect_open(page, 1)
        node.publish("before")
        expect_shown(page, phase="open", state="before")
        node.kill()
        first = wait_of_first_feed(page)
        expect("the close of a killed server", (1006, True), (first["code"], first["opened"]))
        expect("whether the words name a broken connection", True, first["words"].startswith("the connection broke"))
        shown = shown_on(page)
        expect("the ending that the page shows", "1006", shown["ending"].split(" at ")[0])
        expect("whether the age has a warning", True, "there may be a newer one" in shown["age"])
        node.start()
        node.publish("after")
        press(page, "start")
        expect_shown(page, phase="open", state="after")


def check_quiet_connection(page, origin):
    """Checks that a connection without any message is closed after quietMs."""
    with Node(origin) as node:
        page.open(f"{origin}/")
        follow(page, [node.url], quietMs=400)
        expect("the reason of the close", "nothing came for 0.4 s", wait_of_first_feed(page)["words"])
        node.server.wait_for(event="closed", code=3008)


def wait_of_first_feed(page):
    """Waits for the first wait of the first feed."""
    feed = seen_soon(lambda: recorded(page)[0], lambda feed: feed["waits"])
    if not feed["waits"]:
        raise CheckFailed(f"a feed: expected it to wait, saw {feed['phases']}")
    return feed["waits"][0]


def check_refusal(page, origin):
    with Node("https://other.example") as node:
        page.open(f"{origin}/?url={node.url}")
        words = "There was no connection: the server cannot be reached, or refused this page."
        seen_soon(lambda: shown_on(page), lambda shown: shown["why"] == words)
        expect("why it waits", words, shown_on(page)["why"])
        node.server.wait_for(event="refused", refusal="origin_refused", origin=origin)


def check_back_navigation(page, origin):
    """Navigates away, and back to the page in the browser's back-forward cache."""
    with Node(origin) as node:
        page.open(f"{origin}/?url={node.url}")
        node.publish("before")
        expect_shown(page, phase="open", state="before")
        page.evaluate("window.isKept = true")
        page.open(f"{origin}/page.css")
        closed = node.server.wait_for(event="closed")
        expect("the code of a page that was left", 1000, closed["code"])
        node.publish("meanwhile")
        page.evaluate("history.back()")
        expect_shown(page, phase="open", state="meanwhile")
        expect("whether the page was kept", True, page.evaluate("window.isKept"))


def check_early_retry(page, origin):
    """Checks that waits end early when the network is back, and when the page becomes visible."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as unused:
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/"
    page.open(f"{origin}/")
    follow(page, [url] * 5, baseMs=300, capMs=60_000)
    for what, trigger in [("online", come_online), ("seen", come_to_front)]:

        def all_wait():
            return all(feed["health"].get("until", 0) - feed["now"] > 2_500 for feed in recorded(page))

        expect_soon(f"whether all wait for long before {what}", True, all_wait, timeout=30)
        before = [len(feed["attempts"]) for feed in recorded(page)]
        trigger(page)

        def all_have_retried():
            attempts = [len(feed["attempts"]) for feed in recorded(page)]
            return all(now > then for now, then in zip(attempts, before))

        # Within baseMs, with a margin for a loaded machine.
        expect_soon(f"whether all have tried when {what}", True, all_have_retried, timeout=1.2)


def come_online(page):
    for offline in (True, False):
        conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        page.call("Network.emulateNetworkConditions", offline=offline, **conditions)


def come_to_front(page):
    other = page.call("Target.createTarget", url="about:blank")["targetId"]
    expect_visibility(page, "hidden")
    page.call("Page.bringToFront")
    expect_visibility(page, "visible")
    page.call("Target.closeTarget", targetId=other)


def expect_visibility(page, expected):
    script = "document.visibilityState"
    expect_soon("whether the page is seen", expected, lambda: page.evaluate(script))


def expect_shown(page, **expected):
    def shown():
        return {key: shown_on(page).get(key) for key in expected}

    expect_soon("what the page shows", expected, shown)


def shown_on(page):
    return page.evaluate(SHOWN)


def press(page, button):
    page.evaluate(f"document.getElementById('{button}').click()")


def follow(page, urls, **options):
    page.evaluate(f"{FOLLOW}({json.dumps(urls)}, {json.dumps(options)})")


def recorded(page):
    return page.evaluate(RECORDED)


def newest_states(page):
    return page.evaluate("window.feeds.map(({ feed }) => feed.state)")


def expect_open(page, count):
    script = "window.feeds.filter(({ feed }) => feed.health.phase === 'open').length"
    expect_soon("how many feeds are open", count, lambda: page.evaluate(script))


def most_within(ms, times):
    """The maximum number of these times within a window of this length."""
    times = sorted(times)
    return max(sum(start <= it < start + ms for it in times) for start in times)


run(main, limit=120)
