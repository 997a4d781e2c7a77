"""The examples of proxies that authenticate clients, with a service and with tokens.

Through each, a client is admitted with its identity in the log, refused with 401 and 403, and a forged
identity has no effect."""

import base64
import contextlib
import http.server
import json
import os
import subprocess
import threading
import time

from websockets.exceptions import ConnectionClosed, InvalidStatus

from endpoint import STEP_TIMEOUT, CheckFailed, expect
from proxy import HEADER, Proxy, nodes, running, wait_for_any

# A second header line, which a client adds to claim an identity.
FORGED = {"X-User": "admin", "X-Until": "4102444800"}

# The headers of a handshake that must not reach the service.
OF_THE_HANDSHAKE = ["connection", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"]

# A token that a page passes as a subprotocol.
SUBPROTOCOLS = ["status", "token.7f3a"]


class Service(http.server.BaseHTTPRequestHandler):
    """Decides by the cookie, as the service in docs/admission.md does."""

    protocol_version = "HTTP/1.1"
    decisions = {
        "session=7f3a": (200, {"X-User": "alice"}),
        "session=nameless": (200, {}),
        "session=banned": (403, {}),
    }
    requests = []

    def do_GET(self):
        Service.requests.append(self)
        unknown = (401, {"WWW-Authenticate": "Cookie"})
        status, headers = Service.decisions.get(self.headers["Cookie"], unknown)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


class Credentials:
    """Values of the cookie by what the proxy makes of them, and the flags of the servers.

    A `nameless` one is admitted by the proxy, which cannot name the client; the session of an `expired` one
    ends at once.
    """

    def __init__(self, admitted, forbidden, invalid, nameless, expired=None, flags=(), service=None):
        self.admitted = admitted
        self.forbidden = forbidden
        self.invalid = invalid
        self.nameless = nameless
        self.expired = expired
        self.flags = flags
        self.service = service


def service_examples(cert, key):
    """nginx and Caddy with a service on this machine."""
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    service.daemon_threads = True
    threading.Thread(target=service.serve_forever, daemon=True).start()
    address = [("10.0.0.21:9000", f"127.0.0.1:{service.server_port}")]
    of_service = Credentials("7f3a", "banned", ["other"], "nameless", service=Service)
    nginx = Proxy(
        "nginx",
        "nginx-auth.conf",
        HEADER,
        lambda folder, config: [
            "nginx",
            *("-e", "stderr", "-p", folder, "-c", config),
            *("-g", f"daemon off; user root; pid {folder}/pid; worker_processes 1;"),
        ],
        ["nginx", "-v"],
        certificate=(cert, key),
        edits=[("/etc/nginx/ws-status.pem", cert), ("/etc/nginx/ws-status.key", key), *address],
    )
    caddy = Proxy(
        "caddy",
        "Caddyfile-auth",
        HEADER,
        lambda folder, config: ["caddy", "run", "--adapter", "caddyfile", "--config", config],
        ["caddy", "version"],
        edits=address,
    )
    return [(nginx, of_service), (caddy, of_service)]


def haproxy_example(folder):
    """HAProxy with tokens of an issuer whose key is generated in this folder."""
    private, public = os.path.join(folder, "issuer.key"), os.path.join(folder, "issuer.pem")
    generate = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", private]
    subprocess.run(generate, check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    claims = {"sub": "alice", "scope": "status", "exp": int(time.time()) + 3600}
    valid = token(claims, private)
    header, payload, signature = valid.split(".")
    credentials = Credentials(
        valid,
        token({**claims, "scope": "other"}, private),
        [
            # Another payload or algorithm with the same signature, and no signature.
            ".".join([header, encoded({**claims, "sub": "admin"}), signature]),
            ".".join([encoded({"alg": "HS256"}), payload, signature]),
            ".".join([encoded({"alg": "none"}), payload, ""]),
        ],
        token({"scope": "status", "exp": claims["exp"]}, private),
        expired=token({**claims, "exp": 1}, private),
        flags=["--expires-header", "X-Until"],
    )
    haproxy = Proxy(
        "haproxy",
        "haproxy-auth.cfg",
        HEADER,
        lambda folder, config: ["haproxy", "-db", "-f", config],
        ["haproxy", "-v"],
        edits=[("/etc/haproxy/issuer.pem", public)],
    )
    return haproxy, credentials


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def token(claims, private):
    """A JWT with RS256."""
    signed = f"{encoded({'alg': 'RS256', 'typ': 'JWT'})}.{encoded(claims)}"
    sign = ["openssl", "dgst", "-sha256", "-sign", private]
    signature = subprocess.run(sign, input=signed.encode(), check=True, stdout=subprocess.PIPE).stdout
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def check_authentication(proxy, credentials):
    flags = ["--identity-header", "X-User", *credentials.flags]
    with nodes(proxy, *flags) as (ports, servers), running(proxy, ports, refusal=401) as opened:
        with opened(additional_headers=[cookie(credentials.admitted), *FORGED.items()], subprotocols=SUBPROTOCOLS):
            opening = wait_for_any(servers, event="opened")
            expect(f"the identity behind {proxy.example}", "alice", opening["identity"])
        if credentials.service:
            check_request(credentials.service.requests[-1].headers, proxy)
        forbidden = [cookie(credentials.forbidden), *FORGED.items()]
        expect(f"a client without permission through {proxy.example}", 403, refusal(opened, forbidden))
        for lines in [[], *([cookie(invalid)] for invalid in credentials.invalid)]:
            status = refusal(opened, [*lines, *FORGED.items()])
            expect(f"a client with {lines} through {proxy.example}", 401, status)
        # The proxy must not leave the client's own claim in place.
        nameless = [cookie(credentials.nameless), *FORGED.items()]
        expect(f"a client without a name through {proxy.example}", 401, refusal(opened, nameless))
        if credentials.expired:
            with opened(additional_headers=[cookie(credentials.expired)]) as session:
                expect_expiry(session)
        for server in servers:
            identities = {line.get("identity") for line in server.log if line.get("event") == "opened"}
            expect("the identities in the log", set(), identities - {"alice"})


def check_request(headers, proxy):
    """What the service receives of a handshake."""
    seen = [name for name in OF_THE_HANDSHAKE if headers[name] not in (None, "close", "keep-alive")]
    expect(f"the headers that {proxy.name} must not pass to the service", [], seen)
    expect(f"the forged identity that {proxy.name} passes to the service", None, headers["X-User"])
    expect(f"the body that {proxy.name} announces", (None, None), (headers["Content-Length"], headers["Transfer-Encoding"]))
    expect(f"the original target that {proxy.name} passes to the service", "/ws/status", headers["X-Original-URI"])
    offered = headers["Sec-WebSocket-Protocol"].replace(" ", "").split(",")
    expect(f"the subprotocols that {proxy.name} passes to the service", SUBPROTOCOLS, offered)


def cookie(session):
    return ("Cookie", f"session={session}")


def refusal(opened, lines):
    """The status of a handshake that has to be refused."""
    try:
        with opened(additional_headers=lines):
            raise CheckFailed(f"a handshake with {lines}: expected a refusal, saw a session")
    except InvalidStatus as refused:
        return refused.response.status_code


def expect_expiry(session):
    with contextlib.suppress(ConnectionClosed):
        session.recv(STEP_TIMEOUT)
    closed = (session.connection.close_code, session.connection.close_reason)
    expect("the close code of an expired token", (3000, "expired"), closed)
