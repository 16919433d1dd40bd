"""A Kubernetes control plane on this machine's loopback: etcd, API server, controller manager, scheduler, and kwok, which
plays the nodes. Everything ends with `stop`.
"""
import glob
import json
import os
import pathlib
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from waiting import Failure, until  # noqa: E402

STARTED_WITHIN_S = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class ControlPlane:
    def __init__(self, programs, folder):
        self.programs = programs
        self.folder = folder
        self.token = secrets.token_hex(16)
        self.port = free_port()
        self.processes = {}
        # The server makes its own certificate; nobody else is on this loopback port.
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def launch(self, name, *words):
        with open(self.path(f"{name}.log"), "wb") as log:
            self.processes[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                    cwd=self.folder)

    def check_alive(self):
        for name, process in self.processes.items():
            if process.poll() is not None:
                with open(self.path(f"{name}.log"), encoding="utf-8", errors="replace") as log:
                    raise Failure(f"{name} ended with {process.returncode}: {log.read()[-2000:]}")

    def start(self):
        etcd = shutil.which("etcd") or "/usr/bin/etcd"
        client, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        self.launch("etcd", etcd, "--data-dir", self.path("etcd"), "--listen-client-urls", client,
                    "--advertise-client-urls", client, "--listen-peer-urls", peer,
                    "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                    "--unsafe-no-fsync")
        key = self.path("service-account.key")
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        tokens = self.write("tokens.csv", f"{self.token},admin,admin,system:masters\n")
        self.launch("apiserver", self.programs["kube"], "kube-apiserver", f"--etcd-servers={client}",
                    "--bind-address=127.0.0.1", f"--secure-port={self.port}", f"--cert-dir={self.path('certificates')}",
                    f"--token-auth-file={tokens}", "--authorization-mode=RBAC", "--service-account-issuer=overlayd",
                    f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
                    "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none")
        until("the API server is ready", STARTED_WITHIN_S, self.is_ready)
        kubeconfig = self.write("kubeconfig", json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"https://127.0.0.1:{self.port}",
                                                      "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}]}))
        self.launch("controller-manager", self.programs["kube"], "kube-controller-manager",
                    f"--kubeconfig={kubeconfig}", f"--service-account-private-key-file={key}", "--leader-elect=false",
                    "--secure-port=0")
        self.launch("scheduler", self.programs["kube"], "kube-scheduler", f"--kubeconfig={kubeconfig}",
                    "--leader-elect=false", "--secure-port=0")
        stages = [f"--config={path}" for path in sorted(glob.glob(os.path.join(self.programs["stages"], "*.yaml")))]
        self.launch("kwok", self.programs["kwok"], f"--kubeconfig={kubeconfig}", "--manage-all-nodes=true",
                    "--node-lease-duration-seconds=40", *stages)

    def is_ready(self):
        self.check_alive()
        try:
            self.call("GET", "/readyz")
            return True
        except (Refused, OSError):
            return False

    def stop(self):
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in reversed(self.processes.values()):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # ---- the API

    def call(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": f"Bearer {self.token}", "Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.tls) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                message = json.loads(text)["message"]
            except (ValueError, KeyError, TypeError):
                message = text
            raise Refused(error.code, message) from None
        return json.loads(text) if text.startswith(b"{") else text

    PLURALS = {"NetworkPolicy": "networkpolicies"}

    def path_of(self, document):
        version, kind = document["apiVersion"], document["kind"]
        plural = self.PLURALS.get(kind, kind.lower() + "s")
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        namespace = document["metadata"].get("namespace")
        return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"

    def apply(self, document, more=""):
        """Server-side apply; the server refuses what it does not know."""
        path = f"{self.path_of(document)}/{document['metadata']['name']}"
        return self.call("PATCH", f"{path}?fieldManager=overlayd&fieldValidation=Strict&force=true{more}", document,
                         "application/apply-patch+yaml")
