"""A NATS server for the checks, a TCP relay to it that can be interrupted, and a publisher of states."""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from endpoint import STEP_TIMEOUT, CheckFailed


class Broker:
    """A NATS server on a free port with file storage."""

    def __init__(self, port):
        self.port = port
        self.folder = tempfile.mkdtemp()
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            ["nats-server", "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", self.folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + STEP_TIMEOUT
        while time.monotonic() < until:
            with contextlib.suppress(OSError, CheckFailed):
                self.request("$JS.API.INFO")
                return
            time.sleep(0.05)
        raise CheckFailed("the NATS server: expected it to serve, saw no answer")

    def stop(self, number):
        self.process.send_signal(number)
        self.process.wait(STEP_TIMEOUT)

    def request(self, subject, header=None, payload=""):
        """Sends a message and returns the answer, with the minimal NATS protocol."""
        with socket.create_connection(("127.0.0.1", self.port), STEP_TIMEOUT) as connection:
            stream = connection.makefile("rwb")
            stream.readline()  # INFO
            send = [
                'CONNECT {"verbose":false,"pedantic":false,"headers":true}',
                "SUB answer 1",
            ]
            if header:
                head = f"NATS/1.0\r\n{header}\r\n\r\n"
                send.append(f"HPUB {subject} answer {len(head)} {len(head) + len(payload)}")
                send.append(head + payload)
            else:
                send.append(f"PUB {subject} answer {len(payload)}")
                send.append(payload)
            stream.write("\r\n".join([*send, ""]).encode())
            stream.flush()
            for line in stream:
                words = line.split()
                if words[:1] == [b"PING"]:
                    stream.write(b"PONG\r\n")
                    stream.flush()
                if words[:1] in ([b"MSG"], [b"HMSG"]):
                    answer = stream.read(int(words[-1]))
                    if words[0] == b"HMSG":  # For example: no responders.
                        raise CheckFailed(f"an answer to {subject}: saw {answer!r}")
                    answer = json.loads(answer)
                    if "error" in answer:
                        raise CheckFailed(f"an answer to {subject}: saw {answer['error']}")
                    return answer
        raise CheckFailed(f"an answer to {subject}: saw none")


class Publisher:
    """Puts states with `nats-status put`, and records their revisions."""

    def __init__(self, broker):
        self.process = subprocess.Popen(
            [sys.argv[1], "put", "--nats", broker.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            text=True,
        )
        self.revisions = []
        self.stopped = threading.Event()
        self.thread = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.process.kill()
        self.process.wait()

    def put(self, state):
        """Puts a state, waits until it is stored, and returns its revision."""
        self.process.stdin.write(f"{json.dumps(state)}\n")
        self.process.stdin.flush()
        self.revisions.append(int(self.process.stdout.readline()))
        return self.revisions[-1]

    def count(self, rate):
        """Puts increasing numbers, `rate` per second, until it is stopped."""

        def count():
            number = 0
            while not self.stopped.wait(1 / rate):
                number += 1
                self.put(number)

        self.thread = threading.Thread(target=count)
        self.thread.start()

    def stop(self):
        self.stopped.set()
        if self.thread:
            self.thread.join()


class Relay:
    """A TCP relay between a node and the broker, with a delay in seconds. `disconnect` aborts its
    connections; `stall` stops forwarding and keeps the connections open."""

    def __init__(self, port, seconds=0):
        self.port = port
        self.seconds = seconds
        self.address = None
        self.writers = set()
        self.is_connected = False
        self.is_listening = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self):
        self.thread.start()
        self.is_listening.wait(STEP_TIMEOUT)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join()

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.address}"

    def connect(self):
        self.is_connected = True
        self._run(self._set_flowing(True))

    def disconnect(self):
        self.is_connected = False
        self._run(self._abort())

    def stall(self):
        self._run(self._set_flowing(False))

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(STEP_TIMEOUT)

    async def _serve(self):
        self.loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        self.is_flowing = asyncio.Event()
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.address = server.sockets[0].getsockname()[1]
        self.is_listening.set()
        await self.stopped.wait()
        await self._abort()

    async def _set_flowing(self, is_flowing):
        if is_flowing:
            self.is_flowing.set()
        else:
            self.is_flowing.clear()

    async def _abort(self):
        for end in self.writers:
            end.transport.abort()
        self.writers.clear()

    async def _relay(self, reader, writer):
        if not self.is_connected:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        self.writers |= {writer, far_writer}
        with contextlib.suppress(asyncio.CancelledError):  # At shutdown.
            await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))

    async def _copy(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self.is_flowing.wait()
                self.loop.call_later(self.seconds, writer.write, data)
        self.loop.call_later(self.seconds, writer.transport.abort)
