"""The examples in deploy/proxies with the real proxies: through nginx, HAProxy and Caddy the log has the
client's address, pings keep a session open beyond the proxy's idle limit, a drain closes it with 1001,
and no attempt to connect fails while two servers are restarted in turn. The examples that authenticate
admit and refuse, and a client cannot claim an identity."""

import os

from authenticating import check_authentication, haproxy_example, service_examples
from endpoint import certificate, run
from proxy import (
    CADDY,
    HAPROXY,
    check_idleness,
    check_one_session,
    check_restarts,
    nginx,
    version_of,
)


def main():
    seen = []
    with certificate() as (cert, key):
        for proxy in [nginx(cert, key), HAPROXY, CADDY]:
            check_one_session(proxy)
            check_idleness(proxy)
            attempts = check_restarts(proxy)
            seen.append(f"{version_of(proxy)} ({attempts} attempts during restarts)")
        authenticating = [*service_examples(cert, key), haproxy_example(os.path.dirname(key))]
        for proxy, credentials in authenticating:
            check_authentication(proxy, credentials)
            seen.append(f"{proxy.example}, authenticating")
    return f"through {', '.join(seen)}"


run(main, limit=180)
