"""Chromium against the server: a page of an allowed origin connects and is told 1001 on SIGTERM,
and a page of another origin never connects."""

import time

from browser import chromium_version, running_chromium, site
from endpoint import expect, run, running_server

PAGE = """<!doctype html>
<title>status</title>
<script>
  let told = Promise.resolve();
  function tell(text) {
    told = told.then(() => fetch("/", { method: "POST", body: text }));
  }
  const socket = new WebSocket("%s");
  socket.onopen = () => tell("open");
  socket.onerror = () => tell("error");
  socket.onclose = (event) => tell(`close ${event.code} "${event.reason}" ${event.wasClean}`);
</script>
"""


def play():
    with site() as allowed, site() as other:
        settings = ["--allowed-origins", allowed.origin, "--ping-interval-secs", "0.3"]
        with running_server(*settings) as server:
            allowed.page = other.page = PAGE % server.url

            with running_chromium(other.origin):
                expect("the first word of a page of another origin", "error", other.told())
                closing = 'close 1006 "" false'
                expect("the next word of a page of another origin", closing, other.told())
            server.wait_for(event="refused", refusal="origin_refused", origin=other.origin)

            with running_chromium(allowed.origin):
                expect("the first word of a page of an allowed origin", "open", allowed.told())
                time.sleep(1)  # Meanwhile the server pings.
                server.terminate()
                closing = 'close 1001 "drained" true'
                expect("the page's word on SIGTERM", closing, allowed.told())
            server.expect_clean_end()
    return f'{chromium_version()}: one origin was refused, the other one told 1001 "drained"'


run(play)
