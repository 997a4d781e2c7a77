"""Shared by the Python clients: a server process, its log, and the report of a failed expectation."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

# Timeouts of one step, and of the whole check, in seconds.
STEP_TIMEOUT = 10
TOTAL_TIMEOUT = 30


class CheckFailed(Exception):
    """An expectation did not hold."""


def expect(what, expected, seen):
    if seen != expected:
        raise CheckFailed(f"{what}: expected {expected!r}, saw {seen!r}")


def expect_soon(what, expected, read, timeout=STEP_TIMEOUT):
    expect(what, expected, seen_soon(read, lambda seen: seen == expected, timeout))


def seen_soon(read, is_expected, timeout=STEP_TIMEOUT):
    """Polls `read` until the value is expected or the timeout has passed, and returns the last value."""
    end = time.monotonic() + timeout
    while not is_expected(seen := read()) and time.monotonic() < end:
        time.sleep(0.05)
    return seen


class Server:
    """A server process on a free port, and the lines of its log."""

    def __init__(self, process):
        self.process = process
        self.log = []
        self.log_ended = False
        self.log_changed = threading.Condition()
        threading.Thread(target=self._read_log, daemon=True).start()

    @property
    def url(self):
        return f"ws://{self.wait_for(event='listening')['address']}/ws/status"

    def wait_for(self, **fields):
        """Waits for the first line of the log with these fields."""

        def lines_with(fields):
            return [line for line in self.log if fields.items() <= line.items()]

        with self.log_changed:
            self.log_changed.wait_for(lambda: lines_with(fields) or self.log_ended, STEP_TIMEOUT)
            if lines_with(fields):
                return lines_with(fields)[0]
            similar = lines_with({"event": fields["event"]}) or self.log[-3:]
        raise CheckFailed(f"the server's log: expected a line with {fields}, saw {similar}")

    def addresses(self):
        """The addresses of its listeners, in the order of the setting, as pairs of host and port."""
        listed = self.wait_for(event="starting")["listen"].split(",")
        self.wait_for(event="listening", address=listed[-1])
        pairs = [address.removeprefix("tls:").rsplit(":", 1) for address in listed]
        return [(host, int(port)) for host, port in pairs]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def expect_clean_exit(self):
        """Expects that SIGTERM closed a session that had answered pings, and that the server exits with 0."""
        closed = self.wait_for(event="closed", cause="drained")
        expect("code in the closed line", 1001, closed["code"])
        expect("clean in the closed line", True, closed["clean"])
        expect("type of rtt_ms in the closed line", float, type(closed["rtt_ms"]))
        expect("the server's exit code", 0, self.process.wait(STEP_TIMEOUT))
        return closed

    def _read_log(self):
        for text in self.process.stderr:
            with self.log_changed:
                self.log.append(parsed(text))
                self.log_changed.notify_all()
        with self.log_changed:
            self.log_ended = True
            self.log_changed.notify_all()


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:  # For example a configuration error.
        return {"event": None, "text": text.strip()}


@contextlib.contextmanager
def running_server(*settings):
    """Starts the server named on the command line, and kills it at the end."""
    process = subprocess.Popen(
        [sys.argv[1], "--listen", "127.0.0.1:0", "--log-format", "json", *settings],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={},  # No settings from the environment.
        text=True,
    )
    try:
        yield Server(process)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def certificate():
    """Generates a certificate for localhost; yields the paths of the certificate and the key."""
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(os.path.dirname(sys.argv[1]), "examples", "certificate")
        subprocess.run([program, folder], check=True, stderr=subprocess.DEVNULL)
        yield os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")


def run(main, limit=TOTAL_TIMEOUT):
    """Runs a check, prints its result, and exits with 1 and one line if an expectation fails."""

    def on_signal(number, _frame):
        raise CheckFailed(f"expected an end within {limit} s, saw {signal.Signals(number).name}")

    program = os.path.basename(sys.argv[0])
    os.environ["no_proxy"] = "*"  # All connections are local.
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, on_signal)
    signal.alarm(limit)
    try:
        print(main())
    except CheckFailed as failure:
        sys.exit(f"{program}: {failure}")
    except Exception as error:
        sys.exit(f"{program}: expected to reach the end, saw {type(error).__name__}: {error}")
