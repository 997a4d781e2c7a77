"""What the clients in Python share: a server of their own, its log, and one line on a surprise."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

# Seconds that one step may take, and all of them.
PATIENCE = 10
LIMIT = 30


class Surprise(Exception):
    """Something else was seen than was expected."""


def expect(what, expected, seen):
    if seen != expected:
        raise Surprise(f"{what}: expected {expected!r}, saw {seen!r}")


def expect_soon(what, expected, read, patience=PATIENCE):
    expect(what, expected, seen_soon(read, lambda seen: seen == expected, patience))


def seen_soon(read, is_awaited, patience=PATIENCE):
    """Reads until that is what is awaited, and gives it, or the last that was read."""
    end = time.monotonic() + patience
    while not is_awaited(seen := read()) and time.monotonic() < end:
        time.sleep(0.05)
    return seen


class Server:
    """A running server on a free port, and the lines of its log."""

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
        """The first line of the log with these fields, as soon as it is there."""

        def lines_with(fields):
            return [line for line in self.log if fields.items() <= line.items()]

        with self.log_changed:
            self.log_changed.wait_for(lambda: lines_with(fields) or self.log_ended, PATIENCE)
            if lines_with(fields):
                return lines_with(fields)[0]
            similar = lines_with({"event": fields["event"]}) or self.log[-3:]
        raise Surprise(f"the server's log: expected a line with {fields}, saw {similar}")

    def addresses(self):
        """Where it listens, in the order of the setting, as pairs of a host and a port."""
        listed = self.wait_for(event="starting")["listen"].split(",")
        self.wait_for(event="listening", address=listed[-1])
        pairs = [address.removeprefix("tls:").rsplit(":", 1) for address in listed]
        return [(host, int(port)) for host, port in pairs]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def expect_clean_end(self):
        """Checks that SIGTERM closed one session, one that answered pings, and left nothing."""
        closed = self.wait_for(event="closed", cause="drained")
        expect("code in the closed line", 1001, closed["code"])
        expect("clean in the closed line", True, closed["clean"])
        expect("type of rtt_ms in the closed line", float, type(closed["rtt_ms"]))
        expect("the server's exit code", 0, self.process.wait(PATIENCE))
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
    except ValueError:  # Such as a complaint about a setting.
        return {"event": None, "text": text.strip()}


@contextlib.contextmanager
def running_server(*settings):
    """Starts the server that the command line names, and ends it in any case."""
    process = subprocess.Popen(
        [sys.argv[1], "--listen", "127.0.0.1:0", "--log-format", "json", *settings],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={},  # No setting comes from there.
        text=True,
    )
    try:
        yield Server(process)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def certificate():
    """The paths of a certificate for localhost and its key, as long as they are needed."""
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(os.path.dirname(sys.argv[1]), "examples", "certificate")
        subprocess.run([program, folder], check=True, stderr=subprocess.DEVNULL)
        yield os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")


def run(play, limit=LIMIT):
    """Runs a client, prints what it returns, and exits with 1 and one line if it is surprised."""

    def give_up(number, _frame):
        raise Surprise(f"expected an end within {limit} s, saw {signal.Signals(number).name}")

    program = os.path.basename(sys.argv[0])
    os.environ["no_proxy"] = "*"  # Everything is on this machine.
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, give_up)
    signal.alarm(limit)
    try:
        print(play())
    except Surprise as surprise:
        sys.exit(f"{program}: {surprise}")
    except Exception as error:
        sys.exit(f"{program}: expected to reach the end, saw {type(error).__name__}: {error}")
