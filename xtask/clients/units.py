"""The units for systemd and the manifests for Kubernetes: systemd accepts the units and rates their
exposure as low, their settings are valid, and the manifests are consistent with their settings."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import yaml

from endpoint import CheckFailed, expect, run

DEPLOY = pathlib.Path(__file__).parent.parent.parent / "deploy"

# The maximum exposure of `systemd-analyze security`, of 100; it was 12 when this was written.
EXPOSURE = 20


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_units(pathlib.Path(folder))
    check_settings(["--config", str(DEPLOY / "systemd/ws-status.toml")], {})
    manifests = list(yaml.safe_load_all((DEPLOY / "kubernetes/ws-status.yaml").read_text()))
    check_manifests(manifests)
    check_autoscaling(next(it for it in manifests if it["kind"] == "Deployment"))
    return "systemd accepts the units, and the manifests agree with their settings"


def check_units(folder):
    for unit in (DEPLOY / "systemd").glob("ws-status*.s*"):
        # systemd checks that the program exists, and a template needs an instance.
        text = unit.read_text().replace("/usr/local/bin/ws-status", sys.argv[1])
        (folder / unit.name.replace("@", "@a")).write_text(text)
        (folder / unit.name).write_text(text)
    servers = folder / "ws-status.service", folder / "ws-status@a.service"
    verified = tool("verify", folder / "ws-status.socket", *servers)
    expect("the output of systemd-analyze", "", verified)
    for server in servers:
        tool("security", "--offline=true", f"--threshold={EXPOSURE}", server)
    single, instance = (hardening(server) for server in servers)
    expect("the hardening of the template", single, instance)


def hardening(unit):
    """The lines of a unit after the comment that introduces its hardening."""
    return unit.read_text().partition("# The server needs the network and nothing else.")[2]


def tool(*words):
    command = ["systemd-analyze", "--no-pager", *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise CheckFailed(f"{' '.join(command[:3])}: {done.stdout.strip()[-500:]}")
    return done.stdout.strip()


def check_settings(flags, environment):
    command = [sys.argv[1], "--check-config", *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    warnings = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    # The limit of open files depends on this machine.
    expect("the startup warnings", set(), set(warnings) - {"too_few_open_files"})
    verdict = "the configuration is valid" + (", with a warning" if warnings else "") + "\n"
    expect("the output of --check-config", verdict, done.stdout)
    expect("the exit code of --check-config", 0, done.returncode)


def check_manifests(manifests):
    kinds = {manifest["kind"]: manifest for manifest in manifests}
    expect(
        "the kinds of manifests",
        {"Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"},
        set(kinds),
    )
    pod = kinds["Deployment"]["spec"]["template"]
    container = pod["spec"]["containers"][0]
    variables = {it["name"]: it.get("value", "10.1.2.3") for it in container["env"]}
    # Kubernetes expands references to other variables.
    settings = {
        name: value.replace("$(POD_IP)", variables["POD_IP"])
        for name, value in variables.items()
        if name.startswith("WS_STATUS_")
    }
    check_settings([], settings)

    seconds = {name: float(value) for name, value in settings.items() if name.endswith("_SECS")}
    grace = seconds["WS_STATUS_SHUTDOWN_GRACE_SECS"]
    parts = seconds["WS_STATUS_DRAIN_DELAY_SECS"] + seconds["WS_STATUS_DRAIN_SPREAD_SECS"] + 3
    expect("whether the parts of a shutdown fit into its grace", True, parts <= grace)
    termination = pod["spec"]["terminationGracePeriodSeconds"]
    expect("whether the grace fits into the pod's", True, grace < termination)
    expect("service links", False, pod["spec"]["enableServiceLinks"])

    readiness = container["readinessProbe"]
    noticed = readiness["periodSeconds"] * readiness["failureThreshold"]
    delay = seconds["WS_STATUS_DRAIN_DELAY_SECS"]
    expect("whether readiness is noticed within the delay", True, noticed < delay)
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        expect(f"the port of the {probe}", "admin", container[probe]["httpGet"]["port"])
    for name, setting in (("public", "WS_STATUS_LISTEN"), ("admin", "WS_STATUS_ADMIN_LISTEN")):
        expect(f"the port {name}", ports[name], settings[setting].rpartition(":")[2])
    offered = [port["targetPort"] for port in kinds["Service"]["spec"]["ports"]]
    expect("what the service offers to clients", ["public"], offered)


def check_autoscaling(deployment):
    hpa, scaled, adapter = (
        yaml.safe_load((DEPLOY / f"kubernetes/{name}.yaml").read_text())
        for name in ("autoscaling-hpa", "autoscaling-keda", "prometheus-adapter")
    )
    for autoscaler in (hpa, scaled):
        target = autoscaler["spec"]["scaleTargetRef"]
        expect("the target of the autoscaler", deployment["metadata"]["name"], target["name"])
    behavior = hpa["spec"]["behavior"]
    config = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
    expect("the behavior of the ScaledObject", behavior, config["behavior"])
    pods, trigger = hpa["spec"]["metrics"][0]["pods"], scaled["spec"]["triggers"][0]
    sessions = pods["target"]["averageValue"]
    expect("the threshold of the ScaledObject", sessions, trigger["metadata"]["threshold"])
    metric = pods["metric"]["name"]
    expect("whether the query has the metric", True, metric in trigger["metadata"]["query"])
    found = [rule["seriesQuery"].partition("{")[0] for rule in adapter["rules"]]
    expect("the metric of the adapter", [metric], found)

    pod = deployment["spec"]["template"]["spec"]
    variables = {it["name"]: it.get("value") for it in pod["containers"][0]["env"]}
    # The autoscaler tolerates 10 % above its target.
    both = 2 * 1.1 * int(sessions)
    has_room = both <= int(variables["WS_STATUS_MAX_CONNECTIONS"])
    expect("whether one of two servers has room for the sessions of both", True, has_room)
    period = min(policy["periodSeconds"] for policy in behavior["scaleDown"]["policies"])
    is_over = pod["terminationGracePeriodSeconds"] < period
    expect("whether a drain is over before the next scale-down", True, is_over)


if shutil.which("systemd-analyze") is None:
    sys.exit("units.py: systemd-analyze is missing")
run(main)
