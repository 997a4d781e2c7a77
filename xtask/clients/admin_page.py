"""The admin page in Chromium: it shows what is true, loads nothing from elsewhere, can be read on a
phone, in the dark and by a screen reader, and follows a drain until the server is gone."""

import contextlib
import http.client
import itertools
import json
import pathlib
import re
import time

from websockets.sync.client import connect

from browser import START, chromium_version, running_chromium
from endpoint import PATIENCE, Surprise, expect, run, running_server

SETTINGS = [
    *("--admin-listen", "127.0.0.1:0"),
    *("--ping-interval-secs", "0.3"),
    *("--drain-delay-secs", "2"),
    *("--drain-spread-secs", "2"),
]

PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 3, "mobile": True}

# What WCAG asks of text of a usual size (1.4.3, level AA).
LEAST_CONTRAST = 4.5
LEAST_PIXELS = 12

REGIONS = {
    "Open sessions, since this page was opened",
    "Now",
    "Round trips",
    "Closed, by cause",
    "Refused",
}
TABLES = {"Round trips", "Closed, by cause", "Refused"}

# What a reader of the page sees, all of one moment.
SHOWN = """(() => {
  const find = (query) => document.querySelector(query);
  const texts = (query, inside = document) =>
    [...inside.querySelectorAll(query)].map((element) => element.innerText);
  const rows = (id) =>
    [...document.querySelectorAll(`#${id} tr`)].map((row) => texts("th, td", row).filter(Boolean));
  const names = texts("#now dt");
  const values = texts("#now dd");
  const bar = find("#drain-bar");
  return {
    state: find("#state").innerText,
    now: Object.fromEntries(names.map((name, index) => [name, values[index]])),
    rtt: rows("rtt"),
    rttNote: find("#rtt-note").innerText,
    closed: rows("closed"),
    refused: rows("refused"),
    history: [...find("#history polyline").points].map(({ x, y }) => [x, y]),
    historyNote: find("#history-note").innerText,
    drain: find("#drain").checkVisibility() && bar.checkVisibility() && bar.clientHeight > 0,
    drainNote: find("#drain-note").innerText,
    drainValue: bar.value,
    drainMax: bar.max,
  };
})()"""

# Every text that is visible, with its size, its colour, and what is behind it from the outermost.
TEXTS = """(() => {
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const isVisible = range.getClientRects().length > 0;
    if (!isVisible || walker.currentNode.data.trim() === "") continue;
    const { color, fontSize } = getComputedStyle(walker.currentNode.parentElement);
    const grounds = [];
    let opacity = 1;
    for (let it = walker.currentNode.parentElement; it; it = it.parentElement) {
      const style = getComputedStyle(it);
      grounds.unshift(style.backgroundColor);
      opacity *= style.opacity;
    }
    const text = walker.currentNode.data.trim();
    texts.push({ text, color, grounds, opacity, pixels: parseFloat(fontSize) });
  }
  return texts;
})()"""


def play():
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server(*SETTINGS))
        admin = server.wait_for(event="starting")["admin"]
        page = stack.enter_context(blank_page())
        page.open(f"http://{admin}/")
        expect_nobody(page)

        sessions = [stack.enter_context(connect(server.url)) for _ in range(3)]
        expect_sessions(page)
        sessions[0].close(1000)
        expect("the answer to POST", 405, status(address_of(server), "POST", "/ws/status"))
        expect_endings(page)
        expect("the page's complaints", [], page.complaints())
        check_for_people(page, "ready", REGIONS)
        check_chart_and_tables(page)

        stack.enter_context(silent_session(server))
        expect("the answer to a drain", 202, status(admin, "POST", "/drain", {"X-Drain": "1"}))
        expect_drain(page, sessions=3)
        expect("the server's exit code", 0, server.process.wait(PATIENCE))
        expect_soon("the state after the end", "unreachable", lambda: page.shown()["state"])
        check_for_people(page, "unreachable", REGIONS | {"Drain"})

        addresses = {f"http://{admin}{path}" for path in ("/", "/metrics", "/drain")}
        expect("what the page asked for", addresses, page.requests())
        # That it does not reach the server any more is what it should find.
        expect("the page's complaints", [], page.complaints(but="network"))
    return f"{chromium_version()}: the admin page is true, on its own, readable, and saw a drain"


def expect_nobody(page):
    expect_soon("the state at first", "ready", lambda: page.shown()["state"])
    shown = page.shown()
    expect("open sessions at first", "0", shown["now"]["open sessions"])
    expect("the history's note", ["0 now", "between 0 and 0"], note_of_history(shown))
    expect("whether a drain is shown at first", False, shown["drain"])
    for table in ("rtt", "closed", "refused"):
        expect(f"the table {table} at first", [["none yet"]], shown[table])


def expect_sessions(page):
    shown = seen_soon(page.shown, lambda shown: shown["now"]["open sessions"] == "3")
    expect("open sessions", "3", shown["now"]["open sessions"])
    # The page was there before the sessions, so that its line goes from the bottom to the top.
    expect("where the history begins", [[0, 98]], shown["history"][:1])
    expect("where the history ends", [[100, 4]], shown["history"][-1:])
    expect("the history's note", ["3 now", "between 0 and 3"], note_of_history(shown))

    shown = seen_soon(page.shown, lambda shown: shown["rttNote"] != "")
    expect("whether there is a table of round trips", True, shown["rtt"] != [["none yet"]])
    expect("whether they are counted", True, " measured, " in shown["rttNote"])
    measured = int(shown["rttNote"].split()[0].replace(",", ""))
    counts = [int(count.replace(",", "")) for _, count in shown["rtt"]]
    expect("the sum of the table of round trips", measured, sum(counts))
    expect("whether the ends of that table count", True, counts[0] > 0 and counts[-1] > 0)


def note_of_history(shown):
    return shown["historyNote"].split(" in ")[0].split("; ")


def expect_endings(page):
    def endings():
        shown = page.shown()
        return shown["now"]["open sessions"], shown["closed"], shown["refused"]

    expected = "2", [["peer_closed", "1"]], [["method_not_allowed", "1"]]
    expect_soon("open sessions, closed and refused", expected, endings)
    expect("opened so far", "3", page.shown()["now"]["opened so far"])


def expect_drain(page, sessions):
    """Follows a drain in its delay and in its spread. A session that answers nothing makes the
    spread last until the page has asked again."""
    shown = seen_soon(page.shown, lambda shown: shown["state"] == "draining")
    expect("the state in a drain", "draining", shown["state"])
    expect("whether the drain is shown", True, shown["drain"])
    expect("the end of the drain's bar", sessions, shown["drainMax"])
    check_for_people(page, "draining", REGIONS | {"Drain"})
    expect("the names of progress bars", ["Drain"], page.names("progressbar"))

    note = re.compile(r"(\d+) open, (\d+) closed clean, 0 not; code 1001, \d+ s of 15 s")
    shown = seen_soon(page.shown, lambda shown: note.fullmatch(shown["drainNote"]))
    counts = note.fullmatch(shown["drainNote"])
    if counts is None:
        raise Surprise(f"the drain's note: expected {note.pattern}, saw {shown['drainNote']}")
    still_open, clean = map(int, counts.groups())
    expect("sessions in the drain's note", sessions, still_open + clean)
    expect("the drain's bar", (clean, sessions), (shown["drainValue"], shown["drainMax"]))


def check_for_people(page, state, regions):
    """Checks what is read by eye or by ear, whatever the page shows."""
    with page.emulating_phone():
        # A page that is laid out for something wider is as wide as that.
        width = page.evaluate("document.documentElement.scrollWidth")
        expect("the page's width on a phone", PHONE["width"], width)
        grounds = [check_texts(page, scheme, state) for scheme in ("light", "dark")]
        expect("how many backgrounds the schemes have", 2, len(set(grounds)))

    expect("the page's language", "en", page.evaluate("document.documentElement.lang"))
    expect("the headings of level 1", ["ws-status"], page.names("heading", level=1))
    expect("what has role status", [[state]], page.texts_of("status"))
    expect("the names of regions", regions, set(page.names("region")))


def check_texts(page, scheme, state):
    """Checks the texts of the page in a colour scheme, and gives its background."""
    page.emulate_scheme(scheme)
    texts = page.evaluate(TEXTS)
    expect("whether the state is a visible text", True, state in [it["text"] for it in texts])
    for text in texts:
        what = f"{text['text']!r}, {scheme}"
        if text["pixels"] < LEAST_PIXELS:
            raise Surprise(f"{what}: expected {LEAST_PIXELS} pixels, saw {text['pixels']}")
        seen = contrast(text["color"], text["opacity"], text["grounds"])
        if seen < LEAST_CONTRAST:
            raise Surprise(f"{what}: expected a contrast of {LEAST_CONTRAST}, saw {seen:.2f}")
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def check_chart_and_tables(page):
    # Its name is its note, which begins with what is open now.
    names = page.names("image")
    expect("how many charts have names", [True], [name.startswith("2 now; ") for name in names])
    expect("the names of tables", TABLES, set(page.names("table")))
    headers = page.names("rowheader")
    for word in ("peer_closed", "method_not_allowed"):
        expect(f"whether {word} heads a row", True, word in headers)


def contrast(color, opacity, grounds):
    """The contrast of WCAG 2 between a text and what is behind it."""
    ground = (255, 255, 255)
    for layer in grounds:
        ground = over(ground, layer)
    light, dark = sorted((luminance(over(ground, color, opacity)), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def over(ground, color, opacity=1.0):
    parts = re.fullmatch(r"rgba?\((\d+), (\d+), (\d+)(?:, ([\d.]+))?\)", color)
    if parts is None:
        raise Surprise(f"a colour: expected rgb or rgba, saw {color}")
    alpha = float(parts[4] or 1) * opacity
    return [alpha * int(top) + (1 - alpha) * below for top, below in zip(parts.groups(), ground)]


def luminance(color):
    def linear(channel):
        part = channel / 255
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = map(linear, color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def expect_soon(what, expected, read, patience=PATIENCE):
    expect(what, expected, seen_soon(read, lambda seen: seen == expected, patience))


def seen_soon(read, is_awaited, patience=PATIENCE):
    """Reads until that is what is awaited. The page asks the server every two seconds."""
    end = time.monotonic() + patience
    while not is_awaited(seen := read()) and time.monotonic() < end:
        time.sleep(0.05)
    return seen


def address_of(server):
    return server.wait_for(event="listening")["address"]


def status(address, method, path, headers={}):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=PATIENCE)) as client:
        client.request(method, path, headers=headers)
        return client.getresponse().status


@contextlib.contextmanager
def silent_session(server):
    """A session whose client answers neither a ping nor a close."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    address = address_of(server)
    with contextlib.closing(http.client.HTTPConnection(address, timeout=PATIENCE)) as client:
        client.request("GET", "/ws/status", headers=headers)
        expect("the answer to a handshake", 101, client.getresponse().status)
        yield


@contextlib.contextmanager
def blank_page():
    """Starts Chromium, and takes over its one page."""
    with running_chromium("about:blank", "--remote-debugging-port=0") as profile:
        address = address_of_devtools(profile)
        expect_soon("how many pages there are", 1, lambda: len(pages(address)), START)
        [url] = pages(address)
        # The accessibility tree is long.
        with connect(url, max_size=None) as devtools:
            yield Page(devtools)


def address_of_devtools(profile):
    """Chromium writes its port into a file as soon as it listens, followed by a path."""
    file = pathlib.Path(profile, "DevToolsActivePort")

    def lines():
        return file.read_text().split("\n") if file.exists() else []

    expect_soon("how many lines DevToolsActivePort has", 2, lambda: len(lines()), START)
    return f"127.0.0.1:{lines()[0]}"


def pages(address):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=PATIENCE)) as client:
        client.request("GET", "/json/list")
        targets = json.load(client.getresponse())
    return [it["webSocketDebuggerUrl"] for it in targets if it["type"] == "page"]


class Page:
    """A page of a browser, driven and watched over the DevTools protocol."""

    def __init__(self, devtools):
        self.devtools = devtools
        self.numbers = itertools.count(1)
        self.events = []
        for domain in ("Page", "Network", "Log", "Runtime", "Audits", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        number = next(self.numbers)
        self.devtools.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.devtools.recv(PATIENCE))
            if "id" not in message:
                self.events.append(message)
            elif "error" in message:
                raise Surprise(f"{method}: expected a result, saw {message['error']}")
            else:
                expect("the number of an answer", number, message["id"])
                return message["result"]

    def evaluate(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise Surprise(f"a script: expected a value, saw {answer['exceptionDetails']}")
        return answer["result"]["value"]

    def open(self, url):
        self.call("Page.navigate", url=url)
        expect_soon("the page's address", url, lambda: self.evaluate("location.href"))
        expect_soon("the document", "complete", lambda: self.evaluate("document.readyState"))

    def shown(self):
        return self.evaluate(SHOWN)

    @contextlib.contextmanager
    def emulating_phone(self):
        self.call("Emulation.setDeviceMetricsOverride", **PHONE)
        yield
        self.call("Emulation.clearDeviceMetricsOverride")

    def emulate_scheme(self, scheme):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def names(self, role, level=None):
        """How a screen reader calls what has a role."""
        return [name(node) for node in self.tree().values() if is_a(node, role, level)]

    def texts_of(self, role):
        """What a screen reader reads in what has a role."""
        tree = self.tree()
        inside = [node["childIds"] for node in tree.values() if is_a(node, role)]
        return [[name(tree[child]) for child in children] for children in inside]

    def tree(self):
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return {node["nodeId"]: node for node in nodes}

    def requests(self):
        sent = [it["params"] for it in self.events if it["method"] == "Network.requestWillBeSent"]
        urls = {it["request"]["url"] for it in sent}
        return {url for url in urls if not url.startswith("data:")}

    def complaints(self, but=None):
        """What a developer would find in the console, and what the page's policy blocked."""
        found = []
        for event in self.events:
            method, parameters = event["method"], event["params"]
            if method == "Log.entryAdded":
                entry = parameters["entry"]
                if entry["level"] in ("warning", "error") and entry["source"] != but:
                    found.append(entry["text"])
            elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                found.append(parameters)
            elif method == "Audits.issueAdded":
                # The console tells nothing of an eval whose error is caught.
                if parameters["issue"]["code"] == "ContentSecurityPolicyIssue":
                    found.append(parameters["issue"]["details"])
        return found


def is_a(node, role, level=None):
    properties = {it["name"]: it["value"].get("value") for it in node.get("properties", [])}
    is_it = not node["ignored"] and node["role"]["value"] == role
    return is_it and level in (None, properties.get("level"))


def name(node):
    return node["name"]["value"]


run(play)
