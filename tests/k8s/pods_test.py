"""The pods of overlays/dev as a kubelet would run them, each on a machine of its own: the rendered commands, variables,
volumes and probes, and a DNS server laid out as Kubernetes'. They agree on ledgers, and go on while each of them is moved
to another address in turn, as by a rolling update; and when two crash at once, more than the others can do without.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "network"))

import manifests  # noqa: E402
from lab import Lab, in_namespace, wait_until  # noqa: E402
from overlays_test import DEMO_CORE, KUBECTLS, OVERLAYD, render  # noqa: E402

DOMAIN = "svc.cluster.local"
STARTED_WITHIN_S = 30
READY_WITHIN_S = 60
DRAINED_WITHIN_S = 5
LEDGERS = 3


class Names:
    """Kubernetes' DNS: a name for each pod of the headless Service, and the Service's own for all of them."""

    def __init__(self, machine, folder, namespace, service):
        self.machine = machine
        self.hosts = pathlib.Path(folder) / "hosts"
        self.zone = f"{service}.{namespace}.{DOMAIN}"
        self.addresses = {}
        self.hosts.write_text("", encoding="ascii")
        self.process = machine.start(
            ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
             "--pid-file=", f"--addn-hosts={self.hosts}", "--local-ttl=5", f"--local=/{DOMAIN}/", "--cache-size=0",
             f"--listen-address={machine.address}", "--bind-interfaces"], stderr=subprocess.DEVNULL)

    def set(self, pod, address):
        self.addresses[pod] = address
        lines = [f"{address} {name}.{self.zone} {self.zone}\n" for name, address in self.addresses.items()]
        self.hosts.write_text("".join(lines), encoding="ascii")
        self.process.send_signal(signal.SIGHUP)


class Pod:
    """What a kubelet makes of the template: sidecar first, then the core; the other way round at the end."""

    def __init__(self, dev, name, machine, folder):
        self.dev = dev
        self.name = name
        self.machine = machine
        self.address = machine.address
        self.folder = os.path.join(folder, name)
        self.folders = dev.lay_out(self.folder, name, OVERLAYD)
        self.overlay = None
        self.core = None
        self.node = None
        self.lives = 0

    def start_process(self, container, program):
        arguments, environment = self.dev.command_of(container, self.name, self.folders)
        name = f"{container['name']}-{self.lives}"
        with open(os.path.join(self.folder, name + ".out"), "wb") as out, \
                open(os.path.join(self.folder, name + ".log"), "wb") as log:
            return self.machine.start(["/usr/bin/env", "-i", *(f"{k}={v}" for k, v in environment.items()), program,
                                       *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=log)

    def log(self, container):
        return pathlib.Path(self.folder, f"{container}-{self.lives}.log").read_text(encoding="utf-8", errors="replace")

    def start(self, test):
        self.lives += 1
        self.overlay = self.start_process(self.dev.overlay, OVERLAYD)
        wait_until(f"{self.name} has started", STARTED_WITHIN_S, lambda: self.passes("startupProbe"))
        line = pathlib.Path(self.folder, f"overlay-{self.lives}.out").read_text(encoding="utf-8").split("\n")[0]
        node = json.loads(line)["node"]
        test.assertIn(self.node, (None, node), "another life has the same key")
        self.node = node
        test.assertIsNot(self.passes("readinessProbe"), True, "not ready without its core")
        self.core = self.start_process(self.dev.core, DEMO_CORE)

    def passes(self, probe):
        get = self.dev.overlay[probe]["httpGet"]
        port = self.dev.ports()[get["port"]]["containerPort"]

        def ask():
            try:
                url = f"http://{self.address}:{port}{get['path']}"
                with urllib.request.urlopen(url, timeout=self.dev.overlay[probe]["timeoutSeconds"]) as answer:
                    return 200 <= answer.status < 400 or answer.status
            except (urllib.error.URLError, OSError) as error:
                return f"{error}"

        return in_namespace(self.machine.namespace, ask)()

    def closed(self):
        """slot -> hash, of the core's present life."""
        text = pathlib.Path(self.folder, f"core-{self.lives}.out").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
        return {line["s"]: line["hash"] for line in lines if line["e"] == "closed"}

    def stop(self, test):
        """The core first; then the sidecar, which must end well within its time."""
        self.core.send_signal(signal.SIGTERM)
        test.assertEqual(self.core.wait(DRAINED_WITHIN_S), 0, self.log("core"))
        self.overlay.send_signal(signal.SIGTERM)
        test.assertEqual(self.overlay.wait(DRAINED_WITHIN_S), 0, self.log("overlay"))

    def crash(self):
        for process in (self.core, self.overlay):
            process.kill()
        for process in (self.core, self.overlay):
            process.wait()

    def move(self, address):
        self.machine.run("ip", "address", "del", f"{self.address}/16", "dev", "wire")
        self.machine.run("ip", "address", "add", f"{address}/16", "dev", "wire")
        self.address = address


class Pods(unittest.TestCase):
    def resolve_by(self, machine, server, namespace):
        """What /etc/resolv.conf of a pod has; `ip netns exec` puts it there."""
        folder = pathlib.Path("/etc/netns") / machine.namespace
        folder.mkdir(parents=True)
        self.addCleanup(folder.rmdir)
        file = folder / "resolv.conf"
        file.write_text(f"search {namespace}.{DOMAIN} {DOMAIN} cluster.local\nnameserver {server}\noptions ndots:5\n",
                        encoding="ascii")
        self.addCleanup(file.unlink)

    def await_ready(self, pods):
        for pod in pods:
            wait_until(f"{pod.name} is ready", READY_WITHIN_S, lambda p=pod: p.passes("readinessProbe"))
            self.assertIs(pod.passes("livenessProbe"), True)

    def await_ledgers(self, pods):
        """Each closes some more."""
        before = {pod.name: len(pod.closed()) for pod in pods}
        for pod in pods:
            wait_until(f"{pod.name} closes ledgers", READY_WITHIN_S,
                       lambda p=pod: len(p.closed()) >= before[p.name] + LEDGERS or sorted(p.closed())[-3:])

    def test_they_agree_and_go_on_while_each_is_moved_and_when_two_crash(self):
        dev = manifests.Manifests(render(KUBECTLS[0], ROOT / "k8s" / "overlays" / "dev"), ROOT)
        with tempfile.TemporaryDirectory(prefix="overlay-pods-") as folder, Lab(dev.replicas() + 1) as lab:
            names = Names(lab.machines[-1], folder, dev.namespace, dev.set["spec"]["serviceName"])
            pods = [Pod(dev, name, machine, folder)
                    for name, machine in zip(dev.pod_names(), lab.machines, strict=False)]
            for pod in pods:
                self.resolve_by(pod.machine, lab.machines[-1].address, dev.namespace)
            for pod in pods:  # a name comes with the pod's address, whenever that is
                pod.start(self)
                names.set(pod.name, pod.address)
            self.await_ready(pods)
            self.await_ledgers(pods)
            agreed = {}

            def remember():
                for pod in pods:
                    agreed.update({slot: (pod.name, digest) for slot, digest in pod.closed().items()})

            for i, pod in enumerate(reversed(pods)):  # as a StatefulSet is rolled
                remember()
                pod.stop(self)
                self.await_ledgers([other for other in pods if other is not pod])
                pod.move(f"10.77.1.{i + 1}")
                names.set(pod.name, pod.address)
                pod.start(self)
                self.await_ready([pod])
                self.await_ledgers([pod])
            remember()
            for pod in pods[:2]:
                pod.crash()
            for pod in pods[:2]:
                pod.start(self)
            self.await_ready(pods[:2])
            self.await_ledgers(pods)
            for pod in pods:
                for slot, digest in pod.closed().items():
                    self.assertEqual(agreed.setdefault(slot, (pod.name, digest))[1], digest, f"ledger {slot}")
            for pod in pods:
                pod.stop(self)


if __name__ == "__main__":
    unittest.main()
