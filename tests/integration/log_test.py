"""The log: lines that machines can read whatever is said, levels, limits, and no secrets."""

import base64
import json
import os
import pathlib
import re
import select
import signal
import time
import unittest
import urllib.request

import daemon as d
from daemon import operator_pb2
from overlayd_test import Folder

# All that a core may say of itself: 128 printable characters.
HOSTILE = 'a"b\\ \\n{"event":"forged","level":"error"} \\u000a \\" level=error'.ljust(128, "}")
SECONDS_MAX = 20


class LogTest(Folder):
    def lines(self, daemon):
        return pathlib.Path(daemon.log.name).read_text().splitlines()

    def events(self, daemon):
        """Each line as an object: what does not parse fails."""
        return [json.loads(line) for line in self.lines(daemon)]

    def until(self, what, condition):
        end = time.monotonic() + SECONDS_MAX
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            select.select([], [], [], 0.05)


class Lines(LogTest):
    def test_every_line_is_an_object_whatever_a_core_says(self):
        a = self.start("a", "--log.format", "json", "--log.level", "debug")
        stub = d.core_pb2_grpc.CoreStub(d.grpc.insecure_channel(a.ready["api"]))
        request = d.core_pb2.AttachRequest(
            core_instance=os.urandom(16), network_id=d.hashlib.sha256(d.PASSPHRASE.encode()).digest(), agent=HOSTILE)
        attach = stub.Attach(request)
        next(attach)
        attach.cancel()
        a.operator().Connect(operator_pb2.ConnectRequest(address="no-such-host.invalid:1"), timeout=20)
        self.until("both are logged", lambda: {"core_detached", "dns_failed"} <= {e["event"] for e in self.events(a)})
        self.assertEqual(a.stop(), 0)
        events = self.events(a)
        for event in events:
            self.assertTrue({"time", "level", "event"} <= set(event), event)
            self.assertTrue(all(isinstance(value, str) for value in event.values()), event)
        self.assertNotIn("forged", {event["event"] for event in events})
        agent = next(event["agent"] for event in events if event["event"] == "core_attached")
        self.assertEqual(agent, HOSTILE)
        self.assertEqual(events[-1]["event"], "stopped")

    def test_levels_change_at_once(self):
        a = self.start("a", "--log.format", "json")

        def set_level(level):
            a.ctl("log-level", level)

        def attach_once():
            core = d.Core(a)
            core.close()
            self.until("the core is gone", lambda: a.metrics()["overlay_core_attached_count"] == 0)

        def count():
            return [event["event"] for event in self.events(a)].count("core_attached")

        attach_once()
        self.assertEqual(count(), 1)
        set_level("error")
        attach_once()
        self.assertEqual(count(), 1)
        set_level("info")
        attach_once()
        self.assertEqual(count(), 2)

    def test_a_storm_costs_few_lines_and_is_told_in_full(self):
        a = self.start("a", "--log.format", "json")
        attached = 80
        began = time.monotonic()
        for _ in range(attached):
            observer = d.Core(a, observer=True)
            observer.close()
            self.until("it is gone", lambda: a.metrics()["overlay_core_observers_count"] == 0)

        def told():
            mine = [event for event in self.events(a) if event["event"] == "observer_attached"]
            # A line that only tells what was left out is of no event of its own.
            return (sum("session" in event for event in mine) + sum(int(event.get("left_out", 0)) for event in mine),
                    len(mine))

        self.until("all are told of", lambda: told()[0] == attached)
        self.assertLess(told()[1], 20 + 2 + time.monotonic() - began)


class Secrets(LogTest):
    def forms(self, seed):
        """How a seed could show: as it is written, its bytes in hex and in base64."""
        raw = base64.b32decode(seed)[1:33]
        return [seed.encode(), raw, raw.hex().encode(), raw.hex().upper().encode(),
                base64.b64encode(raw).rstrip(b"=")[:-1], base64.urlsafe_b64encode(raw).rstrip(b"=")[:-1]]

    def check(self, seed, *outputs):
        for form in self.forms(seed):
            for output in outputs:
                self.assertNotIn(form, output)

    def test_a_daemon_at_debug_level_never_shows_its_key(self):
        a = self.start("a", "--log.level", "debug", "--log.format", "json")
        seed = a.key.read_text().strip()
        self.assertIn(seed.encode(), self.forms(seed))
        b = self.start("b", "--log.level", "debug", "--peers.known", f"{a.ready['node']}@{a.ready['peer']}")
        core = d.Core(a)
        core.wait_peers(1)
        core.close()
        a.process.send_signal(signal.SIGHUP)
        pages = []
        for path in ("metrics", "status", "peers", ""):
            with urllib.request.urlopen(f"http://{a.ready['metrics']}/{path}", timeout=10) as page:
                pages.append(page.read())
        for command in ("status", "peers", "bans", "dns"):
            done = a.ctl(command)
            pages.append((done.stdout + done.stderr).encode())
        self.assertTrue(all(len(page) > 5 for page in pages))
        self.assertEqual(a.stop(), 0)
        self.assertEqual(b.stop(), 0)
        for daemon in (a, b):
            log = pathlib.Path(daemon.log.name).read_bytes()
            self.assertIn(b"peer_connected", log)
            self.check(daemon.key.read_text().strip(), log, *pages, json.dumps(daemon.ready).encode())

    def test_errors_do_not_repeat_a_seed_that_is_in_the_wrong_place(self):
        seed, _ = d.run("keygen").stdout.split()
        key_file = self.folder / "two.key"
        key_file.write_text(seed + seed + "\n")
        key_file.chmod(0o600)
        broken = self.folder / "broken.toml"
        broken.write_text(f'[node]\nkey = "{seed}"\n')
        named = ["--network.passphrase", "x"]
        mistyped = seed[:-1] + ("A" if seed[-1] != "A" else "B")
        for words, environment in (
                ([seed], {}), (["keygen", seed], {}), (["--node.key_file", seed, *named], {}),
                (["--node.key_file", str(key_file), *named], {}), (["--node.key", seed, *named], {}),
                (["--config", str(broken)], {}), (["--config", seed], {}),
                (["--peers.known", seed, *named], {"OVERLAY_NODE_KEY": seed}),
                (named, {"OVERLAY_NODE_KEY": mistyped}), (named, {"OVERLAY_NODE_KEY_FILE": seed})):
            with self.subTest(words=[word.replace(seed, "SEED") for word in words]):
                done = d.run(*words, environment=environment)
                self.assertIn(done.returncode, (1, 2))
                self.assertTrue(done.stderr.startswith("overlayd: "), done.stderr[:9])
                for shown in (seed, mistyped):
                    self.check(shown, (done.stdout + done.stderr).encode())


class Page(unittest.TestCase):
    def test_it_lists_every_event_with_its_level(self):
        """By reading the sources: an event is logged by its name, beside its level."""
        in_sources = set()
        for path in sorted((d.ROOT / "server").rglob("*.cc")):
            text = path.read_text()
            for level, other_level, first, second in re.findall(
                    r"Event(?:Limited)?\(\s*(?:now,\s*)?(?:[\w.()]+ \? )?LogLevel::k(\w+)"
                    r"(?: : LogLevel::k(\w+))?,\s*(?:\w+ \? )?\"(\w+)\"(?: : \"(\w+)\")?", text):
                in_sources.add((first, level.lower()))
                if other_level:
                    in_sources.add((second or first, other_level.lower()))
                elif second:
                    in_sources.add((second, level.lower()))
            for first, second in re.findall(r"LogEvent\(\s*now,\s*(?:[\w>-]+ \? )?\"(\w+)\"(?: : \"(\w+)\")?", text):
                in_sources |= {(name, "info") for name in (first, second) if name}
        rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", (d.ROOT / "docs/logs.md").read_text(), re.M)
        on_page = {(name, level) for name, levels in rows for level in levels.split(", ")}
        self.assertGreater(len(on_page), 25)
        self.assertEqual(in_sources, on_page)


if __name__ == "__main__":
    unittest.main()
