"""k8s/monitoring without a Prometheus: its rules by promtool, its dashboard by what Grafana expects."""

import json
import os
import pathlib
import re
import runpy
import subprocess
import tempfile
import unittest

import alert_cases
import sources

MANIFEST = sources.MONITORING / "prometheusrule.yaml"


def promtool(*words, folder=None):
    return subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=120, cwd=folder, check=False)


def run_cases(cases, rules_text):
    with tempfile.TemporaryDirectory(prefix="overlay-rules-") as folder:
        (pathlib.Path(folder) / "rules.yaml").write_text(rules_text)
        (pathlib.Path(folder) / "cases.json").write_text(json.dumps(cases))
        return promtool("test", "rules", "cases.json", folder=folder)


class Rules(unittest.TestCase):
    def test_promtool_takes_them(self):
        checked = promtool("check", "rules", str(sources.MONITORING / "rules.yaml"))
        self.assertEqual(checked.returncode, 0, checked.stderr + checked.stdout)

    def test_the_manifest_is_the_same(self):
        """OVERLAY_WRITE_DOCS=1 in the environment writes it anew."""
        if "OVERLAY_WRITE_DOCS" in os.environ:
            MANIFEST.write_text(sources.manifest())
        self.assertEqual(MANIFEST.read_text(), sources.manifest())
        self.assertEqual(sources.yaml.safe_load(MANIFEST.read_text())["spec"], sources.rules())

    def test_each_alert_says_what_and_where_to_read_on(self):
        alerts = sources.alerts()
        self.assertGreater(len(alerts), 20)
        for name, alert in alerts.items():
            with self.subTest(name):
                self.assertIn(alert["labels"]["severity"], ("critical", "warning", "info"))
                notes = alert["annotations"]
                self.assertEqual(set(notes), {"summary", "description", "runbook"})
                self.assertIn("{{ $labels.instance }}", notes["summary"])
                self.assertEqual(notes["runbook"], f"docs/operations.md#alert-{name.lower()}")
                page, anchor = notes["runbook"].split("#")
                self.assertIn(f'<a id="{anchor}"></a>{name}', (sources.ROOT / page).read_text())

    def test_each_alert_fires_and_does_not(self):
        self.assertEqual(set(alert_cases.CASES), set(sources.alerts()))
        ran = run_cases(alert_cases.promtool_tests(), (sources.MONITORING / "rules.yaml").read_text())
        self.assertEqual(ran.returncode, 0, ran.stderr + ran.stdout)

    def test_a_wrong_threshold_is_found(self):
        text = (sources.MONITORING / "rules.yaml").read_text()
        changed = text.replace("overlay_scp_core_queue_count > 1000", "overlay_scp_core_queue_count > 999")
        self.assertNotEqual(changed, text)
        ran = run_cases(alert_cases.promtool_tests(), changed)
        self.assertNotEqual(ran.returncode, 0)
        self.assertIn("OverlayCoreBehind", ran.stderr + ran.stdout)

    def test_every_recorded_series_is_used(self):
        expressions = [rule["expr"] for rule in sources.alerts().values()] + [e for _, e in sources.targets()]
        for name in sources.recorded():
            self.assertTrue(any(name in expression for expression in expressions), name)


class Dashboard(unittest.TestCase):
    def test_it_is_what_its_program_writes(self):
        program = runpy.run_path(str(sources.MONITORING / "dashboard.py"))
        self.assertEqual((sources.MONITORING / "dashboard.json").read_text(), program["text"]())

    def test_every_panel_can_be_read(self):
        self.assertGreater(len(sources.panels()), 40)
        numbers, cells, titles = set(), set(), set()
        for panel in sources.dashboard()["panels"]:
            with self.subTest(panel["title"]):
                self.assertNotIn(panel["id"], numbers)
                numbers.add(panel["id"])
                self.assertNotIn(panel["title"], titles)
                titles.add(panel["title"])
                place = panel["gridPos"]
                self.assertLessEqual(place["x"] + place["w"], 24)
                for x in range(place["x"], place["x"] + place["w"]):
                    for y in range(place["y"], place["y"] + place["h"]):
                        self.assertNotIn((x, y), cells, "panels overlap")
                        cells.add((x, y))
                if panel["type"] == "row":
                    continue
                self.assertRegex(panel["description"], r"[Ww]orry")
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
                self.assertIsNone(steps[0]["value"])
                self.assertTrue(panel["targets"])
                for target in panel["targets"]:
                    self.assertEqual(target["datasource"]["uid"], "$datasource")
                    self.assertTrue(target["legendFormat"])

    def test_its_variables_are_used_by_every_query_of_a_daemon(self):
        names = [variable["name"] for variable in sources.dashboard()["templating"]["list"]]
        self.assertEqual(names, ["datasource", "namespace", "pod", "instance"])
        for title, expression in sources.targets():
            for name, selector in re.findall(r"([\w:]*overlay_[\w:]+)(\{[^}]*\})?", expression):
                if not name.startswith("namespace:"):
                    for variable in ("namespace", "pod", "instance"):
                        self.assertIn(f'{variable}=~"${variable}"', selector, title)

    def test_it_is_put_where_grafana_looks(self):
        kustomization = sources.yaml.safe_load((sources.MONITORING / "kustomization.yaml").read_text())
        self.assertEqual(kustomization["resources"], [MANIFEST.name])
        self.assertEqual(kustomization["generatorOptions"]["labels"], {"grafana_dashboard": "1"})
        self.assertEqual([files["files"] for files in kustomization["configMapGenerator"]], [["dashboard.json"]])


class Both(unittest.TestCase):
    def expressions(self):
        return ([rule["expr"] for rule in sources.all_rules()] + [e for _, e in sources.targets()])

    def test_nothing_falls_back_to_a_constant(self):
        for expression in self.expressions():
            self.assertNotRegex(expression, r"\bvector\s*\(|\bscalar\s*\(|\babsent(_over_time)?\s*\(|\bor\s+[-\d.]")

    def test_every_metric_is_on_the_page(self):
        known = set(sources.page_metrics()) | set(sources.recorded())
        self.assertGreater(len(known), 100)
        for expression in self.expressions():
            for name in sources.metrics_in(expression):
                self.assertIn(name, known, expression)
            for name in re.findall(r"\b(?:instance|namespace):[\w:]+", expression):
                self.assertIn(name, known, expression)


if __name__ == "__main__":
    unittest.main()
