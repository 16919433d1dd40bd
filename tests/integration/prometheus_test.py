"""A real Prometheus scrapes real daemons, from idle to load: every rule and every query of the dashboard gives values
that move with it, and alerts fire when what they are about is done to a daemon."""

import json
import math
import os
import pathlib
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import grpc
import yaml

import daemon as d
from daemon import operator_pb2
from overlayd_test import Folder, code_of

sys.path.insert(0, str(d.ROOT / "tests" / "monitoring"))
sys.path.insert(0, str(d.ROOT / "scripts"))
import sources  # noqa: E402
from network import processes  # noqa: E402

PATIENCE_S = 120
SCRAPE_S = 0.5
# What Grafana makes of $__rate_interval is at least four scrapes. Here more: what happens once must not be missed by
# a machine that is too slow for most of them.
RATE_INTERVAL = f"{int(20 * SCRAPE_S)}s"
# Durations of the rules are shorter here, or a test would take an hour.
FASTER = 60
NODES = 3
CLOCK_BEHIND_S = 20
# More than a reader takes without reading.
LARGE_SET_BYTES = 4_000_000

# Queries whose figures stand still in a network that is well: their series must be there, for every daemon.
STILL = {
    "Version/A": "the label says it, the value is 1",
    "Memory pressed/A": "memory.max is far away",
    "Payloads held/B": "memory.max is far away",
    "Let go for memory/A": "memory.max is far away",
    "Own mistakes/A": "there are none",
    "Core to wire/A": "the median is in the first bucket",
    "Wait for the core to read/A": "the cores read at once",
    "Lost between peers and core/A": "the cores read at once",
    "Offences/A": "nobody breaks the protocol",
    "Log lines lost/A": "somebody reads the log",
    "Demands that failed/A": "everybody answers",
    "Demands timed out/A": "everybody answers",
    "Second sources/A": "the first one has it",
    "Second sources/B": "the first one has it",
    "instance:overlay_tx_demand_timeouts:ratio_rate5m": "everybody answers",
}


def seconds_of(duration):
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[duration[-1]]


def faster(duration):
    return f"{max(1, seconds_of(duration) // FASTER)}s"


def faster_rules(rules):
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[(\d+[smhd])\]", lambda found: f"[{faster(found[1])}]", rule["expr"])
            if "for" in rule:
                rule["for"] = faster(rule["for"])
    return rules


def as_grafana(expression, namespace=".*", pod=".*", instance=".*"):
    """With its variables put in: All is what each variable's allValue says."""
    for name, value in (("namespace", namespace), ("pod", pod), ("instance", instance),
                        ("__rate_interval", RATE_INTERVAL)):
        expression = expression.replace(f"${name}", value)
    return expression


class Prometheus:
    def __init__(self, folder, daemons):
        self.folder = pathlib.Path(folder)
        (self.folder / "rules.yaml").write_text(yaml.safe_dump(faster_rules(sources.rules())))
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "n/overlayd", "static_configs": [
                {"targets": [daemon.ready["metrics"]], "labels": {"namespace": "n", "pod": daemon.name}}
                for daemon in daemons]}]}))
        self.log = open(self.folder / "prometheus.log", "w")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
             "--web.listen-address=127.0.0.1:0"], stdout=self.log, stderr=self.log)
        self.address = None
        self.began = time.time()

    def find_address(self):
        """The port that it got: of the listening sockets the one that is its own."""
        inodes = set()
        try:
            for fd in os.scandir(f"/proc/{self.process.pid}/fd"):
                link = os.readlink(fd.path)
                if link.startswith("socket:["):
                    inodes.add(link[8:-1])
        except OSError:
            return False
        for table in ("tcp", "tcp6"):
            for line in pathlib.Path(f"/proc/{self.process.pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    self.address = "127.0.0.1:%d" % int(fields[1].split(":")[1], 16)
        return self.address is not None and self.is_ready()

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5) as page:
                return page.status == 200
        except OSError:
            return False

    def get(self, path, **parameters):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as page:
                answer = json.load(page)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error
        return answer["data"]

    def query(self, expression):
        """Its series: labels and value, without those that are no number."""
        result = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result
                if math.isfinite(float(series["value"][1]))]

    def history(self, expression):
        """Its series, each with all the values that it has had since the first scrape."""
        result = self.get("query_range", query=expression, start=self.began, end=time.time(), step=SCRAPE_S)["result"]
        return [(series["metric"], {float(value) for _, value in series["values"] if math.isfinite(float(value))})
                for series in result]

    def firing(self):
        return {(alert["labels"]["alertname"], alert["labels"].get("pod"))
                for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"}

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


class Watched:
    """One query, and the values that each of its series has had: of the whole time, because some move for a moment."""

    def __init__(self, name, expression):
        self.name = name
        self.expression = expression
        self.values = {}

    def look(self, prometheus):
        for labels, values in prometheus.history(self.expression):
            if values:
                self.values[tuple(sorted(labels.items()))] = values

    def has_moved(self):
        return any(len(values) > 1 for values in self.values.values())

    def is_satisfied(self):
        if self.name not in STILL:
            return self.has_moved()
        pods = {dict(labels).get("pod") for labels in self.values}
        return len(pods) == NODES


class PrometheusTest(Folder):
    def setUp(self):
        super().setUp()
        self.cores = []
        self.next_look = 0.0
        self.addCleanup(self.end_cores)

    def end_cores(self):
        for core in self.cores:
            if core.poll() is None:
                core.kill()
            core.wait()
            core.stdin.close()

    def until(self, what, condition, seconds=PATIENCE_S):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, what() if callable(what) else what)
            select.select([], [], [], 0.1)

    def start_network(self):
        """A star around the first daemon, which has a name and an address that leads nowhere, too. The last one's
        clock is behind."""
        step = self.folder / "step"
        step.write_bytes(struct.pack("=q", -CLOCK_BEHIND_S))
        hub = self.start("node-0", "--peers.file", str(self.folder / "peers"), "--peers.known", "127.0.0.1:1",
                         "--http3.listen", "127.0.0.1:0")
        port = hub.ready["peer"].rsplit(":", 1)[1]
        self.start("node-1", "--peers.known", f"localhost:{port}")
        self.start("node-2", "--peers.known", f"localhost:{port}", environment={
            "LD_PRELOAD": os.environ["TEST_CLOCK_STEP"], "CLOCK_STEP_FILE": str(step)})

    def start_cores(self):
        corpus = pathlib.Path(os.environ.get("OVERLAY_CORPUS", d.ROOT.parent / "shared" / "corpus"))
        transactions = corpus / "pubnet-63092982-63093001.tx-envelopes.xdr.gz"
        more = ["--transactions", str(transactions)] if transactions.exists() else []
        keys = [d.run("keygen").stdout.split() for _ in self.daemons]
        validators = [public for _, public in keys]
        for i, daemon in enumerate(self.daemons):
            log = open(self.folder / f"core-{i}.log", "w")
            self.cores.append(subprocess.Popen(
                [os.environ["TEST_DEMO_CORE"], "--daemon", daemon.ready["api"], "--seed", keys[i][0], "--control",
                 "--report", str(self.folder / f"core-{i}.jsonl"), "--network", d.PASSPHRASE,
                 "--quorum-set", processes.quorum_set(validators, i),
                 "--peers", ",".join(other.ready["peer"] for other in self.daemons if other is not daemon),
                 "--ledger-ms", "500", "--timeout-ms", "300", "--tx-first", str(i), "--tx-stride", str(NODES),
                 "--tps", "30", *more],
                stdin=subprocess.PIPE, stdout=log, stderr=log))
            log.close()

    def provoke(self):
        """What a network that is well has not: cores that fight for a daemon, and a peer that is banned for a while."""
        hub = self.daemons[0]
        first = d.Core(hub)
        self.large_set = first.offer_set(os.urandom(LARGE_SET_BYTES)).hex()
        code, _ = code_of(lambda: d.Core(hub))
        self.assertEqual(code, grpc.StatusCode.FAILED_PRECONDITION)
        second = d.Core(hub, takeover=True)
        first.ended()
        second.close()
        self.until("the core is gone", lambda: hub.metrics()["overlay_core_attached_count"] == 0)
        for core in (first, second):
            core.close()
        observer = d.Core(hub, observer=True)
        self.until("Prometheus sees the observer", lambda: any(
            value == 1 for _, value in self.prometheus.query("overlay_core_observers_count")))
        observer.close()

    def look_through_window(self):
        """A page, one that there is not, and what is no QUIC; not so often that it is a flood of handshakes."""
        if time.monotonic() < self.next_look:
            return
        self.next_look = time.monotonic() + 1
        address = self.daemons[0].ready["http3"]
        for path in ("/status", "/nothing"):
            done = subprocess.run([os.environ["TEST_HTTP3_GET"], address, "GET", path], capture_output=True, text=True,
                                  timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
        host, port = address.rsplit(":", 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as junk:
            junk.sendto(bytes(40), (host, int(port)))

    def ban_and_unban(self):
        hub, other = self.daemons[0], self.daemons[1]
        # A name that there is not, and an address to which no daemon may send.
        for address in ("no-such-host.invalid:1", "255.255.255.255:1"):
            hub.operator().Connect(operator_pb2.ConnectRequest(address=address), timeout=20)
        hub.operator().Ban(operator_pb2.BanRequest(peer=other.ready["node"], reason="a test"), timeout=20)
        self.until("Prometheus sees the ban", lambda: any(
            value == 1 for _, value in self.prometheus.query("overlay_peers_banned_count")))
        hub.operator().Unban(operator_pb2.UnbanRequest(peer=other.ready["node"]), timeout=20)

    def watch_until_all_moved(self, watched):
        def unsatisfied():
            return [w for w in watched if not w.is_satisfied()]

        def all_moved():
            self.look_through_window()
            for one in unsatisfied():
                one.look(self.prometheus)
            return not unsatisfied()

        self.until(lambda: "no values that move: " + "\n".join(
            f"{w.name}: {w.expression} {w.values}" for w in unsatisfied()), all_moved)

    def fires(self, alert, pod):
        self.until(lambda: f"{alert} of {pod} does not fire: {sorted(self.prometheus.firing())}",
                   lambda: (alert, pod) in self.prometheus.firing())

    def test_every_rule_and_every_query_says_something_and_alerts_fire(self):
        self.start_network()
        self.prometheus = Prometheus(self.folder, self.daemons)
        self.addCleanup(self.prometheus.stop)
        self.until("Prometheus is ready", self.prometheus.find_address)

        # Idle: peers, and no core.
        for daemon in self.daemons:
            self.fires("OverlayCoreDetached", daemon.name)
        watched = [Watched(title, as_grafana(expression)) for title, expression in sources.targets()]
        watched += [Watched(name, name) for name in sources.recorded()]
        self.provoke()

        # Load.
        self.start_cores()
        self.ban_and_unban()
        d.hold_window(self, self.daemons[0], 2, f"/txsets/{self.large_set}")
        self.watch_until_all_moved(watched)
        self.until_rates_have_risen()
        self.check_rules()
        self.check_variables()
        self.check_that_a_wrong_name_is_found()
        self.until(lambda: f"critical alerts: {sorted(self.prometheus.firing())}", lambda: not [
            alert for alert in self.prometheus.firing()
            if alert[0] in ("OverlayDown", "OverlayCoreDetached", "OverlayNoPeers", "OverlayScpSilent")])
        # With both others to compare with, the two whose clocks are right know it.
        self.until(lambda: f"clocks: {sorted(self.prometheus.firing())}", lambda: [
            pod for alert, pod in sorted(self.prometheus.firing()) if alert == "OverlayClockOff"] == ["node-2"])

        # One core alone closes no ledger; one daemon alone has no peer.
        for core in self.cores[1:]:
            core.kill()
        self.fires("OverlayLedgerStuck", "node-0")
        for daemon in self.daemons[1:]:
            self.assertEqual(daemon.stop(signal.SIGKILL), -signal.SIGKILL)
            self.fires("OverlayDown", daemon.name)
        self.fires("OverlayNoPeers", "node-0")

    def until_rates_have_risen(self):
        """From before the cores to now, of what the load is made of."""
        for metric in ("overlay_scp_delivered_total", "overlay_scp_broadcast_total", "overlay_tx_submitted_total",
                       'overlay_tx_received_total{outcome="new"}', 'overlay_wire_bytes_total{direction="out"}'):
            rate = f"rate({metric}[{RATE_INTERVAL}])"
            risen = f"{rate} > 2 * min_over_time({rate}[10m:1s])"
            self.until(lambda: f"{risen}: {self.prometheus.query(risen)}",
                       lambda: len(self.prometheus.query(risen)) == NODES)

    def check_rules(self):
        seen = 0
        for group in self.prometheus.get("rules")["groups"]:
            for rule in group["rules"]:
                seen += 1
                self.assertEqual(rule["health"], "ok", rule)
        self.assertEqual(seen, len(sources.all_rules()))

    def check_variables(self):
        """Their values are offered, and one daemon alone can be looked at."""
        for label, wanted in (("namespace", ["n"]), ("pod", [f"node-{i}" for i in range(NODES)])):
            self.assertEqual(self.prometheus.get(f"label/{label}/values", **{"match[]": "overlay_process_info"}), wanted)
        instance = re.escape(self.daemons[1].ready["metrics"])
        for title, expression in sources.targets():
            series = self.prometheus.query(as_grafana(expression, "n", "node-1", instance.replace("\\", "\\\\")))
            if "namespace:" in expression or title in STILL:
                continue
            for labels, _ in series:
                self.assertEqual(labels.get("pod"), "node-1", expression)

    def check_that_a_wrong_name_is_found(self):
        """What watch_until_all_moved waits for is not there when a query names a metric that does not exist."""
        for title, expression in sources.targets():
            name = next(iter(sources.metrics_in(expression) or re.findall(r"[\w:]*overlay_[\w:]+", expression)))
            wrong = Watched(title, as_grafana(expression.replace(name, name.replace("overlay_", "overlay_no_"))))
            self.assertNotEqual(wrong.expression, as_grafana(expression))
            wrong.look(self.prometheus)
            self.assertFalse(wrong.is_satisfied(), wrong.expression)


if __name__ == "__main__":
    unittest.main()
