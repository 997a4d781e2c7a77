"""The page of examples/browser in Chromium: it follows a server through restarts, a kill, refusals and
each kind of close code, and is back where a person comes back to it."""

import contextlib
import itertools
import json
import pathlib
import signal
import socket
import time

from browser import chromium_version
from devtools import blank_page, check_readable
from endpoint import Surprise, expect, expect_soon, run, seen_soon
from publish import Forwarder, Node, closing_server, files_of, publishing

EXAMPLE = pathlib.Path(__file__).parent.parent.parent / "examples/browser"

# Enough of them to see whether they come back in step.
FEEDS = 50
RESTARTS = 4
BASE_MS = 1_000

# What a reader of the page sees.
SHOWN = """(() => {
  const texts = [...document.querySelectorAll("#phase, #state, #why, #ending, #age")];
  return Object.fromEntries(texts.map((element) => [element.id, element.innerText]));
})()"""

# Makes feeds beside the page's own, which keep what happens to them. A feed reports by events, so
# nothing of its own is replaced.
FOLLOW = """(async (urls, options) => {
  const { StatusFeed } = await import("./status-feed.js");
  if (options.revisions) options.revisionOf = (state) => state?.revision;
  window.feeds = [...(window.feeds ?? []), ...urls.map((url) => {
    const feed = new StatusFeed(url, options);
    const kept = { feed, attempts: [Date.now()], waits: [], states: [], phases: [] };
    feed.addEventListener("state", (event) => kept.states.push(event.detail));
    feed.addEventListener("health", () => {
      const { phase, until, lastEnding } = feed.health;
      kept.phases.push(phase);
      if (phase === "connecting") kept.attempts.push(Date.now());
      if (phase === "waiting" && lastEnding) {
        kept.waits.push({ ...lastEnding, ms: until - lastEnding.at });
      }
    });
    return kept;
  })];
})"""

KEPT = """window.feeds.map(({ feed, attempts, waits, states, phases }) =>
  ({ attempts, waits, phases, states, health: feed.health, now: Date.now() }))"""


def play():
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(files_of(EXAMPLE))
        page = stack.enter_context(blank_page())
        check_the_page(page, origin)
        check_rolling_restart(page, origin)
        check_codes(page, origin)
        check_kill(page, origin)
        check_silence(page, origin)
        check_refusal(page, origin)
        check_return(page, origin)
        check_hurry(page, origin)
        # That a server is not reached is what it should find.
        expect("the page's complaints", [], page.complaints(but="network"))
    return f"{chromium_version()}: the page came back each time, {FEEDS} feeds out of step"


def check_the_page(page, origin):
    with Node(origin) as node:
        page.open(f"{origin}/?url={node.url}")
        expect_shown(page, phase="open", state="none yet")
        node.publish("all is well")
        expect_shown(page, state="all is well")
        node.publish('{"revision": 1, "state": "better"}')
        expect_shown(page, state='{\n  "revision": 1,\n  "state": "better"\n}')
        expect("the page's complaints", [], page.complaints())

        expect("the page's language", "en", page.evaluate("document.documentElement.lang"))
        expect("the headings of level 1", ["Status"], page.names("heading", level=1))
        expect("what is read out when it changes", [["open"]], page.texts_of("status"))
        expect("the names of regions", {"Newest state", "Connection"}, set(page.names("region")))
        check_readable(page, "open")

        press(page, "stop")
        expect_shown(page, phase="stopped", why="It was told to stop.")
        check_readable(page, "stopped")
        closed = node.server.wait_for(event="closed")
        expect("the code of the page that was told to stop", 1000, closed["code"])
        press(page, "start")
        expect_shown(page, phase="open")


def check_rolling_restart(page, origin):
    """Two servers are restarted in turn while states are published, behind something that hands
    connections on to either."""
    with Node(origin) as one, Node(origin) as other, Forwarder([one, other]) as front:
        page.open(f"{origin}/?url={front.url}")
        follow(page, [front.url] * FEEDS, baseMs=BASE_MS, steadyMs=300, revisions=True)
        with publishing([one, other]) as last:
            expect_open(page, FEEDS)
            for node, _ in zip(itertools.cycle([one, other]), range(RESTARTS)):
                time.sleep(0.5)  # Longer than a session has to be open to be steady.
                node.restart(signal.SIGTERM)
                expect_open(page, FEEDS)
        final = last()
        expect_soon("the states at last", [final] * FEEDS, lambda: newest_states(page))
        expect_shown(page, state=json.dumps(final, indent=2), phase="open")
    check_order(kept(page))
    check_restarts(kept(page))


def check_order(feeds):
    for feed in feeds:
        revisions = [state["revision"] for state in feed["states"]]
        expect("the revisions in the order in which they were shown", sorted(revisions), revisions)
    # Otherwise there was nothing to pass over.
    outdated = sum(feed["health"]["outdated"] > 0 for feed in feeds)
    expect("whether some were told what is older", True, outdated > FEEDS / 4)


def check_restarts(feeds):
    """Nobody hammers, and nobody is in step with the others."""
    for feed in feeds:
        busiest = most_within(1_000, feed["attempts"])
        if busiest > 3:
            raise Surprise(f"a feed's attempts: expected at most 3 in a second, saw {busiest}")
    waits = [wait for feed in feeds for wait in feed["waits"] if wait["code"] == 1001]
    shares = [wait["ms"] / BASE_MS for wait in waits]
    # A restart ends half of the sessions or more; half of that is enough to tell.
    if len(waits) < FEEDS * RESTARTS / 4:
        raise Surprise(f"waits after 1001: expected some of each restart, saw {len(waits)}")
    mean = sum(shares) / len(shares)
    if not 0.4 < mean < 0.6 or max(shares) > 2 or min(shares) > 0.1:
        raise Surprise(f"waits after 1001: expected them to be even, saw a mean of {mean:.2f}")
    starts = sorted(start for feed in feeds for start in feed["attempts"][1:])
    busiest = most_within(BASE_MS // 10, starts)
    if busiest > 0.4 * FEEDS:
        raise Surprise(f"attempts in a tenth of a window: expected them spread, saw {busiest}")


def check_codes(page, origin):
    """A server that accepts and closes at once."""
    with closing_server() as address:
        codes = [1001, 1012, 1011, 1013, 1000, 1002, 1008, 1009, 4000]
        page.open(f"{origin}/?url=ws://{address}/4000")
        expect_shown(page, phase="stopped", why="The application closed it.")
        follow(page, [f"ws://{address}/{code}" for code in codes], baseMs=100, capMs=800)
        time.sleep(4)
        for code, feed in zip(codes, kept(page)):
            check_code(code, feed)


def check_code(code, feed):
    ending = feed["health"]["lastEnding"]
    seen = ending["code"], ending["reason"], ending["opened"]
    expect(f"how {code} was told", (code, f"said {code}", True), seen)
    if code not in (1001, 1011, 1012, 1013):
        expect(f"the phase after {code}", "stopped", feed["health"]["phase"])
        expect(f"the attempts with {code}", 1, len(feed["attempts"]))
        return
    waits = [wait["ms"] for wait in feed["waits"]]
    attempts = len(feed["attempts"])
    # Evenly within 800 ms at last, that is ten in four seconds, and more by chance.
    if not 2 <= attempts <= 25:
        raise Surprise(f"attempts with {code} in four seconds: expected 2 to 25, saw {attempts}")
    for number, wait in enumerate(waits, start=1):
        window = 800 if code in (1011, 1013) else min(800, 100 * 2**number)
        if wait > window:
            raise Surprise(f"wait {number} after {code}: expected {window} ms at most, saw {wait}")
    expect(f"the failures with {code}", len(waits), feed["health"]["failures"])


def check_kill(page, origin):
    with Node(origin) as node, Forwarder([node]) as front:
        page.open(f"{origin}/?url={front.url}&quiet=60")
        follow(page, [front.url])
        expect_open(page, 1)
        node.publish("before")
        expect_shown(page, phase="open", state="before")
        node.kill()
        first = wait_of_first_feed(page)
        expect("how a killed server was told", (1006, True), (first["code"], first["opened"]))
        expect("whether it is called broken", True, first["words"].startswith("the connection broke"))
        shown = shown_on(page)
        expect("the ending that the page shows", "1006", shown["ending"].split(" at ")[0])
        expect("whether the age has a warning", True, "there may be a newer one" in shown["age"])
        node.start()
        node.publish("after")
        press(page, "start")
        expect_shown(page, phase="open", state="after")


def check_silence(page, origin):
    """A dead path looks like this: nothing comes."""
    with Node(origin) as node:
        page.open(f"{origin}/")
        follow(page, [node.url], quietMs=400)
        expect("why it was given up", "nothing came for 0.4 s", wait_of_first_feed(page)["words"])
        node.server.wait_for(event="closed", code=3008)


def wait_of_first_feed(page):
    """The first wait of the first feed, as soon as it has one."""
    feed = seen_soon(lambda: kept(page)[0], lambda feed: feed["waits"])
    if not feed["waits"]:
        raise Surprise(f"a feed: expected it to wait, saw {feed['phases']}")
    return feed["waits"][0]


def check_refusal(page, origin):
    with Node("https://other.example") as node:
        page.open(f"{origin}/?url={node.url}")
        words = "There was no connection: the server cannot be reached, or refused this page."
        seen_soon(lambda: shown_on(page), lambda shown: shown["why"] == words)
        expect("why it waits", words, shown_on(page)["why"])
        node.server.wait_for(event="refused", refusal="origin_refused", origin=origin)


def check_return(page, origin):
    """A person goes elsewhere, and back to the page as the browser has kept it."""
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


def check_hurry(page, origin):
    """Waits are cut short when the network is back, and when the page is seen again."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as unused:
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/"
    page.open(f"{origin}/")
    follow(page, [url] * 5, baseMs=300, capMs=60_000)
    for what, come_back in [("online", come_online), ("seen", come_to_front)]:

        def wait_for_long():
            return all(feed["health"].get("until", 0) - feed["now"] > 2_500 for feed in kept(page))

        expect_soon(f"whether all wait for long before {what}", True, wait_for_long, patience=30)
        before = [len(feed["attempts"]) for feed in kept(page)]
        come_back(page)

        def have_tried():
            attempts = [len(feed["attempts"]) for feed in kept(page)]
            return all(now > then for now, then in zip(attempts, before))

        # Within baseMs, and some time for a machine that has other things to do.
        expect_soon(f"whether all have tried when {what}", True, have_tried, patience=1.2)


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


def kept(page):
    return page.evaluate(KEPT)


def newest_states(page):
    return page.evaluate("window.feeds.map(({ feed }) => feed.state)")


def expect_open(page, count):
    script = "window.feeds.filter(({ feed }) => feed.health.phase === 'open').length"
    expect_soon("how many feeds are open", count, lambda: page.evaluate(script))


def most_within(ms, times):
    """The most of these times that are in any stretch of that length."""
    times = sorted(times)
    return max(sum(start <= it < start + ms for it in times) for start in times)


run(play, limit=90)
