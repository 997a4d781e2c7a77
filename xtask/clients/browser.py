"""Shared by the browser checks: Chromium with a temporary profile, and the origins of its pages."""

import contextlib
import http.server
import os
import queue
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading

from endpoint import STEP_TIMEOUT, CheckFailed

# Limit for a browser to start, in seconds.
START_TIMEOUT = 20


def chromium_version():
    command = ["chromium", "--version"]
    printed = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True)
    return " ".join(printed.split()[:2])


@contextlib.contextmanager
def running_chromium(url, *settings):
    """Starts Chromium on a page, yields the folder of its profile, and kills it at the end. `{profile}`
    in a setting is replaced by that folder."""
    folder = tempfile.mkdtemp()
    profile = f"{folder}/profile"
    process = subprocess.Popen(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--no-first-run",
            "--disable-gpu",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            # No requests to other machines.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
            f"--user-data-dir={profile}",
            *(setting.format(profile=profile) for setting in settings),
            url,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": folder, "TMPDIR": folder},
        start_new_session=True,
    )
    try:
        yield profile
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STEP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # Its remaining processes.
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


class Origin(http.server.ThreadingHTTPServer):
    """An origin that serves one page, and receives the reports that the page posts. With a certificate it
    uses TLS, and its cookies are sent to all ports of the host that use TLS."""

    daemon_threads = True

    def __init__(self, *certificate):
        super().__init__(("127.0.0.1", 0), RequestHandler)
        self.origin = f"http{'s' if certificate else ''}://localhost:{self.server_port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # The request's thread performs the handshake.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.page = ""
        self.reports = queue.Queue()

    def handle_error(self, *_):
        pass  # A browser that was killed does not read responses.

    def report(self):
        try:
            return self.reports.get(timeout=START_TIMEOUT)
        except queue.Empty:
            raise CheckFailed(f"the page of {self.origin}: expected a report, saw none") from None


class RequestHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer("text/html; charset=utf-8", self.server.page.encode())

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.server.reports.put(self.rfile.read(length).decode())
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
def site(*certificate):
    with Origin(*certificate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
