"""Chromium with the server: a page of an allowed origin connects and is closed with 1001 on SIGTERM, and
a page of another origin does not connect."""

import time

from browser import chromium_version, running_chromium, site
from endpoint import expect, run, running_server

PAGE = """<!doctype html>
<title>status</title>
<script>
  let reports = Promise.resolve();
  function report(text) {
    reports = reports.then(() => fetch("/", { method: "POST", body: text }));
  }
  const socket = new WebSocket("%s");
  socket.onopen = () => report("open");
  socket.onerror = () => report("error");
  socket.onclose = (event) => report(`close ${event.code} "${event.reason}" ${event.wasClean}`);
</script>
"""


def main():
    with site() as allowed, site() as other:
        settings = ["--allowed-origins", allowed.origin, "--ping-interval-secs", "0.3"]
        with running_server(*settings) as server:
            allowed.page = other.page = PAGE % server.url

            with running_chromium(other.origin):
                expect("the first report of a page of another origin", "error", other.report())
                closing = 'close 1006 "" false'
                expect("the next report of a page of another origin", closing, other.report())
            server.wait_for(event="refused", refusal="origin_refused", origin=other.origin)

            with running_chromium(allowed.origin):
                expect("the first report of a page of an allowed origin", "open", allowed.report())
                time.sleep(1)  # Meanwhile the server pings.
                server.terminate()
                closing = 'close 1001 "drained" true'
                expect("the page's report on SIGTERM", closing, allowed.report())
            server.expect_clean_exit()
    return f'{chromium_version()}: one origin was refused, the other closed with 1001 "drained"'


run(main)
