"""Thousands of clients in one thread that stay connected, come and go, and remember what each of them
was told over all of its connections."""

import asyncio
import base64
import collections
import json
import os
import random
import re
import struct
import threading

# Seconds: what the bound of the pause before another attempt begins with, and ends with.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 3

PATH = "/ws/status"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Fleet:
    """Clients of one address. What each has been told must have ever higher revisions."""

    def __init__(self, port, size, stay):
        self.port = port
        # Seconds that a client stays on average before it leaves and comes back by itself.
        self.stay = stay
        self.surprises = []
        self.counts = collections.Counter()
        self.clients = [Client(self) for _ in range(size)]
        self.loop = None
        self.is_over = None
        self.thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.is_over.set)
        self.thread.join()

    def settle(self):
        """From here on no client leaves by itself."""
        self.stay = None

    def count_told(self, state):
        """How many were told this state last, by the connection that they have."""
        states = [json.loads(client.state)["state"] for client in self.clients if client.state]
        return states.count(state)

    async def _live(self):
        self.loop = asyncio.get_running_loop()
        self.is_over = asyncio.Event()
        for client in self.clients:
            client.come_back(random.uniform(0, 3))
        await self.is_over.wait()
        for client in self.clients:
            if client.transport:
                client.transport.abort()


class Client(asyncio.Protocol):
    """One client, over all of its connections."""

    def __init__(self, fleet):
        self.fleet = fleet
        self.revision = 0
        self.attempts = 0
        self.connecting = None
        self._forget()

    def come_back(self, pause=None):
        """After a pause that is random, so that not all of them come at once."""
        if pause is None:
            pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**self.attempts))
        self.fleet.loop.call_later(pause, self._begin)

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
        self.unread += data
        if not self.is_open and not self._is_upgraded():
            return
        while (frame := self._take_frame()) is not None:
            self._take(*frame)

    def connection_lost(self, _error):
        if not self.has_left:
            self.fleet.counts["failed" if not self.is_open else "lost"] += 1
        self._forget()
        self.come_back()

    def _begin(self):
        if not self.fleet.is_over.is_set():
            self.connecting = self.fleet.loop.create_task(self._connect())

    async def _connect(self):
        self.attempts += 1
        try:
            await self.fleet.loop.create_connection(lambda: self, "127.0.0.1", self.fleet.port)
        except OSError:
            self.fleet.counts["failed"] += 1
            self.come_back()

    def _forget(self):
        """What is known of a connection goes with it."""
        self.transport = None
        self.unread = b""
        self.is_open = False
        self.has_left = False
        self.state = None

    def _is_upgraded(self):
        head, end, rest = self.unread.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 101 "):
            self.fleet.counts["refused"] += 1
            self.transport.close()
            return False
        self.unread = rest
        self.is_open = True
        self.attempts = 0
        self.fleet.counts["opened"] += 1
        if self.fleet.stay:
            self.fleet.loop.call_later(random.expovariate(1 / self.fleet.stay), self._leave, self.transport)
        return True

    def _take_frame(self):
        """The next frame, which a server does not mask and ours never splits."""
        data = self.unread
        if len(data) < 2:
            return None
        length, start = data[1], 2
        if length == 126:
            if len(data) < 4:
                return None
            length, start = struct.unpack_from(">H", data, 2)[0], 4
        if len(data) < start + length:
            return None
        self.unread = data[start + length :]
        return data[0] & 0x0F, data[start : start + length]

    def _take(self, opcode, payload):
        if opcode == TEXT:
            self._take_state(payload)
        elif opcode == PING:
            self._send(PONG, payload)
        elif opcode == CLOSE:
            self.fleet.counts[struct.unpack_from(">H", payload)[0]] += 1
            self.has_left = True
            self._send(CLOSE, payload[:2])

    def _take_state(self, payload):
        revision = int(re.match(rb'{"revision":(\d+)', payload)[1])
        # The same one may be told again by a new connection, and only there.
        if revision < self.revision or (revision == self.revision and self.state is not None):
            self.fleet.surprises.append(f"{revision} after {self.revision}")
        self.revision = revision
        self.state = payload
        self.fleet.counts["told"] += 1

    def _leave(self, transport):
        if self.transport is transport and not self.has_left and self.fleet.stay:
            self.has_left = True
            self.fleet.counts["left"] += 1
            self._send(CLOSE, struct.pack(">H", 1000))
            transport.close()

    def _send(self, opcode, payload):
        # A mask of zeros is a mask.
        self.transport.write(bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
