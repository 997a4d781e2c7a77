"""websocat with the server: it answers pings, and SIGTERM closes it with 1001."""

import contextlib
import subprocess

from endpoint import STEP_TIMEOUT, CheckFailed, expect, run, running_server


def main():
    with running_server("--ping-interval-secs", "0.3") as server:
        with running_websocat(server.url) as websocat:
            # The server sends a second ping only after the first was answered.
            for _ in range(2):
                line_with("Received WebSocket ping", websocat)

            server.terminate()
            frame = line_with("The close message is", websocat).partition(" is ")[2]
            close = 'Some(CloseData { status_code: 1001, reason: "drained" })'
            expect("the Close frame on SIGTERM", close, frame)

            # websocat completes the closing handshake when its stdin ends.
            websocat.stdin.close()
            expect("websocat's exit code", 0, websocat.wait(STEP_TIMEOUT))
        closed = server.expect_clean_exit()
        expect("no message came in", 0, closed["messages_in"])
        expect("two pongs came in", True, closed["bytes_in"] >= 4 + 4)
    version = subprocess.check_output(["websocat", "--version"], text=True).strip()
    return f'{version}: connected, answered pings, 1001 "drained" on SIGTERM'


@contextlib.contextmanager
def running_websocat(url):
    process = subprocess.Popen(
        ["websocat", "-vv", url],  # Prints pings and Close frames.
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
    """Waits for the next line of websocat's log with this text."""
    line = ""
    for line in websocat.stderr:
        if text in line:
            return line.strip()
    raise CheckFailed(f"websocat's log: expected {text!r}, saw its end after {line.strip()!r}")


run(main)
