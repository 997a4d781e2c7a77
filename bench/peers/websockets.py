"""Python's websockets on uvloop: `python3 websockets.py PORT PING_INTERVAL_SECONDS`."""

import sys

# This file has the library's name, and its folder comes first where Python looks.
sys.path.pop(0)

import asyncio
import http
import logging
import signal

import uvloop
from websockets.asyncio.server import serve


def check_path(connection, request):
    if request.path != "/ws/status":
        return connection.respond(http.HTTPStatus.NOT_FOUND, "")


async def live(connection):
    # It answers pings by itself.
    async for _ in connection:
        pass


async def main(port, ping_interval):
    server = await serve(
        live,
        "127.0.0.1",
        port,
        process_request=check_path,
        backlog=4096,
        # As the other peers: no compression, and nobody is let go for being silent.
        compression=None,
        ping_interval=ping_interval or None,
        ping_timeout=None,
        close_timeout=5,
    )
    # It closes every connection with 1001.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
    await server.wait_closed()


# It logs each failed handshake with its stack.
logging.disable()
uvloop.run(main(*map(int, sys.argv[1:])))
