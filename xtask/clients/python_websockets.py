"""Python's websockets with the server: pings in both directions, the limits for origins and sizes, and
1001 on SIGTERM."""

import asyncio
import importlib.metadata

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from endpoint import STEP_TIMEOUT, expect, run, running_server

ALLOWED = "https://allowed.example"
OTHER = "https://other.example"


def main():
    with running_server("--allowed-origins", ALLOWED, "--ping-interval-secs", "0.3") as server:
        asyncio.run(check_limits(server))
        asyncio.run(check_session(server))
        server.expect_clean_exit()
    version = importlib.metadata.version("websockets")
    return f'websockets {version}: connected, its ping was answered, 1001 "drained" on SIGTERM'


async def check_limits(server):
    async with connect(server.url, origin=ALLOWED):
        server.wait_for(event="opened", origin=ALLOWED)

    expect("the answer to another origin", 403, await status_of_refusal(server, OTHER))
    server.wait_for(event="refused", refusal="origin_refused", origin=OTHER)

    async with connect(server.url) as client:
        await client.send("x" * 5000)
        await asyncio.wait_for(client.wait_closed(), STEP_TIMEOUT)
        expect("the code after a message that is too big", 1009, client.close_code)
        server.wait_for(event="closed", cause="too_big", code=1009)


async def check_session(server):
    async with connect(server.url) as client:
        pong = await client.ping(b"a payload")
        await asyncio.wait_for(pong, STEP_TIMEOUT)

        await client.send("a text")
        # The server does not answer, and pings meanwhile.
        expect("the answer to a text", None, await next_message(client, seconds=1))

        server.terminate()
        await asyncio.wait_for(client.wait_closed(), STEP_TIMEOUT)
        expect("the code on SIGTERM", 1001, client.close_code)
        expect("the reason on SIGTERM", "drained", client.close_reason)


async def status_of_refusal(server, origin):
    try:
        async with connect(server.url, origin=origin):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def next_message(client, seconds):
    try:
        return await asyncio.wait_for(client.recv(), seconds)
    except asyncio.TimeoutError:
        return None


run(main)
