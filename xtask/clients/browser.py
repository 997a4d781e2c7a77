"""What the clients in a browser share: Chromium, with nothing of its own left behind, and the pages
that it opens."""

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

from endpoint import PATIENCE, Surprise

# Seconds that a browser may take to start.
START = 20


def chromium_version():
    command = ["chromium", "--version"]
    printed = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True)
    return " ".join(printed.split()[:2])


@contextlib.contextmanager
def running_chromium(url, *settings):
    """Starts Chromium on a page, gives the folder of its profile, and ends it in any case. Settings
    may name that folder."""
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
            # Nothing leaves this machine.
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
            process.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # What is left of its processes.
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


class Site(http.server.ThreadingHTTPServer):
    """An origin: it serves one page and takes in what that tells. With a certificate it is within TLS, and
    its cookies go to all ports of the host within TLS."""

    daemon_threads = True

    def __init__(self, *certificate):
        super().__init__(("127.0.0.1", 0), Visit)
        self.origin = f"http{'s' if certificate else ''}://localhost:{self.server_port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # The handshake is the visit's thread's.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
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
def site(*certificate):
    with Site(*certificate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
