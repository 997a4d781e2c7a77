"""Chromium with the server over TLS: a page that has loaded a resource from the server opens its
WebSockets on streams of that HTTP/2 connection; without one each WebSocket has its own connection."""

import json
import pathlib
import time

from browser import chromium_version, running_chromium, site
from endpoint import STEP_TIMEOUT, CheckFailed, certificate, expect, run, running_server

# Over HTTP/2 a browser may send each cookie as a separate field, so a request has more fields than over
# HTTP/1.1 (RFC 9113, section 8.2.3).
COOKIES = 80

# One socket before the page loads a resource, and three afterwards. Sockets share only the connection of
# requests with credentials, because they have credentials themselves.
PAGE = """<!doctype html>
<title>status</title>
<script>
  let reports = Promise.resolve();
  function report(text) {
    reports = reports.then(() => fetch("/", { method: "POST", body: text }));
  }
  function open(name) {
    const socket = new WebSocket("wss://%(address)s/ws/status");
    socket.onclose = (event) =>
      report(`${name} close ${event.code} "${event.reason}" ${event.wasClean}`);
    return new Promise((resolve) => {
      for (const word of ["open", "error"]) {
        socket.addEventListener(word, () => {
          report(`${name} ${word}`);
          resolve();
        });
      }
    });
  }
  async function openAll() {
    for (let index = 0; index < %(cookies)s; index++)
      document.cookie = `name${index}=value${index}`;
    await open("http1");
    await fetch("https://%(address)s/elsewhere", { mode: "no-cors", credentials: "include" });
    for (const name of ["first", "second", "third"]) await open(name);
  }
  openAll();
</script>
"""
NAMES = ["http1", "first", "second", "third"]


def main():
    with certificate() as (cert, key), site(cert, key) as allowed, site() as other:
        settings = [
            *("--listen", "tls:127.0.0.1:0"),
            *("--tls-cert-file", cert),
            *("--tls-key-file", key),
            *("--allowed-origins", allowed.origin),
            *("--ping-interval-secs", "0.3"),
        ]
        with running_server(*settings) as server:
            [(_, port)] = server.addresses()
            allowed.page = other.page = PAGE % {"address": f"localhost:{port}", "cookies": COOKIES}
            check_other_origin(server, other)
            check_allowed_origin(server, allowed)
    return f'{chromium_version()}: four sockets on two connections, each closed with 1001 "drained"'


def check_other_origin(server, other):
    with running_chromium(other.origin, "--ignore-certificate-errors"):
        reports = [other.report() for _ in range(2 * len(NAMES))]
    words = [[f"{name} error", f'{name} close 1006 "" false'] for name in NAMES]
    expect("the reports of a page of another origin", sum(words, []), reports)
    for protocol in ("http/1.1+tls", "http/2+tls"):
        reason = {"refusal": "origin_refused", "origin": other.origin, "protocol": protocol}
        server.wait_for(event="refused", **reason)


def check_allowed_origin(server, allowed):
    # Without the last setting the log has no cookies.
    settings = [
        "--ignore-certificate-errors",
        "--log-net-log={profile}/net-log",
        "--net-log-capture-mode=IncludeSensitive",
    ]
    with running_chromium(allowed.origin, *settings) as profile:
        reports = [allowed.report() for _ in NAMES]
        expect("the first reports of the page", [f"{name} open" for name in NAMES], reports)
        check_connections(server, allowed.origin)
        time.sleep(1)  # Meanwhile the server pings.
        server.terminate()
        reports = {allowed.report() for _ in NAMES}
        words = {f'{name} close 1001 "drained" true' for name in NAMES}
        expect("the last reports of the page", words, reports)
        expect("the server's exit code", 0, server.process.wait(STEP_TIMEOUT))
        check_browsers_log(pathlib.Path(profile, "net-log"))
    server.wait_for(event="stopped", clean=len(NAMES), timed_out=0, aborted=0)
    for line in lines(server, "closed"):
        expect("type of rtt_ms in the closed line", float, type(line["rtt_ms"]))


def check_connections(server, origin):
    """Checks in the server's log which sockets share a connection."""
    server.wait_for(event="opened", id=len(NAMES))
    loaded = lines(server, "refused")[-1]
    expect("what the page has loaded", ("not_found", "http/2+tls"), (loaded["refusal"], loaded["protocol"]))
    http1, *others = lines(server, "opened")
    expect("the first socket's protocol", "http/1.1+tls", http1["protocol"])
    expect("how many more sockets there are", 3, len(others))
    for line in others:
        seen = (line["origin"], line["protocol"], line["peer"])
        expect("another socket's connection", (origin, "http/2+tls", loaded["peer"]), seen)


def check_browsers_log(path):
    """Checks in the browser's log what it sent on which HTTP/2 connection."""
    until = time.monotonic() + STEP_TIMEOUT
    while time.monotonic() < until:
        sent = [(connection, headers) for connection, headers in sent_headers(path)
                if {":method: CONNECT", ":protocol: websocket"} <= set(headers)]
        if len(sent) == 3:
            expect("connections in the browser's log", 1, len({connection for connection, _ in sent}))
            for _, headers in sent:
                # The log joins the cookies; header compression sends each as a separate field.
                [cookie] = [header for header in headers if header.startswith("cookie: ")]
                expect("cookies on an extended CONNECT", COOKIES, cookie.count("=value"))
            return
        time.sleep(0.1)
    raise CheckFailed(f"the browser's log: expected an extended CONNECT on three streams, saw {sent}")


def sent_headers(path):
    """The connection and the header fields of each request over HTTP/2. The log has one event on each line,
    and Chromium is still writing it."""
    for line in path.read_text().splitlines():
        try:
            event = json.loads(line.rstrip(","))
            details = event["params"]
            if "stream_id" in details:
                yield event["source"]["id"], details["headers"]
        except (ValueError, KeyError, TypeError):
            pass  # Another event.


def lines(server, event):
    return [line for line in list(server.log) if line["event"] == event]


run(main)
