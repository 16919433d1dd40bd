"""What k8s/monitoring holds, as Prometheus and Grafana read it."""

import json
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
MONITORING = ROOT / "k8s" / "monitoring"
PAGE = ROOT / "docs" / "metrics.md"

MANIFEST_HEAD = """# Written from rules.yaml (see README.md): change that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: overlayd
  labels:
    app.kubernetes.io/name: overlayd
spec:
"""


def rules():
    return yaml.safe_load((MONITORING / "rules.yaml").read_text())


def all_rules():
    return [rule for group in rules()["groups"] for rule in group["rules"]]


def alerts():
    return {rule["alert"]: rule for rule in all_rules() if "alert" in rule}


def recorded():
    return {rule["record"]: rule for rule in all_rules() if "record" in rule}


def manifest():
    """The same rules for the Prometheus operator."""
    lines = (MONITORING / "rules.yaml").read_text().splitlines()
    begin = lines.index("groups:")
    return MANIFEST_HEAD + "".join(f"  {line}\n" if line else "\n" for line in lines[begin:])


def dashboard():
    return json.loads((MONITORING / "dashboard.json").read_text())


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def targets():
    """(title/letter, expression) of every query of every panel."""
    return [(f"{panel['title']}/{target['refId']}", target["expr"])
            for panel in panels() for target in panel["targets"]]


def page_metrics():
    """Name and type of what docs/metrics.md lists."""
    return dict(re.findall(r"^\| `(overlay_\w+)` \| (\w+) \|", PAGE.read_text(), re.M))


def metrics_in(expression):
    """Names of daemons' metrics in an expression, without what a histogram's series add."""
    names = set()
    for name in re.findall(r"(?<![:\w])overlay_\w+", expression):
        names.add(re.sub(r"_(bucket|sum|count)$", "", name) if name.endswith("_bucket") else name)
    return names
