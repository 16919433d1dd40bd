"""A daemon on a machine of a lab, looked at through its operator API (a unix socket, so from outside the namespace)."""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import daemon  # noqa: E402
from daemon import operator_pb2  # noqa: E402

PORT = 11625


class Node:
    def __init__(self, machine, folder, name=None, key=None):
        """`key`: of the same name's node before this one, whose key file and sockets it takes over."""
        self.machine = machine
        self.folder = pathlib.Path(folder)
        self.name = name or f"node{machine.number}"
        self.key_file = self.folder / (self.name + ".key")
        self.key = key
        if key is None:
            made = daemon.run("keygen", "--out", str(self.key_file))
            assert made.returncode == 0, made.stderr
            self.key = made.stdout.strip()
        self.entry = f"{self.key}@{machine.address}:{PORT}"

    def start(self, *words, known=(), through=()):
        """`through`: a command that runs the daemon. Does not wait: ready() does."""
        log = open(self.folder / (self.name + ".log"), "a", encoding="utf-8")
        self.process = self.machine.start(
            [*through, daemon.OVERLAYD, "--node.key_file", str(self.key_file), "--network.passphrase",
             daemon.PASSPHRASE, "--peer.listen", f"[::]:{PORT}", "--api.listen", f"unix:{self.folder}/{self.name}.core",
             "--operator.listen", f"unix:{self.folder}/{self.name}.operator", "--peers.known", ",".join(known), *words],
            stdout=subprocess.PIPE, stderr=log, text=True, env=daemon.clean_environment())
        log.close()
        return self

    def ready(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"{self.name} ended: {(self.folder / (self.name + '.log')).read_text()}")
        ready = json.loads(line)
        self.operator = daemon.operator_pb2_grpc.OperatorStub(daemon.grpc.insecure_channel(ready["operator"]))
        return self

    def metrics(self):
        """By name; those with labels by name{value,...}, in the order of the labels."""
        figures = {}
        for sample in self.operator.Metrics(operator_pb2.MetricsRequest(), timeout=10).samples:
            labels = ",".join(label.value for label in sample.labels)
            figures[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
        return figures

    def peers(self):
        return [peer for part in self.operator.ListPeers(operator_pb2.ListPeersRequest(), timeout=10)
                for peer in part.peers]

    def connected(self):
        return [peer for peer in self.peers() if peer.state == operator_pb2.PeerDetail.STATE_CONNECTED]

    def anonymous_bytes(self):
        """Resident memory that is no file's: not the pages of libraries that are touched for the first time."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon:"))
