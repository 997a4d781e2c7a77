"""The admin page in Chromium: its figures are correct, it loads nothing from elsewhere, is readable on a
phone, in dark mode and by a screen reader, and follows a drain until the server has exited."""

import contextlib
import http.client
import json
import re

from websockets.sync.client import connect

from browser import chromium_version
from devtools import blank_page, check_readable
from endpoint import STEP_TIMEOUT, CheckFailed, expect, expect_soon, run, running_server, seen_soon

SETTINGS = [
    *("--admin-listen", "127.0.0.1:0"),
    *("--ping-interval-secs", "0.3"),
    *("--drain-delay-secs", "2"),
    *("--drain-spread-secs", "2"),
]

REGIONS = {
    "Open sessions since this page was loaded",
    "Current values",
    "Round-trip times",
    "Closed sessions by cause",
    "Refused handshakes",
}
TABLES = {"Round-trip times", "Closed sessions by cause", "Refused handshakes"}

# The visible contents of the page, in one snapshot.
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
    handover: find("#handover").checkVisibility(),
    handoverNote: find("#handover-note").textContent,
    drainValue: bar.value,
    drainMax: bar.max,
  };
})()"""

def main():
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server(*SETTINGS))
        admin = server.wait_for(event="starting")["admin"]
        page = stack.enter_context(blank_page())
        page.open(f"http://{admin}/")
        expect_no_sessions(page)

        sessions = [stack.enter_context(connect(server.url)) for _ in range(3)]
        expect_sessions(page)
        sessions[0].close(1000)
        expect("the answer to POST", 405, status(address_of(server), "POST", "/ws/status"))
        expect_closes(page)
        expect("errors in the page's console", [], page.console_errors())
        check_accessibility(page, "ready", REGIONS)
        check_chart_and_tables(page)
        check_freshness(page)
        check_handover(page)

        stack.enter_context(silent_session(server))
        expect("the answer to a drain", 202, status(admin, "POST", "/drain", {"X-Drain": "1"}))
        expect_drain(page, sessions=3)
        expect("the server's exit code", 0, server.process.wait(STEP_TIMEOUT))
        expect_soon("the state after the end", "unreachable", lambda: shown_on(page)["state"])
        check_accessibility(page, "unreachable", REGIONS | {"Drain"})

        addresses = {f"http://{admin}{path}" for path in ("/", "/metrics", "/drain")}
        expect("what the page asked for", addresses, page.requests())
        # Network errors are expected, because the server has exited.
        expect("errors in the page's console", [], page.console_errors(but="network"))
    return f"{chromium_version()}: the admin page is correct, self-contained, readable, and showed a drain"


def expect_no_sessions(page):
    expect_soon("the state at first", "ready", lambda: shown_on(page)["state"])
    shown = shown_on(page)
    expect("open sessions at first", "0", shown["now"]["open sessions"])
    expect("the history's note", ["0 now", "minimum 0, maximum 0"], note_of_history(shown))
    expect("whether a drain is shown at first", False, shown["drain"])
    expect("whether a handover is shown at first", False, shown["handover"])
    for table in ("rtt", "closed", "refused"):
        expect(f"the table {table} at first", [["none"]], shown[table])


def expect_sessions(page):
    shown = seen_soon(lambda: shown_on(page), lambda shown: shown["now"]["open sessions"] == "3")
    expect("open sessions", "3", shown["now"]["open sessions"])
    # The page was opened before the sessions, so the line rises from the bottom to the top.
    expect("where the history begins", [[0, 98]], shown["history"][:1])
    expect("where the history ends", [[100, 4]], shown["history"][-1:])
    expect("the history's note", ["3 now", "minimum 0, maximum 3"], note_of_history(shown))

    shown = seen_soon(lambda: shown_on(page), lambda shown: shown["rttNote"] != "")
    expect("whether there is a table of round trips", True, shown["rtt"] != [["none"]])
    expect("whether they are counted", True, " measured, " in shown["rttNote"])
    measured = int(shown["rttNote"].split()[0].replace(",", ""))
    counts = [int(count.replace(",", "")) for _, count in shown["rtt"]]
    expect("the sum of the table of round trips", measured, sum(counts))
    expect("whether the ends of that table count", True, counts[0] > 0 and counts[-1] > 0)


def check_freshness(page):
    """A program that measures its states has two more lines, and the server has none of them."""
    names = "sessions with an older state", "deliveries within 2 s"
    expect("lines about states", set(), set(names) & set(shown_on(page)["now"]))
    for count, delivered in (0, "none measured"), (1500, "99.2 % of 1,500 measured"):
        within = count - count // 150 - (count > 0)
        metrics = (
            f'ws_status_delivery_seconds_bucket{{le="2.0"}} {within}\n'
            f"ws_status_delivery_seconds_count {count}\n"
            "ws_status_subscriptions 1200\nws_status_subscriptions_behind 3\n"
            "ws_status_sessions 2\n"
        )
        shown = page.evaluate(f"""(() => {{
          show(parse({json.dumps(metrics)}), {{ state: "ready" }});
          return {SHOWN.strip()};
        }})()""")
        lines = [shown["now"].get(name) for name in names]
        expect("the lines about states", ["3 of 1,200", delivered], lines)


def check_handover(page):
    """A handover is shown in the new process, while the old one has sessions or may hand over more."""
    handover = {
        "role": "successor",
        "state": "in_progress",
        "pid": 123,
        "sessions": 10000,
        "predecessor_open": 0,
        "pause_ms": 100.0,
    }
    begin = "took over 10,000 sessions from process 123, paused for 100 ms; "
    for change, shown, note in (
        ({}, True, begin + "sessions that are busy may follow"),
        ({"state": "completed", "predecessor_open": 12}, True, begin + "that process closes 12 more"),
        ({"state": "completed"}, False, None),
        ({"role": "predecessor"}, False, None),
    ):
        answer = json.dumps({"handover": handover | change})
        seen = page.evaluate(f"""(() => {{
          showHandover({answer});
          return {SHOWN.strip()};
        }})()""")
        expect(f"whether the handover {change} is shown", shown, seen["handover"])
        if note is not None:
            expect("the handover's note", note, seen["handoverNote"])


def shown_on(page):
    return page.evaluate(SHOWN)


def note_of_history(shown):
    return shown["historyNote"].split(" in ")[0].split("; ")


def expect_closes(page):
    def counts():
        shown = shown_on(page)
        return shown["now"]["open sessions"], shown["closed"], shown["refused"]

    expected = "2", [["peer_closed", "1"]], [["method_not_allowed", "1"]]
    expect_soon("open sessions, closed and refused", expected, counts)
    total = shown_on(page)["now"]["sessions opened in total"]
    expect("sessions opened in total", "3", total)


def expect_drain(page, sessions):
    """Follows a drain through its delay and its spread. A session that does not answer keeps the drain
    going until the page has refreshed."""
    shown = seen_soon(lambda: shown_on(page), lambda shown: shown["state"] == "draining")
    expect("the state in a drain", "draining", shown["state"])
    expect("whether the drain is shown", True, shown["drain"])
    expect("the end of the drain's bar", sessions, shown["drainMax"])
    check_accessibility(page, "draining", REGIONS | {"Drain"})
    expect("the names of progress bars", ["Drain"], page.names("progressbar"))

    note = re.compile(
        r"(\d+) open, (\d+) closed cleanly, 0 timed out or disconnected; "
        r"close code 1001; \d+ s of 15 s"
    )
    shown = seen_soon(lambda: shown_on(page), lambda shown: note.fullmatch(shown["drainNote"]))
    counts = note.fullmatch(shown["drainNote"])
    if counts is None:
        raise CheckFailed(f"the drain's note: expected {note.pattern}, saw {shown['drainNote']}")
    still_open, clean = map(int, counts.groups())
    expect("sessions in the drain's note", sessions, still_open + clean)
    expect("the drain's bar", (clean, sessions), (shown["drainValue"], shown["drainMax"]))


def check_accessibility(page, state, regions):
    """Checks readability and the accessibility tree in any state of the page."""
    check_readable(page, state)
    expect("the page's language", "en", page.evaluate("document.documentElement.lang"))
    expect("the headings of level 1", ["ws-status"], page.names("heading", level=1))
    expect("what has role status", [[state]], page.texts_of("status"))
    expect("the names of regions", regions, set(page.names("region")))


def check_chart_and_tables(page):
    # The accessible name of the chart is its note, which begins with the number of open sessions.
    names = page.names("image")
    expect("how many charts have names", [True], [name.startswith("2 now; ") for name in names])
    expect("the names of tables", TABLES, set(page.names("table")))
    headers = page.names("rowheader")
    for word in ("peer_closed", "method_not_allowed"):
        expect(f"whether {word} heads a row", True, word in headers)


def address_of(server):
    return server.wait_for(event="listening")["address"]


def status(address, method, path, headers={}):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=STEP_TIMEOUT)) as client:
        client.request(method, path, headers=headers)
        return client.getresponse().status


@contextlib.contextmanager
def silent_session(server):
    """A session whose client answers neither pings nor the Close frame."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    address = address_of(server)
    with contextlib.closing(http.client.HTTPConnection(address, timeout=STEP_TIMEOUT)) as client:
        client.request("GET", "/ws/status", headers=headers)
        expect("the answer to a handshake", 101, client.getresponse().status)
        yield


run(main)
