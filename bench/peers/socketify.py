"""uWebSockets through socketify: `python3 socketify.py PORT PING_INTERVAL_SECONDS [PUBLISHER]`."""

import sys

# This file has the library's name, and its folder comes first in `sys.path`.
sys.path.pop(0)

import asyncio
import signal

from socketify import App, AppListenOptions, CompressOptions, OpCode

GOING_AWAY = 1001
TOPIC = "status"
# The library makes a new object for each call of a handler; the pointer stays the same.
sessions = {}
app = App()


def opened(session):
    sessions[session.ws] = session
    session.subscribe(TOPIC)


def closed(session, code, message):
    sessions.pop(session.ws, None)


async def publish(response, request):
    """Answers when the state is queued for all sessions."""
    state = await response.get_text()
    app.publish(TOPIC, state, OpCode.TEXT)
    response.write_status(204).end_without_body(True)


async def ping_all(interval):
    """One timer for all sessions."""
    while True:
        await asyncio.sleep(interval)
        for session in sessions.values():
            session.send(b"", OpCode.PING)


async def close_all():
    for session in list(sessions.values()):
        session.end(GOING_AWAY, b"")
    # uWebSockets counts a socket as closed before the client has answered, so it is unknown when all have.
    await asyncio.sleep(1)
    app.close()


def main(port, ping_interval, publisher=None):
    # The library answers pings. Its own pings depend on the idle timeout and have no interval.
    app.ws(
        "/ws/status",
        {
            "compression": CompressOptions.DISABLED,
            "max_payload_length": 64 * 1024,
            "idle_timeout": 0,
            "send_pings_automatically": False,
            "open": opened,
            "message": lambda session, message, opcode: None,
            "close": closed,
        },
    )
    app.any("/*", lambda response, request: response.write_status(404).end(""))
    app.post("/publish", publish)
    for each in filter(None, [port, publisher]):
        app.listen(AppListenOptions(port=each, host="127.0.0.1"))
    loop = app.loop.loop
    loop.add_signal_handler(signal.SIGTERM, lambda: app.loop.create_task(close_all()))
    if ping_interval:
        loop.create_task(ping_all(ping_interval))
    app.run()


main(*map(int, sys.argv[1:]))
