"""Applies both overlays of k8s/ to a real control plane with simulated nodes, and looks at what becomes of them.

usage: apply.py FOLDER    FOLDER/bin has kube and kwok. To be run by tests/k8s/environment.py, which has YAML and kubectl.
"""
import copy
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import yaml

from control_plane import ControlPlane, Failure, Refused, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEDULED_WITHIN_S = 120
ROLLED_WITHIN_S = 400
NODES = 4
# Of the Prometheus operator's kind, the part that k8s/ uses: what it does not have is refused, as by the whole.
TEXT = {"type": "string"}
POD_MONITOR = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "podmonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"kind": "PodMonitor", "listKind": "PodMonitorList", "plural": "podmonitors", "singular": "podmonitor"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": {
                "type": "object", "required": ["selector"], "properties": {
                    "selector": {"type": "object", "properties": {
                        "matchLabels": {"type": "object", "additionalProperties": TEXT}}},
                    "podMetricsEndpoints": {"type": "array", "items": {"type": "object", "properties": {
                        "port": TEXT, "path": TEXT, "interval": TEXT, "scrapeTimeout": TEXT}}}}}}}}}],
    },
}


def say(*words):
    print("k8s:", *words, flush=True)


def render(overlay):
    text = subprocess.run([os.environ["TEST_KUBECTL"], "kustomize", str(ROOT / "k8s" / "overlays" / overlay)],
                          check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def node(i):
    size = {"cpu": "16", "memory": "64Gi", "pods": "20"}
    name = f"node-{i}"
    return {"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
                                                  "topology.kubernetes.io/zone": f"zone-{i % 3}"}},
            "status": {"allocatable": size, "capacity": size}}


def volume(i):
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"volume-{i}"},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                     "hostPath": {"path": f"/nowhere/{i}"}}}


class Cluster:
    def __init__(self, plane):
        self.plane = plane

    def prepare(self):
        for i in range(NODES):
            self.plane.call("POST", "/api/v1/nodes", node(i))
        for i in range(2 * NODES):
            self.plane.call("POST", "/api/v1/persistentvolumes", volume(i))
        self.plane.apply(POD_MONITOR)
        until("the nodes are ready", SCHEDULED_WITHIN_S, lambda: all(
            any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"].get("conditions", []))
            and not n["spec"].get("taints") for n in self.plane.call("GET", "/api/v1/nodes")["items"]))

    def apply(self, documents):
        for document in documents:
            until(f"{document['kind']} is known", 30, lambda d=document: self.is_known(d))
            self.plane.apply(document)

    def is_known(self, document):
        try:
            self.plane.call("GET", self.plane.path_of(document))
            return True
        except Refused as refusal:
            if refusal.code == 404:
                return False
            raise

    def pods(self, namespace):
        self.plane.check_alive()
        return self.plane.call("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]

    def set_of(self, namespace):
        return self.plane.call("GET", f"/apis/apps/v1/namespaces/{namespace}/statefulsets/validator")

    def ready(self, namespace):
        return sorted(pod["metadata"]["name"] for pod in self.pods(namespace)
                      if "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") == "Running" and
                      any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])))

    def await_ready(self, namespace, count):
        try:
            until("ready", SCHEDULED_WITHIN_S, lambda: len(self.ready(namespace)) == count)
        except Failure:
            events = self.plane.call("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
            raise Failure(f"{namespace}: ready are {self.ready(namespace)} of {count}; "
                          f"{[event['message'] for event in events][-5:]}") from None

    def cordon(self, is_closed):
        for i in range(NODES):
            self.plane.call("PATCH", f"/api/v1/nodes/node-{i}", {"spec": {"unschedulable": is_closed}},
                            "application/merge-patch+json")

    def evict(self, namespace, pod):
        self.plane.call("POST", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction",
                        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod,
                                                                                   "namespace": namespace}})

    def allowed_evictions(self, namespace):
        budget = self.plane.call("GET", f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/validator")
        return budget.get("status", {}).get("disruptionsAllowed", 0)


def expect_refused(what, code, call):
    try:
        call()
    except Refused as refusal:
        if refusal.code != code:
            raise Failure(f"{what} was refused with {refusal}, expected {code}") from None
        return refusal.message
    raise Failure(f"{what} was not refused")


def check_validation(cluster, documents):
    """That the server does look: what is misspelt, or impossible, is refused."""
    changes = {"maxUnavailable": ("PodDisruptionBudget", lambda d: d["spec"].update(maxUnavailble=1)),
               "a port of 80800": ("Service", lambda d: d["spec"]["ports"][0].update(port=80800))}
    for what, (kind, change) in changes.items():
        document = copy.deepcopy(next(d for d in documents if d["kind"] == kind))
        change(document)
        try:
            cluster.plane.apply(document, "&dryRun=All")
        except Refused as refusal:
            say(f"a wrong {kind} is refused: {refusal.message[:120]}")
        else:
            raise Failure(f"a {kind} with {what} wrong was accepted")


def check_dev(cluster):
    documents = render("dev")
    namespace = next(d for d in documents if d["kind"] == "StatefulSet")["metadata"]["namespace"]
    cluster.apply(documents)
    check_validation(cluster, documents)
    cluster.await_ready(namespace, 4)
    pods = cluster.pods(namespace)
    nodes = {pod["spec"]["nodeName"] for pod in pods}
    if len(nodes) != 4:
        raise Failure(f"four pods on {nodes}")
    slices = cluster.plane.call("GET", f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")["items"]
    names = {e["hostname"] for s in slices for e in s["endpoints"] or [] if "hostname" in e}
    if names != {f"validator-{i}" for i in range(4)}:
        raise Failure(f"the headless Service has the names {names}")
    say(f"dev: {len(pods)} pods run on {len(nodes)} nodes, each with its name in the headless Service")
    roll(cluster, namespace)
    evict(cluster, namespace)


def roll(cluster, namespace):
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in cluster.pods(namespace)}
    began = time.monotonic()
    cluster.plane.call("PATCH", f"/apis/apps/v1/namespaces/{namespace}/statefulsets/validator",
                       {"spec": {"template": {"metadata": {"annotations": {"rolled": "once"}}}}},
                       "application/strategic-merge-patch+json")
    fewest = [4]

    def is_rolled():
        fewest[0] = min(fewest[0], len(cluster.ready(namespace)))
        found = cluster.set_of(namespace)
        status = found["status"]
        return (status.get("observedGeneration") == found["metadata"]["generation"] and
                status.get("updatedReplicas") == 4 and status.get("availableReplicas") == 4 and
                status["currentRevision"] == status["updateRevision"])

    until("the update is rolled out", ROLLED_WITHIN_S, is_rolled)
    after = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in cluster.pods(namespace)}
    if set(before) != set(after) or set(before.values()) & set(after.values()):
        raise Failure(f"pods before and after the update: {before}, {after}")
    if fewest[0] < 3:
        raise Failure(f"the update left {fewest[0]} of 4 pods ready")
    say(f"dev: an update rolled through 4 pods in {time.monotonic() - began:.0f} s, never fewer than {fewest[0]} ready")


def evict(cluster, namespace):
    until("an eviction is allowed", 30, lambda: cluster.allowed_evictions(namespace) == 1)
    cluster.cordon(True)  # so that the pod that goes does not come back at once
    cluster.evict(namespace, "validator-0")
    until("the pod has gone", 60, lambda: "validator-0" not in cluster.ready(namespace))
    until("no other may go", 30, lambda: cluster.allowed_evictions(namespace) == 0)
    message = expect_refused("a second eviction", 429, lambda: cluster.evict(namespace, "validator-1"))
    cluster.cordon(False)
    cluster.await_ready(namespace, 4)
    until("an eviction is allowed again", 30, lambda: cluster.allowed_evictions(namespace) == 1)
    say(f"dev: one eviction allowed, the next refused while the first pod was away: {message}")


def check_production(cluster):
    documents = render("production")
    namespace = next(d for d in documents if d["kind"] == "StatefulSet")["metadata"]["namespace"]
    # What k8s/README.md asks an operator to make before.
    cluster.apply([
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "validator-keys", "namespace": namespace},
         "stringData": {f"validator-{i}": "a key" for i in range(3)}}])
    cluster.apply(documents)
    cluster.await_ready(namespace, 3)
    nodes = {pod["spec"]["nodeName"] for pod in cluster.pods(namespace)}
    if len(nodes) != 3:
        raise Failure(f"production: three pods on {nodes}")
    until("one may be evicted", 30, lambda: cluster.allowed_evictions(namespace) == 1)
    say("production: 3 pods run on 3 nodes, one may be evicted")


def main():
    work = os.path.abspath(sys.argv[1])
    programs = {name: os.path.join(work, "bin", name) for name in ("kube", "kwok")}
    programs["stages"] = os.path.join(work, "stages")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="overlay-k8s-") as folder:
        plane = ControlPlane(programs, folder)
        try:
            plane.start()
            modules = (ROOT / "scripts" / "k8s" / "programs" / "go.mod").read_text(encoding="utf-8")
            version = re.search(r"k8s.io/kubernetes (v[\d.]+)$", modules, re.MULTILINE)[1]
            say(f"API server {version} is up after {time.monotonic() - began:.0f} s")
            cluster = Cluster(plane)
            cluster.prepare()
            check_dev(cluster)
            check_production(cluster)
        except (Failure, Refused) as failure:
            print(f"k8s: {failure}", file=sys.stderr)
            return 1
        finally:
            plane.stop()
    say(f"all well after {time.monotonic() - began:.0f} s; everything is stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
