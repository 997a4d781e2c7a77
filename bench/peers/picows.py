"""picows on uvloop: `python3 picows.py PORT PING_INTERVAL_SECONDS [PUBLISHER]`."""

import sys

# This file has the library's name, and its folder comes first in `sys.path`.
sys.path.pop(0)

import asyncio
import signal

import uvloop
from picows import WSCloseCode, WSListener, WSMsgType, ws_create_server

GRACE = 5
sessions = set()


class Session(WSListener):
    def on_ws_connected(self, transport):
        sessions.add(transport)

    def on_ws_frame(self, transport, frame):
        # The library answers pings, and leaves Close frames to the listener.
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport):
        sessions.discard(transport)


def route(request):
    # `None` is answered with 404.
    return Session() if request.path == b"/ws/status" else None


async def publish(reader, writer):
    """Answers one `POST /publish` when the state is queued for all sessions."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
    state = await reader.readexactly(length)
    for session in sessions:
        session.send(WSMsgType.TEXT, state)
    writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    writer.close()


async def ping_all(interval):
    """One timer for all sessions."""
    while True:
        await asyncio.sleep(interval)
        for session in sessions:
            session.send_ping()


async def main(port, ping_interval, publisher=None):
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    servers = [await ws_create_server(route, "127.0.0.1", port, backlog=4096)]
    if publisher:
        servers.append(await asyncio.start_server(publish, "127.0.0.1", publisher))
    pings = asyncio.create_task(ping_all(ping_interval)) if ping_interval else None
    await terminated.wait()

    if pings:
        pings.cancel()
    for server in servers:
        server.close()
    ends = [asyncio.create_task(session.wait_disconnected()) for session in sessions]
    for session in sessions:
        session.send_close(WSCloseCode.GOING_AWAY)
    if ends:
        await asyncio.wait(ends, timeout=GRACE)


uvloop.run(main(*map(int, sys.argv[1:])))
