"""The examples in deploy/proxies for real: through nginx, HAProxy and Caddy a session has its client's
true address in the log, outlives the proxy's idle limit thanks to the pings, is told 1001 on a drain,
and while two servers are restarted in turn no attempt to connect fails."""

from endpoint import run
from proxy import (
    HEADER,
    PROXY_PROTOCOL,
    Proxy,
    check_idleness,
    check_one_session,
    check_restarts,
    version_of,
)

PROXIES = [
    Proxy(
        "nginx",
        "nginx.conf",
        HEADER,
        # What only a whole system's nginx has stands in front of the example.
        lambda folder, config: [
            "nginx",
            *("-e", "stderr", "-p", folder, "-c", config),
            *("-g", f"daemon off; user root; pid {folder}/pid; worker_processes 1;"),
        ],
        ["nginx", "-v"],
        idle=r"proxy_(read|send)_timeout 60s",
    ),
    Proxy(
        "haproxy",
        "haproxy.cfg",
        PROXY_PROTOCOL,
        lambda folder, config: ["haproxy", "-db", "-f", config],
        ["haproxy", "-v"],
        idle=r"timeout tunnel 60s",
    ),
    # Caddy has no idle limit for a connection that is upgraded.
    Proxy(
        "caddy",
        "Caddyfile",
        HEADER,
        lambda folder, config: ["caddy", "run", "--adapter", "caddyfile", "--config", config],
        ["caddy", "version"],
    ),
]


def play():
    seen = []
    for proxy in PROXIES:
        check_one_session(proxy)
        check_idleness(proxy)
        attempts = check_restarts(proxy)
        seen.append(f"{version_of(proxy)} ({attempts} attempts during restarts)")
    return f"through {', '.join(seen)}"


run(play, limit=150)
