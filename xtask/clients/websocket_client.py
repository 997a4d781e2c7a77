"""Python's websocket-client with the server: it sends the server's own address as Origin, with and without
TLS; "self" allows it, and no other setting here does."""

import importlib.metadata
import ssl

import websocket

from endpoint import STEP_TIMEOUT, certificate, expect, run, running_server

# The origin of an app without a domain, such as an Electron app.
APP = "app://."


def main():
    with certificate() as (cert, key):
        listen = ["--listen", "127.0.0.1:0,tls:127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", key]
        with running_server(*listen, "--allowed-origins", f"self,{APP}") as server:
            (_, plain), (_, tls) = server.addresses()
            for scheme, port, origin in [("ws", plain, "http"), ("wss", tls, "https")]:
                url = f"{scheme}://localhost:{port}/ws/status"
                expect(f"the status for {url}", 101, status(url))
                own = f"{origin}://localhost:{port}"
                server.wait_for(event="opened", origin=own)
                expect("the status for an app", 101, status(url, origin=APP))
                expect("the status for another port", 403, status(url, origin=f"{origin}://localhost:1"))
                expect("the status for another app", 403, status(url, origin="file://"))
            # The same host without TLS is another origin.
            expect("the status without TLS", 403, status(url, origin=f"http://localhost:{tls}"))
        with running_server("--allowed-origins", APP) as server:
            expect("the status without self", 403, status(server.url))
            server.wait_for(event="refused", refusal="origin_refused")
    version = importlib.metadata.version("websocket-client")
    return f'websocket-client {version}: allowed by "self", 403 without it'


def status(url, **more):
    """Connects and returns the status; pings and closes if the session was opened."""
    try:
        client = websocket.create_connection(
            url, timeout=STEP_TIMEOUT, sslopt={"cert_reqs": ssl.CERT_NONE}, **more
        )
    except websocket.WebSocketBadStatusException as refusal:
        return refusal.status_code
    client.ping("a payload")
    expect("the answer to a ping", b"a payload", client.recv_frame().data)
    client.close()
    return client.getstatus()


run(main)
