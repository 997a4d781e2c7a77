"""Python's websockets on uvloop: `python3 websockets.py PORT PING_INTERVAL_SECONDS`."""

import sys

# This file has the library's name, and its folder comes first in `sys.path`.
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


async def run_session(connection):
    # The library answers pings.
    async for _ in connection:
        pass


async def main(port, ping_interval):
    server = await serve(
        run_session,
        "127.0.0.1",
        port,
        process_request=check_path,
        backlog=4096,
        # As the other peers: no compression, and no pong timeout.
        compression=None,
        ping_interval=ping_interval or None,
        ping_timeout=None,
        close_timeout=5,
    )
    # `close` closes every connection with 1001.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
    await server.wait_closed()


# The library logs each failed handshake with a stack trace.
logging.disable()
uvloop.run(main(*map(int, sys.argv[1:])))
