"""A page of Chromium, controlled and observed over the DevTools protocol, and checks of its readability."""

import contextlib
import http.client
import itertools
import json
import pathlib
import re

from websockets.sync.client import connect

from browser import START_TIMEOUT, running_chromium
from endpoint import STEP_TIMEOUT, CheckFailed, expect, expect_soon

PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 3, "mobile": True}

# The minimum contrast of normal text (WCAG 1.4.3, level AA), and a minimum font size.
MIN_CONTRAST = 4.5
MIN_PIXELS = 12

# Every visible text, with its size, its colour, and its backgrounds from the outermost.
TEXTS = """(() => {
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const isVisible = range.getClientRects().length > 0;
    if (!isVisible || walker.currentNode.data.trim() === "") continue;
    const { color, fontSize } = getComputedStyle(walker.currentNode.parentElement);
    const backgrounds = [];
    let opacity = 1;
    for (let it = walker.currentNode.parentElement; it; it = it.parentElement) {
      const style = getComputedStyle(it);
      backgrounds.unshift(style.backgroundColor);
      opacity *= style.opacity;
    }
    const text = walker.currentNode.data.trim();
    texts.push({ text, color, backgrounds, opacity, pixels: parseFloat(fontSize) });
  }
  return texts;
})()"""


@contextlib.contextmanager
def blank_page(*settings):
    """Starts Chromium, and yields its only page."""
    with running_chromium("about:blank", "--remote-debugging-port=0", *settings) as profile:
        address = address_of_devtools(profile)
        expect_soon("how many pages there are", 1, lambda: len(pages(address)), START_TIMEOUT)
        [url] = pages(address)
        # The accessibility tree can be large.
        with connect(url, max_size=None) as devtools:
            yield Page(devtools)


def address_of_devtools(profile):
    """Reads the port from the file that Chromium writes when it listens; its second line is a path."""
    file = pathlib.Path(profile, "DevToolsActivePort")

    def lines():
        return file.read_text().split("\n") if file.exists() else []

    expect_soon("how many lines DevToolsActivePort has", 2, lambda: len(lines()), START_TIMEOUT)
    return f"127.0.0.1:{lines()[0]}"


def pages(address):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=STEP_TIMEOUT)) as client:
        client.request("GET", "/json/list")
        targets = json.load(client.getresponse())
    return [it["webSocketDebuggerUrl"] for it in targets if it["type"] == "page"]


class Page:
    """A page of a browser, controlled and observed over the DevTools protocol."""

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
            message = json.loads(self.devtools.recv(STEP_TIMEOUT))
            if "id" not in message:
                self.events.append(message)
            elif "error" in message:
                raise CheckFailed(f"{method}: expected a result, saw {message['error']}")
            else:
                expect("the number of an answer", number, message["id"])
                return message["result"]

    def evaluate(self, script):
        how = {"returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", expression=script, **how)
        if "exceptionDetails" in answer:
            raise CheckFailed(f"a script: expected a value, saw {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def open(self, url):
        self.call("Page.navigate", url=url)
        expect_soon("the page's address", url, lambda: self.evaluate("location.href"))
        expect_soon("the document", "complete", lambda: self.evaluate("document.readyState"))

    @contextlib.contextmanager
    def emulating_phone(self):
        self.call("Emulation.setDeviceMetricsOverride", **PHONE)
        yield
        self.call("Emulation.clearDeviceMetricsOverride")

    def emulate_scheme(self, scheme):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def names(self, role, level=None):
        """The accessible names of the elements with a role."""
        return [name(node) for node in self.tree().values() if has_role(node, role, level)]

    def texts_of(self, role):
        """The accessible texts in the elements with a role."""
        tree = self.tree()
        inside = [node["childIds"] for node in tree.values() if has_role(node, role)]
        return [[name(tree[child]) for child in children] for children in inside]

    def tree(self):
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return {node["nodeId"]: node for node in nodes}

    def requests(self):
        sent = [it["params"] for it in self.events if it["method"] == "Network.requestWillBeSent"]
        urls = {it["request"]["url"] for it in sent}
        return {url for url in urls if not url.startswith("data:")}

    def console_errors(self, but=None):
        """The errors and warnings in the console, and the violations of the content security policy."""
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
                # The console does not report a blocked eval whose error is caught.
                if parameters["issue"]["code"] == "ContentSecurityPolicyIssue":
                    found.append(parameters["issue"]["details"])
        return found


def has_role(node, role, level=None):
    properties = {it["name"]: it["value"].get("value") for it in node.get("properties", [])}
    is_it = not node["ignored"] and node["role"]["value"] == role
    return is_it and level in (None, properties.get("level"))


def name(node):
    return node["name"]["value"]


def check_readable(page, text):
    """Checks that a page is readable on a phone in both colour schemes, and that it shows a text."""
    with page.emulating_phone():
        # A page with a wider layout would have a larger scroll width.
        width = page.evaluate("document.documentElement.scrollWidth")
        expect("the page's width on a phone", PHONE["width"], width)
        backgrounds = [check_texts(page, scheme, text) for scheme in ("light", "dark")]
        expect("how many backgrounds the schemes have", 2, len(set(backgrounds)))


def check_texts(page, scheme, expected_text):
    """Checks the texts of the page in a colour scheme, and returns its background."""
    page.emulate_scheme(scheme)
    texts = page.evaluate(TEXTS)
    expect(f"whether {expected_text} is a visible text", True, expected_text in [it["text"] for it in texts])
    for text in texts:
        what = f"{text['text']!r}, {scheme}"
        if text["pixels"] < MIN_PIXELS:
            raise CheckFailed(f"{what}: expected {MIN_PIXELS} pixels, saw {text['pixels']}")
        seen = contrast(text["color"], text["opacity"], text["backgrounds"])
        if seen < MIN_CONTRAST:
            raise CheckFailed(f"{what}: expected a contrast of {MIN_CONTRAST}, saw {seen:.2f}")
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def contrast(color, opacity, backgrounds):
    """The contrast ratio of WCAG 2 between a text and its background."""
    background = (255, 255, 255)
    for layer in backgrounds:
        background = over(background, layer)
    light, dark = sorted((luminance(over(background, color, opacity)), luminance(background)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def over(background, color, opacity=1.0):
    parts = re.fullmatch(r"rgba?\((\d+), (\d+), (\d+)(?:, ([\d.]+))?\)", color)
    if parts is None:
        raise CheckFailed(f"a colour: expected rgb or rgba, saw {color}")
    alpha = float(parts[4] or 1) * opacity
    return [alpha * int(top) + (1 - alpha) * below for top, below in zip(parts.groups(), background)]


def luminance(color):
    def linear(channel):
        part = channel / 255
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = map(linear, color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
