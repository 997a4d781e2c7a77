"""A client with Python's websockets, which reports what it receives: compression_websockets.py URL fast|slow"""

import asyncio
import hashlib
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

# A slow client reads and pauses in turn, in seconds. The server sends on until the buffers are full, and
# then skips.
READ = 0.2
PAUSE = 1.5

# Within the limits of the server, even if it reads nothing for some seconds.
CHAT_INTERVAL = 1
CHAT = "a message of the client, which the server ignores; " * 20


async def main(url, speed):
    # With a short queue, a client that does not read blocks the server soon.
    async with connect(url, max_queue=1) as client:
        report("open", client.response.headers.get("Sec-WebSocket-Extensions", ""))
        chat = asyncio.create_task(talk(client))
        pause_at = time.monotonic() + READ
        try:
            while True:
                state = await client.recv(decode=False)
                report("state", hashlib.sha256(state).hexdigest())
                if speed == "slow" and time.monotonic() >= pause_at:
                    await asyncio.sleep(PAUSE)
                    pause_at = time.monotonic() + READ
        except ConnectionClosed:
            chat.cancel()
        report("closed", client.close_code, client.close_reason)


async def talk(client):
    """Sends messages whole and in fragments, and pings."""
    while True:
        await asyncio.sleep(CHAT_INTERVAL)
        await client.send(CHAT)
        await client.send([CHAT, CHAT, CHAT])
        pong = await client.ping()
        pong.add_done_callback(lambda it: it.cancelled() or it.exception() or report("pong"))


def report(*words):
    print(*words, flush=True)


asyncio.run(main(*sys.argv[1:]))
