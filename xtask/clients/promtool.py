"""promtool with the metrics and the alerts: the format of a scrape after some sessions is valid, and the
alerting rules pass their unit tests."""

import http.client
import os
import subprocess

from endpoint import CheckFailed, expect, run, running_server
from websockets.sync.client import connect

RULES = os.path.join(os.path.dirname(__file__), "../../deploy/prometheus")


def main():
    with running_server("--admin-listen", "127.0.0.1:0", "--ping-interval-secs", "0.2") as server:
        admin = server.wait_for(event="starting")["admin"]
        with connect(server.url, proxy=None) as socket:
            socket.send("hello")
            server.wait_for(event="opened")
        server.wait_for(event="closed", cause="peer_closed")
        metrics = scrape(admin)
        expect("a counted session", True, "\nws_status_sessions_opened_total 1\n" in metrics)
        promtool("check", "metrics", text=metrics)
    promtool("check", "rules", "ws-status.rules.yml")
    promtool("test", "rules", "ws-status.rules.test.yml")
    return f"promtool accepts {len(metrics.splitlines())} lines of metrics and the alerts"


def scrape(admin):
    connection = http.client.HTTPConnection(admin, timeout=5)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def promtool(*words, text=None):
    """Runs promtool in the folder of the rules. `check metrics` prints nothing for valid metrics."""
    done = subprocess.run(
        ["promtool", *words],
        input=text,
        cwd=RULES,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0 or (text and done.stdout):
        raise CheckFailed(f"promtool {' '.join(words)}: {done.stdout.strip()}")
    return done.stdout


run(main, limit=120)
