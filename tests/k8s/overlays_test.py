"""The overlays of k8s/: they render with every kubectl here, are valid, and fit the built programs; a mistake in them
does not go unseen.
"""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

import manifests

ROOT = pathlib.Path(__file__).resolve().parents[2]
OVERLAYD = os.environ["TEST_OVERLAYD"]
DEMO_CORE = os.environ["TEST_DEMO_CORE"]
# The distribution's, and the machine's where it is another one.
KUBECTLS = sorted({os.environ["TEST_KUBECTL"], shutil.which("kubectl") or os.environ["TEST_KUBECTL"]})
OVERLAYS = ("dev", "production")

# (file below k8s/, what it says, what it shall say instead): a field that nobody knows.
MISSPELT = (
    ("base/statefulset.yaml", "readOnlyRootFilesystem", "readOnlyRootFileSystem"),
    ("base/statefulset.yaml", "podManagementPolicy", "podManagmentPolicy"),
    ("base/statefulset.yaml", "livenessProbe", "livelinessProbe"),
    ("base/statefulset.yaml", "periodSeconds: 5", "periodSecond: 5"),
    ("base/statefulset.yaml", "restartPolicy: Always", "restartpolicy: Always"),
    ("base/services.yaml", "publishNotReadyAddresses", "publishNotReadyAdresses"),
    ("base/services.yaml", "targetPort: metrics", "targetport: metrics"),
    ("base/disruption.yaml", "maxUnavailable", "maxUnavailble"),
    ("base/network_policy.yaml", "policyTypes", "policytypes"),
    ("overlays/dev/validators.yaml", "terminationGracePeriodSeconds", "terminationGracePeriodSecond"),
    ("overlays/dev/validators.yaml", "fieldPath", "fieldpath"),
    ("overlays/production/validators.yaml", "podAntiAffinity", "podAntiaffinity"),
    ("overlays/production/services.yaml", "externalTrafficPolicy", "externalTraficPolicy"),
    ("overlays/production/pod_monitor.yaml", "podMetricsEndpoints", "podMetricEndpoints"),
    ("overlays/production/pod_monitor.yaml", "scrapeTimeout", "scrapeTimeOut"),
)
# The same for what every schema accepts.
WRONG = (
    ("base/disruption.yaml", "app.kubernetes.io/name: validator\n", "app.kubernetes.io/name: validators\n"),
    ("base/services.yaml", "targetPort: overlay", "targetPort: peers"),
    ("base/services.yaml", "clusterIP: None\n  publish", "publish"),
    ("base/network_policy.yaml", "port: metrics", "port: prometheus"),
    ("base/statefulset.yaml", "path: /readyz", "path: /ready"),
    ("base/statefulset.yaml", "restartPolicy: Always", "imagePullPolicy: Always"),
    ("base/statefulset.yaml", "mountPath: /var/lib/overlayd", "mountPath: /var/lib/overlay"),
    ("base/statefulset.yaml", "- name: OVERLAY_NODE_KEY_FILE", "- name: OVERLAY_NODE_KEYFILE"),
    ("base/statefulset.yaml", "overlayd.toml\"]", "overlay.toml\"]"),
    ("base/statefulset.yaml", "        - name: keys\n          secret:", "        - name: key\n          secret:"),
    ("base/statefulset.yaml", "secretName: validator-keys", "secretName: validators-keys"),
    ("base/statefulset.yaml", "drop: [\"ALL\"]", "drop: [\"NET_RAW\"]"),
    ("base/statefulset.yaml", "podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady"),
    ("base/statefulset.yaml", "enableServiceLinks: false", "enableServiceLinks: true"),
    ("overlays/dev/overlayd.toml", "socket_mode = \"0660\"", "socket_mode = \"0600\""),
    ("overlays/dev/overlayd.toml", "\"validator-3.validator\"", "\"validator-4.validator\""),
    ("overlays/dev/overlayd.toml", "0.0.0.0:9464", "0.0.0.0:9473"),
    ("overlays/dev/overlayd.toml", "format = \"text\"", "form = \"text\""),
    ("overlays/dev/kustomization.yaml", "      - keys/validator-3\n", ""),
    ("overlays/dev/validators.yaml", "terminationGracePeriodSeconds: 10", "terminationGracePeriodSeconds: 2"),
    ("overlays/production/overlayd.toml", "max = \"1536MiB\"", "max = \"1536\""),
    ("overlays/production/pod_monitor.yaml", "port: metrics", "port: http"),
)


def render(kubectl, folder):
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(done.stderr)
    return list(yaml.safe_load_all(done.stdout))


def without_hashes(documents):
    """Hashes in names, and how empty fields are written, differ between versions of kustomize."""
    text = yaml.safe_dump(documents)
    names = [d["metadata"]["name"] for d in documents if d["kind"] in ("ConfigMap", "Secret")]
    for name in names:
        text = re.sub(rf"\b{name}\b", name.rsplit("-", 1)[0] if re.search(r"-[a-z0-9]{10}$", name) else name, text)
    documents = yaml.safe_load(text)
    for d in documents:
        for empty in ("annotations", "labels"):
            if d["metadata"].get(empty) == {}:
                del d["metadata"][empty]
        if d["kind"] == "Secret":
            d["data"] = {key: value.replace("\n", "") for key, value in d["data"].items()}
    return sorted(documents, key=lambda d: (d["kind"], d["metadata"]["name"]))


def problems_in(k8s):
    """Those of the first overlay that has any."""
    for overlay in OVERLAYS:
        try:
            documents = render(KUBECTLS[0], k8s / "overlays" / overlay)
        except ValueError as error:
            return [str(error)]
        if problems := manifests.problems_of(documents, ROOT, OVERLAYD):
            return problems
    return []


class Overlays(unittest.TestCase):
    maxDiff = None

    def test_every_kubectl_renders_the_same(self):
        for overlay in OVERLAYS:
            rendered = [without_hashes(render(kubectl, ROOT / "k8s" / "overlays" / overlay)) for kubectl in KUBECTLS]
            for other in rendered[1:]:
                self.assertEqual(rendered[0], other, overlay)

    def test_valid_and_fit_for_the_programs(self):
        self.assertEqual(problems_in(ROOT / "k8s"), [])

    def test_a_mistake_is_seen(self):
        for file, old, new in MISSPELT + WRONG:
            with self.subTest(f"{file}: {new}"), tempfile.TemporaryDirectory(prefix="overlay-k8s-") as scratch:
                k8s = pathlib.Path(scratch) / "k8s"
                shutil.copytree(ROOT / "k8s", k8s)
                text = (k8s / file).read_text(encoding="utf-8")
                self.assertIn(old, text)
                (k8s / file).write_text(text.replace(old, new), encoding="utf-8")
                self.assertNotEqual(problems_in(k8s), [])

    def test_the_demo_cores_arguments_are_taken(self):
        documents = render(KUBECTLS[0], ROOT / "k8s" / "overlays" / "dev")
        dev = manifests.Manifests(documents, ROOT)
        public = []
        for pod in dev.pod_names():
            with tempfile.TemporaryDirectory(prefix="overlay-k8s-") as folder:
                folders = dev.lay_out(folder, pod, OVERLAYD)
                arguments, environment = dev.command_of(dev.core, pod, folders)
                # Whatever is wrong with an argument is said before the daemon is looked for: then it waits for one.
                ended = subprocess.run([DEMO_CORE, *arguments, "--seconds", "0.2"], env=environment, timeout=30,
                                       capture_output=True, text=True, check=False)
                self.assertEqual(ended.returncode, 0, ended.stderr)
                quorum = arguments[arguments.index("--quorum-set") + 1]
                public.append(quorum)
        self.assertEqual(len(set(public)), 1)
        self.assertEqual(public[0].count(",G"), dev.replicas())

    def test_what_is_to_be_filled_in_is_listed(self):
        production = ROOT / "k8s" / "overlays" / "production"
        marked = {path.name for path in production.iterdir() if "FILL IN" in path.read_text(encoding="utf-8")}
        readme = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8")
        listed = set(re.findall(r"^\| `overlays/production/([^`]+)`", readme, re.MULTILINE))
        self.assertEqual(marked, listed)


if __name__ == "__main__":
    unittest.main()
