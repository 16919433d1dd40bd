"""Nodes as the pods of a Kubernetes StatefulSet are: machines of their own (network namespaces), found by names of a
headless service, which a real DNS server (dnsmasq) has 30 s late, and with another address after each restart.

Needs root, iproute2 and dnsmasq.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import threading

from .lab import Lab, in_namespace

NAME = "overlay-{}.overlay.validators.svc.cluster.local"
SEARCH = "validators.svc.cluster.local svc.cluster.local cluster.local"
PEER_PORT = 11625
NAMES_AFTER_S = 30.0
# What CoreDNS gives for a cluster's names.
TTL_S = 5


class Pod:
    """The machine of one node."""

    def __init__(self, pods, index, machine):
        self.pods, self.index, self.machine = pods, index, machine
        self.name = NAME.format(index)
        self.address = machine.address
        self.lives = 0

    def begin_life(self):
        """To be called before its daemon starts: from the second time on it comes back elsewhere."""
        self.lives += 1
        if self.lives == 1:
            return
        old, self.address = self.address, f"10.77.{self.lives}.{self.index + 1}"
        self.machine.run("ip", "address", "delete", f"{old}/16", "dev", "wire")
        self.machine.run("ip", "address", "add", f"{self.address}/16", "dev", "wire")
        self.pods.publish()

    def command(self, *words):
        return self.machine.inside(*words)

    def inside(self, work):
        return in_namespace(self.machine.namespace, work)()

    def settings(self, folder):
        """Of the daemon's file, by section."""
        known = [f"{pod.name}:{PEER_PORT}" for pod in self.pods.all]
        return {"peer": {"listen": f"[::]:{PEER_PORT}"},
                "peers": {"known": known, "file": os.path.join(folder, "peers")},
                "metrics": {"listen": "127.0.0.1:9464"}}


class Pods:
    def __init__(self, count, folder):
        self.lab = Lab(count + 1)
        self.lab.__enter__()
        self.server = self.lab.machines[count]
        self.hosts = pathlib.Path(folder) / "hosts"
        self.all = [Pod(self, i, machine) for i, machine in enumerate(self.lab.machines[:count])]
        self.known = False
        self.dnsmasq = None
        self.folders = []
        for pod in self.all:
            # `ip netns exec` shows this as /etc/resolv.conf, and kubelet writes the like.
            own = pathlib.Path("/etc/netns") / pod.machine.namespace
            own.mkdir(parents=True)
            self.folders.append(own)
            (own / "resolv.conf").write_text(
                f"nameserver {self.server.address}\nsearch {SEARCH}\noptions ndots:5\n", encoding="utf-8")
        self.publish()
        self.dnsmasq = self.server.start(
            ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
             "--pid-file=", f"--addn-hosts={self.hosts}", f"--local-ttl={TTL_S}", f"--neg-ttl={TTL_S}",
             "--local=/cluster.local/", f"--listen-address={self.server.address}", "--bind-interfaces",
             "--cache-size=0"], stderr=subprocess.DEVNULL)
        self.timer = threading.Timer(NAMES_AFTER_S, self.become_known)
        self.timer.daemon = True
        self.timer.start()

    def become_known(self):
        self.known = True
        self.publish()

    def publish(self):
        lines = [f"{pod.address} {pod.name}\n" for pod in self.all] if self.known else []
        self.hosts.write_text("".join(lines), encoding="utf-8")
        if self.dnsmasq is not None:
            self.dnsmasq.send_signal(signal.SIGHUP)  # read again

    def close(self):
        self.timer.cancel()
        self.lab.__exit__()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
