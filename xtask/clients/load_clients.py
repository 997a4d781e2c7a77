"""Thousands of clients in one thread that connect, disconnect and reconnect, and record the states that
each received over all of its connections."""

import asyncio
import base64
import collections
import json
import os
import random
import re
import struct
import threading

# The limit of the random delay before a reconnect: its first and its largest value, in seconds.
MIN_BACKOFF = 0.2
MAX_BACKOFF = 3

PATH = "/ws/status"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class LoadClients:
    """Clients of one address. The revisions that each receives must increase."""

    def __init__(self, port, size, mean_session_seconds):
        self.port = port
        # Mean time in seconds before a client closes its session and reconnects.
        self.mean_session_seconds = mean_session_seconds
        self.order_violations = []
        self.counts = collections.Counter()
        self.clients = [Client(self) for _ in range(size)]
        self.loop = None
        self.stopped = None
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join()

    def stop_leaving(self):
        """From now on no client closes its session."""
        self.mean_session_seconds = None

    def count_with_state(self, state):
        """The number of clients whose last state on the current connection is this one."""
        states = [json.loads(client.state)["state"] for client in self.clients if client.state]
        return states.count(state)

    async def _run(self):
        self.loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        for client in self.clients:
            client.reconnect_later(random.uniform(0, 3))
        await self.stopped.wait()
        for client in self.clients:
            if client.transport:
                client.transport.abort()


class Client(asyncio.Protocol):
    """One client, over all of its connections."""

    def __init__(self, group):
        self.group = group
        self.revision = 0
        self.attempts = 0
        self.connecting = None
        self._reset()

    def reconnect_later(self, delay=None):
        """Connects after a random delay, so that the attempts are spread."""
        if delay is None:
            delay = random.uniform(0, min(MAX_BACKOFF, MIN_BACKOFF * 2**self.attempts))
        self.group.loop.call_later(delay, self._start_connect)

    def connection_made(self, transport):
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {PATH} HTTP/1.1",
            "Host: localhost",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        ]
        transport.write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data):
        self.received += data
        if not self.is_open and not self._is_upgraded():
            return
        while (frame := self._next_frame()) is not None:
            self._on_frame(*frame)

    def connection_lost(self, _error):
        if not self.is_closing:
            self.group.counts["failed" if not self.is_open else "lost"] += 1
        self._reset()
        self.reconnect_later()

    def _start_connect(self):
        if not self.group.stopped.is_set():
            self.connecting = self.group.loop.create_task(self._connect())

    async def _connect(self):
        self.attempts += 1
        try:
            await self.group.loop.create_connection(lambda: self, "127.0.0.1", self.group.port)
        except OSError:
            self.group.counts["failed"] += 1
            self.reconnect_later()

    def _reset(self):
        """Resets the state of the connection."""
        self.transport = None
        self.received = b""
        self.is_open = False
        self.is_closing = False
        self.state = None

    def _is_upgraded(self):
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 101 "):
            self.group.counts["refused"] += 1
            self.transport.close()
            return False
        self.received = rest
        self.is_open = True
        self.attempts = 0
        self.group.counts["opened"] += 1
        if self.group.mean_session_seconds:
            seconds = random.expovariate(1 / self.group.mean_session_seconds)
            self.group.loop.call_later(seconds, self._leave, self.transport)
        return True

    def _next_frame(self):
        """The next frame. A server does not mask frames, and this server does not fragment messages."""
        data = self.received
        if len(data) < 2:
            return None
        length, start = data[1], 2
        if length == 126:
            if len(data) < 4:
                return None
            length, start = struct.unpack_from(">H", data, 2)[0], 4
        if len(data) < start + length:
            return None
        self.received = data[start + length :]
        return data[0] & 0x0F, data[start : start + length]

    def _on_frame(self, opcode, payload):
        if opcode == TEXT:
            self._on_state(payload)
        elif opcode == PING:
            self._send(PONG, payload)
        elif opcode == CLOSE:
            self.group.counts[struct.unpack_from(">H", payload)[0]] += 1
            self.is_closing = True
            self._send(CLOSE, payload[:2])

    def _on_state(self, payload):
        revision = int(re.match(rb'{"revision":(\d+)', payload)[1])
        # Only a new connection may receive the same revision again.
        if revision < self.revision or (revision == self.revision and self.state is not None):
            self.group.order_violations.append(f"{revision} after {self.revision}")
        self.revision = revision
        self.state = payload
        self.group.counts["received"] += 1

    def _leave(self, transport):
        if self.transport is transport and not self.is_closing and self.group.mean_session_seconds:
            self.is_closing = True
            self.group.counts["left"] += 1
            self._send(CLOSE, struct.pack(">H", 1000))
            transport.close()

    def _send(self, opcode, payload):
        # A masking key of zeros is valid.
        self.transport.write(bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
