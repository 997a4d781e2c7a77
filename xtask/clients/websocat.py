"""websocat against the server: it stays while pings pass, and SIGTERM closes it with 1001."""

import contextlib
import subprocess

from endpoint import PATIENCE, Surprise, expect, run, running_server


def play():
    with running_server("--ping-interval-secs", "0.3") as server:
        with running_websocat(server.url) as websocat:
            # The second ping is only sent when the first one was answered.
            for _ in range(2):
                line_with("Received WebSocket ping", websocat)

            server.terminate()
            told = line_with("The close message is", websocat).partition(" is ")[2]
            close = 'Some(CloseData { status_code: 1001, reason: "drained" })'
            expect("the Close frame on SIGTERM", close, told)

            # It completes the closing handshake when its input ends.
            websocat.stdin.close()
            expect("websocat's exit code", 0, websocat.wait(PATIENCE))
        closed = server.expect_clean_end()
        expect("two pongs and a Close came in", True, closed["messages_in"] >= 3)
    version = subprocess.check_output(["websocat", "--version"], text=True).strip()
    return f'{version}: connected, stayed while pings passed, 1001 "drained" on SIGTERM'


@contextlib.contextmanager
def running_websocat(url):
    process = subprocess.Popen(
        ["websocat", "-vv", url],  # So verbose that it tells of pings and Close frames.
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def line_with(text, websocat):
    """The next line with this text among those that websocat says about itself."""
    line = ""
    for line in websocat.stderr:
        if text in line:
            return line.strip()
    raise Surprise(f"what websocat says: expected {text!r}, saw its end after {line.strip()!r}")


run(play)
