"""The doctor through the real proxies: with the examples of deploy/proxies it has nothing to object to, and
with one directive missing or wrong it names that directive. One server, whose admin listener the doctor
may read; each case is examined without it as well where that shows the cause, too."""

import contextlib
import copy
import dataclasses
import json
import os
import subprocess
import sys

from endpoint import CheckFailed, certificate, expect, run
from proxy import (
    CADDY,
    CLIENT,
    HAPROXY,
    HEADER,
    NODES,
    adapted,
    free_port,
    free_ports,
    nginx,
    node,
    serving,
    version_of,
)

# The ping interval of the server, and one that exceeds the idle limits of this test.
PINGS = ["--ping-interval-secs", "0.5"]
RARE_PINGS = ["--ping-interval-secs", "20"]
# The setting with which `Host` matters.
SELF = ["--allowed-origins", "self"]

DOCTOR_TIMEOUT = 60


@dataclasses.dataclass
class Case:
    """A change of a configuration, and what the doctor has to say about it."""

    remove: str
    # The words of all warnings and failures.
    findings: list
    # A part of the line that is to be changed.
    line: str
    insert: str = ""
    flags: list = dataclasses.field(default_factory=list)
    # Without the admin listener it is found as well, with these words.
    alone: list = None


NGINX_CASES = [
    Case("proxy_http_version 1.1;", ["http_version"], "proxy_http_version 1.1;", alone=["http_version"]),
    Case(
        "proxy_set_header Upgrade $http_upgrade;",
        ["not_an_upgrade"],
        "proxy_set_header Upgrade $http_upgrade;",
        alone=["not_an_upgrade"],
    ),
    Case(
        "proxy_set_header Connection $connection_upgrade;",
        ["not_an_upgrade"],
        "proxy_set_header Connection $connection_upgrade;",
        alone=["not_an_upgrade"],
    ),
    Case(
        "proxy_set_header Host $http_host;",
        ["host_changed"],
        "proxy_set_header Host $http_host;",
        flags=SELF,
        alone=["host_changed"],
    ),
    Case(
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        ["address_of_proxy", "address_forged"],
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    ),
    Case(
        "proxy_read_timeout 60s;",
        ["idle_cut"],
        "proxy_read_timeout 60s;",
        insert="proxy_read_timeout 1s;",
        flags=RARE_PINGS,
        alone=["idle_cut"],
    ),
    Case(
        "location = /ws/status {",
        ["not_forwarded"],
        "location = /ws/status",
        insert="location = /socket {",
        alone=["not_forwarded"],
    ),
    Case(
        "proxy_pass http://ws_status;",
        ["not_found"],
        "proxy_pass http://ws_status; without a path",
        insert="proxy_pass http://ws_status/status;",
        alone=["not_found"],
    ),
    Case(
        "proxy_pass http://ws_status;",
        ["bad_tls"],
        "http:// or https:// of proxy_pass",
        insert="proxy_pass http://ws_status;",
        flags=["tls"],
        alone=["upstream_speaks_tls"],
    ),
    Case(
        "proxy_set_header Host $http_host;",
        ["origin_lost"],
        "proxy_set_header Origin $http_origin;",
        insert='proxy_set_header Host $http_host; proxy_set_header Origin "";',
        alone=["origin_lost"],
    ),
    Case(
        "proxy_set_header Host $http_host;",
        ["bad_key"],
        "proxy_set_header Sec-WebSocket-",
        insert='proxy_set_header Host $http_host; proxy_set_header Sec-WebSocket-Key "";',
        alone=["bad_key"],
    ),
]

HAPROXY_CASES = [
    Case(" send-proxy-v2", ["bad_proxy_header"], "send-proxy-v2", alone=["upstream_unavailable"]),
    # Without a line that names the client, where the server expects a header.
    Case(
        " send-proxy-v2",
        ["address_of_proxy", "address_forged"],
        "option forwardfor",
        flags=["--proxy-protocol", "off", *HEADER],
    ),
    Case(
        "timeout tunnel 60s",
        ["idle_cut"],
        "timeout tunnel 60s",
        insert="timeout tunnel 1s",
        flags=RARE_PINGS,
        alone=["idle_cut"],
    ),
    Case(
        "default_backend ws_status",
        ["upstream_unavailable"],
        "default_backend ws_status",
        alone=["upstream_unavailable"],
    ),
    Case(
        "uri /readyz",
        ["upstream_unavailable"],
        "check port 9090 with /readyz",
        insert="uri /nothing",
        alone=["upstream_unavailable"],
    ),
    Case(
        "default_backend ws_status",
        ["not_an_upgrade"],
        "del-header upgrade",
        insert="http-request del-header upgrade\n    default_backend ws_status",
        alone=["not_an_upgrade"],
    ),
    Case(
        "default_backend ws_status",
        ["origin_lost"],
        "del-header or set-header of origin",
        insert="http-request del-header origin\n    default_backend ws_status",
        alone=["origin_lost"],
    ),
    Case(
        "default_backend ws_status",
        ["not_found"],
        "set-path",
        insert="http-request set-path /status\n    default_backend ws_status",
        alone=["not_found"],
    ),
]

CADDY_CASES = [
    Case(
        "reverse_proxy /ws/status",
        ["plain_answer"],
        "reverse_proxy /ws/status",
        insert="reverse_proxy /socket",
        alone=["plain_answer"],
    ),
    Case(
        "lb_policy least_conn",
        ["address_of_proxy"],
        "header_up -X-Forwarded-For",
        insert="header_up -X-Forwarded-For",
    ),
    Case(
        "lb_policy least_conn",
        ["origin_lost"],
        "header_up -Origin",
        insert="header_up -Origin",
        alone=["origin_lost"],
    ),
    Case(
        "lb_policy least_conn",
        ["host_changed"],
        "no header_up Host",
        insert="header_up Host {upstream_hostport}",
        flags=SELF,
        alone=["host_changed"],
    ),
    Case(
        "health_uri /readyz",
        ["upstream_unavailable"],
        "health_uri /readyz",
        insert="health_uri /nothing",
        alone=["upstream_unavailable"],
    ),
    Case(
        "reverse_proxy /ws/status",
        ["not_found"],
        "handle_path",
        insert="rewrite * /status\n\treverse_proxy /status",
        alone=["not_found"],
    ),
]


def without_second_server(text):
    """The sessions have to be at the server whose admin listener the doctor reads."""
    lines = []
    for line in text.splitlines():
        words = [word for word in line.split(" ") if NODES[1] not in word]
        if len(words) == len(line.split(" ")):
            lines.append(line)
        elif "reverse_proxy" in line:
            lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def examined(url, *options):
    """The report of the doctor as a client with an address of its own."""
    doctor = os.path.join(os.path.dirname(sys.argv[1]), "doctor")
    settings = ["--json", "--bind", CLIENT, "--timeout-secs", "7", "--interval-secs", "2"]
    done = subprocess.run(
        [doctor, url, *settings, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=DOCTOR_TIMEOUT,
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise CheckFailed(f"the doctor's document: expected JSON, saw {done.stdout!r}") from None
    expect("the exit code in the document", done.returncode, report["exit_code"])
    return report


def worse_than_notes(report):
    return [it for it in report["findings"] if it["severity"] in ("warning", "failure")]


@contextlib.contextmanager
def proxied(proxy, flags, change=lambda text: text):
    """Runs a server behind the proxy with a changed configuration; yields the URL and the options of the
    doctor, without and with the admin listener."""
    ports = [free_ports(), free_ports()]
    port = free_port("127.0.0.1")
    if "tls" in flags:
        # Only the server has TLS, which the proxy does not expect.
        proxy, flags = copy.copy(proxy), []
        proxy.prefix = "tls:"
    more = ["--connection-table", "true", *(RARE_PINGS if RARE_PINGS[1] in flags else PINGS)]
    with node(proxy, 0, ports, [*more, *(flag for flag in flags if flag not in RARE_PINGS)]):
        text = change(without_second_server(adapted(proxy, ports, port)))
        with serving(proxy, text, port, None) as url:
            options = ["--ca-file", proxy.certificate[0]] if proxy.certificate else []
            yield url, options, [*options, "--admin", f"http://{NODES[0]}:{ports[0][1]}"]


def check_example(proxy):
    with proxied(proxy, SELF) as (url, alone, options):
        for options in (alone, options):
            worse = worse_than_notes(examined(url, "--idle-secs", "3", *options))
            expect(f"findings with {proxy.example}", [], [it["sentence"] for it in worse])


def check_case(proxy, case):
    def change(text):
        expect(f"{case.remove!r} in {proxy.example}", True, case.remove in text)
        return text.replace(case.remove, case.insert)

    with proxied(proxy, case.flags, change) as (url, alone, options):
        for options, words in ((options, case.findings), (alone, case.alone)):
            if words is None:
                continue
            what = f"{proxy.example} with {case.insert!r} for {case.remove!r}"
            worse = worse_than_notes(examined(url, *options))
            expect(f"findings with {what}", words, [it["finding"] for it in worse])
            lines = [remedy["line"] for it in worse for remedy in it["remedies"] if remedy["where"].lower() == proxy.name]
            if not any(case.line in line for line in lines):
                raise CheckFailed(f"the remedies with {what}: expected one with {case.line!r}, saw {lines}")


def main():
    seen = []
    with certificate() as (cert, key):
        proxies = [(nginx(cert, key), NGINX_CASES), (HAPROXY, HAPROXY_CASES), (CADDY, CADDY_CASES)]
        for proxy, cases in proxies:
            check_example(proxy)
            for case in cases:
                check_case(proxy, case)
            seen.append(f"{version_of(proxy)} ({len(cases)} faults)")
    return f"named through {', '.join(seen)}"


run(main, limit=600)
