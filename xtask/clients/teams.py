"""The example `teams` in Chromium: a page of a user who is logged in shows the state of the team, and one of
a user who is not, or not any longer, is refused."""

import contextlib
import http.client
import http.cookies
import json
import pathlib
import urllib.parse

from browser import chromium_version
from devtools import blank_page
from endpoint import STEP_TIMEOUT, expect, expect_soon, run, running_server
from publish import files_of

EXAMPLE = pathlib.Path(__file__).parent.parent.parent / "examples/browser"

REFUSED = "There was no connection: the server cannot be reached, or refused this page."

# Opens a socket with a subprotocol beside the feed of the page, and records its events.
OPEN = """((url) => {
  const events = [];
  const socket = new WebSocket(url, ["status.v2", "status.v1"]);
  socket.onopen = () => events.push(["open", socket.protocol]);
  socket.onmessage = (event) => events.push(["message", event.data]);
  socket.onclose = (event) => events.push(["close", event.code, event.reason, event.wasClean]);
  window.events = events;
})"""


def main():
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(files_of(EXAMPLE))
        page = stack.enter_context(blank_page())
        settings = ["--admin-listen", "127.0.0.1:0", "--allowed-origins", origin]
        server = stack.enter_context(running_server(*settings))
        admin = server.wait_for(event="starting")["admin"]
        # The name of the page's host, because cookies do not depend on the port.
        url = f"{server.url.replace('127.0.0.1', 'localhost')}?team=red"

        page.open(f"{origin}/?url={urllib.parse.quote(url)}")
        expect_shown(page, why=REFUSED)
        server.wait_for(event="refused", denial="no_session", status=401, origin=origin)

        post(admin, "/publish?team=red", "all is well", 204)
        post(admin, "/publish?team=blue", "not for this page", 204)
        set_cookie(page, post(admin, "/login?user=ada", "", 200)["Set-Cookie"], origin)
        page.evaluate("document.getElementById('start').click()")
        expect_shown(page, phase="open", state="all is well")
        server.wait_for(event="opened", identity="ada", origin=origin)
        page.evaluate(f"{OPEN}({json.dumps(url)})")
        events = [["open", "status.v1"], ["message", "all is well"]]
        expect_soon("the events of the socket", events, lambda: page.evaluate("window.events"))

        post(admin, "/logout?user=ada", "", 200)
        events.append(["close", 3000, "logout", True])
        expect_soon("the events of the socket", events, lambda: page.evaluate("window.events"))
        # The page asks again, with the cookie that it still has.
        expect_shown(page, why=REFUSED, state="all is well")
        expect("errors in the page's console", [], page.console_errors(but="network"))
    return f"{chromium_version()}: the page was refused, logged in and logged out"


def post(admin, target, body, status):
    with contextlib.closing(http.client.HTTPConnection(admin, timeout=STEP_TIMEOUT)) as client:
        client.request("POST", target, body)
        answer = client.getresponse()
        expect(f"the answer to {target}", status, answer.status)
        return answer.headers


def set_cookie(page, header, origin):
    """Sets the cookie as if the page had received it: the admin listener refuses requests of pages."""
    [cookie] = http.cookies.SimpleCookie(header).values()
    attributes = {"path": cookie["path"], "httpOnly": cookie["httponly"], "secure": cookie["secure"]}
    result = page.call(
        "Network.setCookie",
        name=cookie.key,
        value=cookie.value,
        url=origin,
        sameSite=cookie["samesite"],
        **attributes,
    )
    expect("whether the browser takes the cookie", True, result["success"])


def expect_shown(page, **expected):
    def shown():
        script = "(ids) => Object.fromEntries(ids.map((id) => [id, document.getElementById(id).innerText]))"
        return page.evaluate(f"({script})({json.dumps(list(expected))})")

    expect_soon("what the page shows", expected, shown)


run(main, limit=60)
