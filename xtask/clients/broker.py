"""A NATS server for the checks, a cable to it that can be pulled out, and what puts states into it."""

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

from endpoint import PATIENCE, Surprise


class Broker:
    """A NATS server on a free port that keeps what it knows in files."""

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
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(OSError, Surprise):
                self.ask("$JS.API.INFO")
                return
            time.sleep(0.05)
        raise Surprise("the NATS server: expected it to serve, saw no answer")

    def stop(self, number):
        self.process.send_signal(number)
        self.process.wait(PATIENCE)

    def ask(self, subject, header=None, payload=""):
        """Sends a message and gives the answer to it; this is all of the protocol that is needed."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
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
                    if words[0] == b"HMSG":  # Such as that nobody is there to answer.
                        raise Surprise(f"an answer to {subject}: saw {answer!r}")
                    answer = json.loads(answer)
                    if "error" in answer:
                        raise Surprise(f"an answer to {subject}: saw {answer['error']}")
                    return answer
        raise Surprise(f"an answer to {subject}: saw none")


class Publisher:
    """The program that puts states, and the states."""

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
        self.is_over = threading.Event()
        self.thread = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.process.kill()
        self.process.wait()

    def put(self, state):
        """Gives the revision, as soon as it is stored."""
        self.process.stdin.write(f"{json.dumps(state)}\n")
        self.process.stdin.flush()
        self.revisions.append(int(self.process.stdout.readline()))
        return self.revisions[-1]

    def count(self, rate):
        """Puts numbers that count up, so many a second, until it is stopped."""

        def count():
            number = 0
            while not self.is_over.wait(1 / rate):
                number += 1
                self.put(number)

        self.thread = threading.Thread(target=count)
        self.thread.start()

    def stop(self):
        self.is_over.set()
        if self.thread:
            self.thread.join()


class Cable:
    """What a node is connected to the broker by, as long as light takes for so many seconds. It can be
    pulled out, and it can be jammed: then nothing comes through, and nobody is told."""

    def __init__(self, port, seconds=0):
        self.port = port
        self.seconds = seconds
        self.address = None
        self.ends = set()
        self.is_in = False
        self.is_laid = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._lie()))

    def __enter__(self):
        self.thread.start()
        self.is_laid.wait(PATIENCE)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.is_over.set)
        self.thread.join()

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.address}"

    def plug(self):
        self.is_in = True
        self._do(self._set(True))

    def pull(self):
        self.is_in = False
        self._do(self._cut())

    def jam(self):
        self._do(self._set(False))

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    async def _lie(self):
        self.loop = asyncio.get_running_loop()
        self.is_over = asyncio.Event()
        self.flows = asyncio.Event()
        server = await asyncio.start_server(self._carry_both, "127.0.0.1", 0)
        self.address = server.sockets[0].getsockname()[1]
        self.is_laid.set()
        await self.is_over.wait()
        await self._cut()

    async def _set(self, flows):
        if flows:
            self.flows.set()
        else:
            self.flows.clear()

    async def _cut(self):
        for end in self.ends:
            end.transport.abort()
        self.ends.clear()

    async def _carry_both(self, reader, writer):
        if not self.is_in:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        self.ends |= {writer, far_writer}
        with contextlib.suppress(asyncio.CancelledError):  # At the very end.
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _carry(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self.flows.wait()
                self.loop.call_later(self.seconds, writer.write, data)
        self.loop.call_later(self.seconds, writer.transport.abort)
