"""Chromium against the server: a page of an allowed origin connects and is told 1001 on SIGTERM,
and a page of another origin never connects."""

import contextlib
import http.server
import queue
import threading
import time

from browser import START, chromium_version, running_chromium
from endpoint import Surprise, expect, run, running_server

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


class Site(http.server.ThreadingHTTPServer):
    """An origin: it serves one page and takes in what that tells."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Visit)
        self.origin = f"http://localhost:{self.server_port}"
        self.page = ""
        self.texts = queue.Queue()

    def handle_error(self, *_):
        pass  # A browser that is ended waits for no answer.

    def told(self):
        try:
            return self.texts.get(timeout=START)
        except queue.Empty:
            raise Surprise(f"the page of {self.origin}: expected a word of it, saw none") from None


class Visit(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer("text/html; charset=utf-8", self.server.page.encode())

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.server.texts.put(self.rfile.read(length).decode())
        self.answer("text/plain", b"")

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def site():
    with Site() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


run(play)
