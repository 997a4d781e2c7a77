"""Chromium against the server within TLS: a page that has loaded something from the server opens its
WebSockets on streams of that connection, and one that has not gets a connection for each."""

import json
import pathlib
import time

from browser import chromium_version, running_chromium, site
from endpoint import PATIENCE, Surprise, certificate, expect, run, running_server

# A browser sends each cookie as a field of its own over HTTP/2, so the head has more of them than lines of
# HTTP/1.1 (RFC 9113, section 8.2.3).
COOKIES = 80

# One socket before anything is loaded, and three behind that. Only what is loaded with credentials
# shares its connection with sockets, because those have them.
PAGE = """<!doctype html>
<title>status</title>
<script>
  let told = Promise.resolve();
  function tell(text) {
    told = told.then(() => fetch("/", { method: "POST", body: text }));
  }
  function open(name) {
    const socket = new WebSocket("wss://%(address)s/ws/status");
    socket.onclose = (event) =>
      tell(`${name} close ${event.code} "${event.reason}" ${event.wasClean}`);
    return new Promise((resolve) => {
      for (const word of ["open", "error"]) {
        socket.addEventListener(word, () => {
          tell(`${name} ${word}`);
          resolve();
        });
      }
    });
  }
  async function play() {
    for (let index = 0; index < %(cookies)s; index++)
      document.cookie = `name${index}=value${index}`;
    await open("alone");
    await fetch("https://%(address)s/elsewhere", { mode: "no-cors", credentials: "include" });
    for (const name of ["first", "second", "third"]) await open(name);
  }
  play();
</script>
"""
NAMES = ["alone", "first", "second", "third"]


def play():
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
    return f'{chromium_version()}: four sockets by two connections, each told 1001 "drained"'


def check_other_origin(server, other):
    with running_chromium(other.origin, "--ignore-certificate-errors"):
        told = [other.told() for _ in range(2 * len(NAMES))]
    words = [[f"{name} error", f'{name} close 1006 "" false'] for name in NAMES]
    expect("the words of a page of another origin", sum(words, []), told)
    for protocol in ("http/1.1+tls", "http/2+tls"):
        reason = {"refusal": "origin_refused", "origin": other.origin, "protocol": protocol}
        server.wait_for(event="refused", **reason)


def check_allowed_origin(server, allowed):
    # Without the last one its log has no cookies.
    settings = [
        "--ignore-certificate-errors",
        "--log-net-log={profile}/net-log",
        "--net-log-capture-mode=IncludeSensitive",
    ]
    with running_chromium(allowed.origin, *settings) as profile:
        told = [allowed.told() for _ in NAMES]
        expect("the first words of the page", [f"{name} open" for name in NAMES], told)
        check_connections(server, allowed.origin)
        time.sleep(1)  # Meanwhile the server pings.
        server.terminate()
        told = {allowed.told() for _ in NAMES}
        words = {f'{name} close 1001 "drained" true' for name in NAMES}
        expect("the last words of the page", words, told)
        expect("the server's exit code", 0, server.process.wait(PATIENCE))
        check_browsers_log(pathlib.Path(profile, "net-log"))
    server.wait_for(event="stopped", clean=len(NAMES), timed_out=0, aborted=0)
    for line in lines(server, "closed"):
        expect("type of rtt_ms in the closed line", float, type(line["rtt_ms"]))


def check_connections(server, origin):
    """From the server's side: who shares which."""
    server.wait_for(event="opened", id=len(NAMES))
    loaded = lines(server, "refused")[-1]
    expect("what the page has loaded", ("not_found", "http/2+tls"), (loaded["refusal"], loaded["protocol"]))
    alone, *others = lines(server, "opened")
    expect("the first socket's protocol", "http/1.1+tls", alone["protocol"])
    expect("how many more sockets there are", 3, len(others))
    for line in others:
        seen = (line["origin"], line["protocol"], line["peer"])
        expect("another socket's connection", (origin, "http/2+tls", loaded["peer"]), seen)


def check_browsers_log(path):
    """From the browser's side: what it sent in which HTTP/2 connection."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        sent = [(connection, headers) for connection, headers in heads_sent(path)
                if {":method: CONNECT", ":protocol: websocket"} <= set(headers)]
        if len(sent) == 3:
            expect("connections in the browser's log", 1, len({connection for connection, _ in sent}))
            for _, headers in sent:
                # Its log has them as one, and its header compression sends each as a field.
                [cookie] = [header for header in headers if header.startswith("cookie: ")]
                expect("cookies on an extended CONNECT", COOKIES, cookie.count("=value"))
            return
        time.sleep(0.1)
    raise Surprise(f"the browser's log: expected an extended CONNECT on three streams, saw {sent}")


def heads_sent(path):
    """The connection and the head of each request over HTTP/2. The log has an event on each line, and is
    being written."""
    for line in path.read_text().splitlines():
        try:
            event = json.loads(line.rstrip(","))
            details = event["params"]
            if "stream_id" in details:
                yield event["source"]["id"], details["headers"]
        except (ValueError, KeyError, TypeError):
            pass  # Something else.


def lines(server, event):
    return [line for line in list(server.log) if line["event"] == event]


run(play)
