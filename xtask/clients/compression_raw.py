"""A client on a plain socket, which inflates by itself and counts the bytes of each kind of frame."""

import base64
import collections
import hashlib
import os
import socket
import struct
import zlib

from endpoint import STEP_TIMEOUT, CheckFailed, expect

FIN, RSV1 = 0x80, 0x40
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
FLUSH_MARKER = b"\x00\x00\xff\xff"  # The sender removes it (RFC 7692, section 7.2.1).


class RawClient:
    """A session with permessage-deflate, and the number of its frames by kind: plain, fresh, or a difference,
    which an inflater without the states before cannot read."""

    def __init__(self, url):
        host, _, path = url.removeprefix("ws://").partition("/")
        address, _, port = host.partition(":")
        self.socket = socket.create_connection((address, int(port)), timeout=STEP_TIMEOUT)
        self.stream = self.socket.makefile("rb")
        self.frames = collections.Counter()
        self.sent_bytes = 0
        self.state_bytes = 0
        self.inflater = zlib.decompressobj(-15)
        self.extensions = self._upgrade(host, path)

    def _upgrade(self, host, path):
        """Returns what the server negotiated."""
        lines = [
            f"GET /{path} HTTP/1.1",
            f"Host: {host}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Extensions: permessage-deflate",
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        expect("the status", b"HTTP/1.1 101", self.stream.readline()[:12])
        extensions = ""
        while (line := self.stream.readline().decode().strip()) != "":
            name, _, value = line.partition(": ")
            if name.lower() == "sec-websocket-extensions":
                extensions = value
        return extensions

    def follow(self, report):
        """Reports each state until the server closes."""
        report(f"open {self.extensions}")
        while True:
            first, header_bytes, payload = self._read_frame()
            if first == FIN | PING:
                self._send(PONG, payload)
            elif first == FIN | CLOSE:
                self._send(CLOSE, payload)
                report(f"closed {int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}")
                return
            elif first & ~RSV1 == FIN | TEXT:
                kind, state = self._state(first, payload)
                self.frames[kind] += 1
                self.sent_bytes += header_bytes + len(payload)
                self.state_bytes += len(state)
                report(f"state {hashlib.sha256(state).hexdigest()}")
            else:
                raise CheckFailed(f"a frame: expected a text, a Ping or a Close, saw 0x{first:02x}")

    def _state(self, first, payload):
        if first & RSV1 == 0:
            return "plain", payload
        fresh = inflated(zlib.decompressobj(-15), payload)
        if "server_no_context_takeover" in self.extensions:
            self.inflater = zlib.decompressobj(-15)
        state = inflated(self.inflater, payload)
        if state is None:
            raise CheckFailed("a frame: expected that it can be inflated, saw an error")
        return ("fresh" if fresh == state else "difference"), state

    def _read_frame(self):
        first, second = self._read(2)
        header_bytes, length = 2, second
        if length == 126:
            [length] = struct.unpack(">H", self._read(2))
            header_bytes += 2
        elif length == 127:
            [length] = struct.unpack(">Q", self._read(8))
            header_bytes += 8
        return first, header_bytes, self._read(length)

    def _read(self, count):
        data = self.stream.read(count)
        if len(data) < count:
            raise CheckFailed("expected more bytes, saw the end")
        return data

    def _send(self, opcode, payload):
        # The mask is four zeros, so the payload stays as it is.
        self.socket.sendall(bytes([FIN | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload)


def inflated(inflater, payload):
    try:
        return inflater.decompress(payload + FLUSH_MARKER)
    except zlib.error:
        return None
