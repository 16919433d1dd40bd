"""What a schema cannot see in rendered manifests: names that must meet, and what the built programs accept.

`problems_of(documents, ...)` gives a list of sentences; none means that all is well.
"""
import base64
import os
import re
import subprocess
import tempfile
import tomllib

import kubernetes_validate

# The oldest Kubernetes that has native sidecars by default, and the newest that there is a schema of.
VERSIONS = ("1.29", "1.37")
PROBES = {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
# The core must have a time of its own beside the drain, of which drain.h says how long it is.
CORE_STOPS_S_MIN = 3
# What is made by hand, before production is applied.
BY_HAND = {"validators": {"Secret": {"validator-keys"}}}
POD_MONITOR_KEYS = {"selector", "podMetricsEndpoints", "namespaceSelector", "podTargetLabels", "jobLabel"}
POD_ENDPOINT_KEYS = {"port", "path", "interval", "scrapeTimeout", "scheme"}


def schema_problems(documents):
    problems = []
    for document in documents:
        name = f"{document.get('kind')} {document.get('metadata', {}).get('name')}"
        if document.get("kind") == "PodMonitor":
            problems += pod_monitor_problems(name, document)
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                problems.append(f"{name}, Kubernetes {version}: {getattr(error, 'message', error)}")
    return problems


def pod_monitor_problems(name, document):
    """Of a kind that Kubernetes does not know itself: the fields that we use of it."""
    spec = document.get("spec", {})
    unknown = set(document) - {"apiVersion", "kind", "metadata", "spec"} | set(spec) - POD_MONITOR_KEYS
    for endpoint in spec.get("podMetricsEndpoints", []):
        unknown |= set(endpoint) - POD_ENDPOINT_KEYS
    problems = [f"{name}: no field {field}" for field in sorted(unknown)]
    if not spec.get("podMetricsEndpoints") or "selector" not in spec:
        problems.append(f"{name}: needs selector and podMetricsEndpoints")
    return problems


class Manifests:
    def __init__(self, documents, source):
        self.source = source
        self.documents = documents
        self.set = self.only("StatefulSet")
        self.pod = self.set["spec"]["template"]["spec"]
        self.labels = self.set["spec"]["template"]["metadata"]["labels"]
        self.namespace = self.set["metadata"]["namespace"]
        self.overlay = next((c for c in self.pod["initContainers"] if c["name"] == "overlay"), {})
        self.core = next((c for c in self.pod["containers"] if c["name"] == "core"), {})
        self.problems = []

    def of(self, kind):
        return [d for d in self.documents if d["kind"] == kind]

    def only(self, kind):
        found = self.of(kind)
        assert len(found) == 1, f"{len(found)} of {kind}"
        return found[0]

    def say(self, problem):
        self.problems.append(problem)

    def containers(self):
        return self.pod["initContainers"] + self.pod["containers"]

    def ports(self):
        return {port["name"]: port for c in self.containers() for port in c.get("ports", [])}

    def replicas(self):
        return self.set["spec"]["replicas"]

    def pod_names(self):
        return [f"{self.set['metadata']['name']}-{i}" for i in range(self.replicas())]

    # ---- names that must meet

    def check_selectors(self):
        spec = self.set["spec"]
        selectors = {"StatefulSet": spec["selector"]["matchLabels"]}
        for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
            for d in self.of(kind):
                chosen = d["spec"].get("podSelector") or d["spec"]["selector"]
                selectors[f"{kind} {d['metadata']['name']}"] = chosen.get("matchLabels", chosen)
        rules = list(self.pod.get("topologySpreadConstraints", []))
        rules += self.pod.get("affinity", {}).get("podAntiAffinity", {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution", [])
        for rule in rules:
            selectors[f"rule of {rule['topologyKey']}"] = rule["labelSelector"]["matchLabels"]
        for name, wanted in selectors.items():
            if not wanted or not set(wanted.items()) <= set(self.labels.items()):
                self.say(f"{name} selects {wanted}, the pods have {self.labels}")
        for d in self.documents:
            if d["kind"] != "Namespace" and d["metadata"].get("namespace") != self.namespace:
                self.say(f"{d['kind']} {d['metadata']['name']} is not in {self.namespace}")

    def check_ports(self):
        ports = self.ports()

        def check(who, name, protocol):
            if name not in ports or ports[name].get("protocol", "TCP") != protocol:
                self.say(f"{who} names the port {name} ({protocol}), the pods have {sorted(ports)}")

        for service in self.of("Service"):
            for port in service["spec"]["ports"]:
                check(f"Service {service['metadata']['name']}", port["targetPort"], port["protocol"])
        for policy in self.of("NetworkPolicy"):
            for rule in policy["spec"]["ingress"]:
                for port in rule["ports"]:
                    check("NetworkPolicy", port["port"], port["protocol"])
        for monitor in self.of("PodMonitor"):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                check("PodMonitor", endpoint["port"], "TCP")
        for probe, path in PROBES.items():
            get = self.overlay.get(probe, {}).get("httpGet", {})
            if get.get("path") != path:
                self.say(f"{probe} asks {get.get('path')}, expected {path}")
            check(probe, get.get("port"), "TCP")

    def check_service(self):
        name = self.set["spec"]["serviceName"]
        services = {s["metadata"]["name"]: s["spec"] for s in self.of("Service")}
        governing = services.get(name, {})
        if governing.get("clusterIP") != "None" or governing.get("publishNotReadyAddresses") is not True:
            self.say(f"the Service {name} must be headless and publish addresses that are not ready")

    def config(self):
        """The ConfigMap that the pods mount, parsed."""
        names = {v["configMap"]["name"] for v in self.pod["volumes"] if "configMap" in v}
        maps = {d["metadata"]["name"]: d["data"] for d in self.of("ConfigMap")}
        for name in names - set(maps):
            self.say(f"the ConfigMap {name} is mounted and not there")
        return next((maps[name] for name in names if name in maps), {})

    def keys(self):
        """What the Secret with the keys holds; None when it is made by hand."""
        names = {v["secret"]["secretName"] for v in self.pod["volumes"] if "secret" in v}
        secrets = {d["metadata"]["name"]: d["data"] for d in self.of("Secret")}
        by_hand = BY_HAND.get(self.namespace, {}).get("Secret", set())
        for name in names - set(secrets) - by_hand:
            self.say(f"the Secret {name} is mounted and not there")
        found = [secrets[name] for name in names if name in secrets]
        return {key: base64.b64decode(value) for key, value in found[0].items()} if found else None

    def check_volumes(self):
        known = {v["name"] for v in self.pod["volumes"]}
        known |= {c["metadata"]["name"] for c in self.set["spec"]["volumeClaimTemplates"]}
        for container in self.containers():
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in known:
                    self.say(f"{container['name']} mounts {mount['name']}, which is no volume")
        keys = self.keys()
        if keys is not None and set(keys) != set(self.pod_names()):
            self.say(f"keys for {sorted(keys)}, pods {self.pod_names()}")

    # ---- how the pod lives and ends

    def check_life(self):
        if self.overlay.get("restartPolicy") != "Always":
            self.say("the overlay is no sidecar: an init container with restartPolicy Always")
        with open(os.path.join(self.source, "server", "drain.h"), encoding="utf-8") as file:
            drain_s = int(re.search(r"kDrainMax = std::chrono::milliseconds\((\d+)\)", file.read())[1]) / 1000
        grace = self.pod.get("terminationGracePeriodSeconds", 30)
        if grace < drain_s + CORE_STOPS_S_MIN:
            self.say(f"a grace period of {grace} s does not hold the core's end and a drain of {drain_s} s")
        if self.set["spec"]["podManagementPolicy"] != "Parallel":
            self.say("pods that wait for each other's readiness never find peers: podManagementPolicy Parallel")
        if self.pod.get("enableServiceLinks") is not False:
            self.say("a Service called overlay would make variables that the daemon refuses: enableServiceLinks")

    def check_security(self):
        pod = self.pod["securityContext"]
        if pod.get("runAsNonRoot") is not True or pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            self.say("the pod must run as a user other than root, under the runtime's seccomp profile")
        if "fsGroup" not in pod:
            self.say("without fsGroup the core cannot open the overlay's socket")
        for container in self.containers():
            own = container.get("securityContext", {})
            if (own.get("readOnlyRootFilesystem") is not True or own.get("allowPrivilegeEscalation") is not False or
                    own.get("capabilities", {}).get("drop") != ["ALL"]):
                self.say(f"{container['name']} has more rights than it needs")
            if "memory" not in container["resources"]["limits"] or "cpu" not in container["resources"]["requests"]:
                self.say(f"{container['name']} must ask for CPU and limit its memory")

    # ---- what the programs accept

    def value_of(self, variable, pod):
        if "value" in variable:
            return variable["value"]
        path = variable["valueFrom"]["fieldRef"]["fieldPath"]
        if path == "metadata.name":
            return pod
        assert path == "metadata.labels['apps.kubernetes.io/pod-index']", path
        return pod.rsplit("-", 1)[1]

    def command_of(self, container, pod, folders):
        """(arguments, environment) of a container as the kubelet would make them, its mounts being `folders`."""
        environment = {}
        for variable in container.get("env", []):
            environment[variable["name"]] = self.expand(self.value_of(variable, pod), environment)
        arguments = [self.expand(word, environment) for word in container.get("args", [])]
        for mount in container.get("volumeMounts", []):
            path, folder = mount["mountPath"], folders[mount["name"]]
            arguments = [word.replace(path, folder) for word in arguments]
            environment = {name: value.replace(path, folder) for name, value in environment.items()}
        return arguments, environment

    @staticmethod
    def expand(text, environment):
        return re.sub(r"\$\((\w+)\)", lambda match: environment.get(match[1], match[0]), text)

    def lay_out(self, folder, pod, daemon):
        """The volumes of a pod, as folders."""
        folders = {}
        names = [v["name"] for v in self.pod["volumes"]]
        names += [c["metadata"]["name"] for c in self.set["spec"]["volumeClaimTemplates"]]
        for name in names:
            folders[name] = os.path.join(folder, name)
            os.makedirs(folders[name], exist_ok=True)
        keys = self.keys()
        key = os.path.join(folders["keys"], pod)
        if keys is None:
            subprocess.run([daemon, "keygen", "--out", key], check=True, capture_output=True)
        else:
            with open(key, "wb") as file:
                file.write(keys.get(pod, b""))
            os.chmod(key, 0o600)
        for name, text in self.config().items():
            for mount in self.overlay["volumeMounts"]:
                text = text.replace(mount["mountPath"], folders[mount["name"]])
            with open(os.path.join(folders["config"], name), "w", encoding="utf-8") as file:
                file.write(text)
        return folders

    def check_daemon(self, daemon):
        for pod in self.pod_names():
            with tempfile.TemporaryDirectory(prefix="overlay-k8s-") as folder:
                folders = self.lay_out(folder, pod, daemon)
                arguments, environment = self.command_of(self.overlay, pod, folders)
                if arguments[:1] != ["run"]:
                    self.say(f"the overlay is started with {arguments}")
                    return
                checked = subprocess.run([daemon, "check-config", *arguments[1:]], env=environment, capture_output=True,
                                         text=True, check=False)
                if checked.returncode != 0:
                    self.say(f"{pod}: {checked.stderr.strip()}")

    def check_config(self):
        for name, text in self.config().items():
            settings = tomllib.loads(text)
            ports = {name: port["containerPort"] for name, port in self.ports().items()}
            for port, section in (("overlay", "peer"), ("metrics", "metrics")):
                listens = settings.get(section, {}).get("listen", "")
                if listens.rsplit(":", 1)[-1] != str(ports.get(port)):
                    self.say(f"{name}: {section}.listen is {listens}, the pod's port {port} is {ports.get(port)}")
            api = settings["api"]
            if api.get("socket_mode") != "0660":
                self.say("api.socket_mode must let the pod's group in: 0660")
            mounts = [{m["mountPath"] for m in c["volumeMounts"] if m["name"] == "sockets"}
                      for c in (self.overlay, self.core)]
            if mounts[0] != mounts[1] or os.path.dirname(api["listen"].removeprefix("unix:")) not in mounts[0]:
                self.say(f"core and overlay must share the folder of {api['listen']}")
            state = {m["mountPath"] for m in self.overlay["volumeMounts"] if m["name"] == "state"}
            if os.path.dirname(settings["peers"].get("file", "")) not in state:
                self.say("peers.file must be on the volume that outlives a pod")
            own = {f"{pod}.{self.set['spec']['serviceName']}" for pod in self.pod_names()}
            if not own <= set(settings["peers"]["known"]):
                self.say(f"peers.known lacks {sorted(own - set(settings['peers']['known']))}")

    def check_all(self, daemon):
        self.check_selectors()
        self.check_ports()
        self.check_service()
        self.check_volumes()
        self.check_life()
        self.check_security()
        self.check_config()
        if not self.problems:  # what does not fit together cannot be laid out
            self.check_daemon(daemon)
        return self.problems


def problems_of(documents, source, daemon):
    problems = schema_problems(documents)
    # What is not well-formed cannot be looked into.
    return problems or Manifests(documents, source).check_all(daemon)
