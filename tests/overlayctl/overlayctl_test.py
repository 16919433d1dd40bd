#!/usr/bin/env python3
"""overlayctl against real daemons: each command, its --json, and what it says when it cannot."""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

CTL, OVERLAYD = sys.argv[1:3]
PASSPHRASE = "overlayctl test network"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OVERLAY_")}
PATIENCE = 60  # seconds, on a busy machine


def payment(sequence, fee=100, source=3):
    """A TransactionEnvelope (version 1) with one native payment and one signature."""
    account = struct.pack(">I", 0) + bytes([source]) * 32
    operation = (struct.pack(">I", 0) + struct.pack(">I", 1) + struct.pack(">I", 0) + bytes([9]) * 32
                 + struct.pack(">I", 0) + struct.pack(">q", 5))
    transaction = (account + struct.pack(">I", fee) + struct.pack(">q", sequence) + struct.pack(">I", 0)
                   + struct.pack(">I", 0) + struct.pack(">I", 1) + operation + struct.pack(">I", 0))
    signature = struct.pack(">I", 1) + bytes(4) + struct.pack(">I", 64) + bytes(64)
    return struct.pack(">I", 2) + transaction + signature


class Daemon:
    def __init__(self, folder, name, *words):
        self.core = f"unix:{folder}/{name}.core"
        self.operator = f"unix:{folder}/{name}.operator"
        key = f"{folder}/{name}.key"
        self.key = subprocess.run([OVERLAYD, "keygen", "--out", key], check=True, capture_output=True, text=True,
                                  env=ENVIRONMENT).stdout.strip()
        with open(f"{folder}/{name}.log", "w") as log:
            self.process = subprocess.Popen(
                [OVERLAYD, "run", "--exit-with-parent", "--node.key_file", key, "--network.passphrase", PASSPHRASE,
                 "--peer.listen", "127.0.0.1:0", "--api.listen", self.core, "--operator.listen", self.operator,
                 *words], stdout=subprocess.PIPE, stderr=log, text=True, env=ENVIRONMENT)
        line = self.process.stdout.readline()
        assert line, pathlib.Path(f"{folder}/{name}.log").read_text()
        self.peer = json.loads(line)["peer"]

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


def ctl(*words, stdin=b""):
    return subprocess.run([CTL, *words], input=stdin, capture_output=True, timeout=2 * PATIENCE, env=ENVIRONMENT)


class OverlayctlTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.first = Daemon(cls.folder.name, "first")
        cls.second = Daemon(cls.folder.name, "second")
        cls.alone = Daemon(cls.folder.name, "alone")

    @classmethod
    def tearDownClass(cls):
        cls.first.stop()
        cls.second.stop()
        cls.alone.stop()
        cls.folder.cleanup()

    def ok(self, *words, stdin=b"", daemon=None):
        daemon = daemon or self.first
        done = ctl("--daemon", daemon.core, "--operator", daemon.operator, "--timeout", str(PATIENCE), *words,
                   stdin=stdin)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode()

    def fails(self, code, message, *words, stdin=b""):
        done = ctl(*words, stdin=stdin)
        self.assertEqual(done.returncode, code, done.stdout)
        self.assertIn(message, done.stderr.decode())

    @contextlib.contextmanager
    def attached(self, daemon):
        """A fetch that nobody answers is a core for as long as it waits."""
        core = subprocess.Popen([CTL, "--daemon", daemon.core, "--passphrase", PASSPHRASE, "fetch", "11" * 32,
                                 "--timeout", "3600"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                env=ENVIRONMENT)
        try:
            while json.loads(self.ok("status", "--json", daemon=daemon))["core"] is None:
                self.assertIsNone(core.poll())
            yield core
        finally:
            core.kill()
            core.wait()

    def test_status(self):
        status = json.loads(self.ok("status", "--json"))
        self.assertEqual(status["node"], self.first.key)
        self.assertEqual(status["network_id"], hashlib.sha256(PASSPHRASE.encode()).hexdigest())
        self.assertIsNone(status["core"])
        text = self.ok("status")
        self.assertIn(self.first.key, text)
        self.assertIn("none is attached", text)

    def findings(self, *words, code=1, path=None):
        """What doctor finds, by what it looked at."""
        done = subprocess.run([CTL, "--json", *words, "doctor"], capture_output=True, timeout=2 * PATIENCE,
                              env=dict(ENVIRONMENT, PATH=path or ENVIRONMENT["PATH"]))
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        found = {}
        for each in json.loads(done.stdout)["findings"]:
            found.setdefault(each["what"], each)
            self.assertEqual(each["remedy"] != "", each["verdict"] in ("warn", "fail"), each)
        return found

    def test_doctor_of_a_daemon_without_a_core(self):
        found = self.findings("--operator", self.alone.operator)
        self.assertEqual((found["core"]["verdict"], found["peers"]["verdict"]), ("fail", "fail"))
        self.assertIn(self.alone.core, found["core"]["remedy"])
        self.assertEqual((found["socket"]["verdict"], found["key"]["found"]), ("ok", self.alone.key))
        limit = pathlib.Path("/proc/sys/net/core/rmem_max")
        if limit.exists():
            self.assertEqual(found["kernel buffers"]["found"], f"net.core.rmem_max is {limit.read_text().strip()}")
        done = ctl("--operator", self.alone.operator, "doctor")
        self.assertEqual(done.returncode, 1)
        self.assertIn("fail     core            none is attached\n", done.stdout.decode())
        self.assertRegex(done.stderr.decode(), r"overlayctl: 2 of \d+ checks failed")

    def test_doctor_where_no_daemon_answers(self):
        missing = f"unix:{self.folder.name}/nothing"
        found = self.findings("--operator", missing)["socket"]
        self.assertEqual((found["verdict"], found["found"]), ("fail", f"{missing[5:]}: No such file or directory"))
        wrong = pathlib.Path(self.folder.name) / "file"
        wrong.write_text("")
        self.assertIn("is no socket", self.findings("--operator", f"unix:{wrong}")["socket"]["found"])
        wrong_listener = self.findings("--daemon", self.alone.core)["socket"]
        self.assertIn("is not the operator's listener", wrong_listener["found"])

    def test_doctor_checks_the_settings(self):
        config = pathlib.Path(self.folder.name) / "doctor.toml"
        config.write_text("[peers]\noutbound = -3\n")
        words = ("--operator", self.alone.operator, "--config", str(config))
        programs = os.path.dirname(OVERLAYD) + ":/usr/bin:/bin"
        found = self.findings(*words, path=programs)["settings"]
        self.assertEqual(found["verdict"], "fail")
        self.assertIn("peers.outbound: -3 is not legal, expected 0 to 1000", found["found"])
        config.write_text(f'[network]\npassphrase = "x"\n[node]\nkey_file = "{self.folder.name}/alone.key"\n')
        self.assertEqual(self.findings(*words, path=programs)["settings"]["verdict"], "ok")

    def test_peers_connect_disconnect_and_watch(self):
        watch = subprocess.Popen([CTL, "--daemon", self.first.core, "--passphrase", PASSPHRASE, "watch", "--json"],
                                 stdout=subprocess.PIPE, env=ENVIRONMENT)
        try:
            self.ok("connect", f"{self.second.key}@{self.second.peer}")
            event = json.loads(watch.stdout.readline())
            self.assertEqual((event["event"], event["peer"]), ("connected", self.second.key))
            peers = json.loads(self.ok("peers", "--json"))["peers"]
            self.assertIn((self.second.key, "connected"), [(p["peer"], p["state"]) for p in peers])
            self.assertIn(self.second.key, self.ok("peers"))
            self.ok("disconnect", self.second.key, "--json")
            event = json.loads(watch.stdout.readline())
            self.assertEqual((event["event"], event["peer"]), ("disconnected", self.second.key))
        finally:
            watch.terminate()
            self.assertEqual(watch.wait(PATIENCE), 0)
            watch.stdout.close()
        self.fails(1, "", "--operator", self.first.operator, "disconnect", "not-an-address:0")
        self.fails(1, "", "--operator", self.first.operator, "connect", "::::")

    def test_peers_lists_who_is_configured_too(self):
        nobody = "127.0.0.1:9"  # refused, or never answered
        known = f"{self.second.key}@{self.second.peer},{nobody},no-such-host.invalid"
        daemon = Daemon(self.folder.name, "dialler", "--peers.known", known)
        try:
            def peers():
                return {p["configured"]: p for p in json.loads(self.ok("peers", "--json", daemon=daemon))["peers"]}

            while peers()[f"{self.second.key}@{self.second.peer}"]["state"] != "connected":
                pass
            with self.attached(self.second):
                while not peers()[f"{self.second.key}@{self.second.peer}"]["core_present"]:
                    pass
            listed = peers()
            self.assertEqual(len(listed), 3)
            connected = listed[f"{self.second.key}@{self.second.peer}"]
            self.assertEqual((connected["peer"], connected["direction"]), (self.second.key, "outbound"))
            self.assertEqual(connected["score"], 0)
            self.assertEqual([c["class"] for c in connected["classes"]][0], "TRAFFIC_CLASS_SCP")
            self.assertIn(listed["no-such-host.invalid"]["state"], ("resolving", "waiting"))
            while listed[nobody]["state"] != "waiting" or listed[nobody]["dials_failed"] < 1:
                self.assertIn(listed[nobody]["state"], ("dialling", "waiting"))
                listed = peers()
            self.assertEqual(listed[nobody]["address"], nobody)
            self.assertIn(listed[nobody]["last_reason"], ("unreachable", "handshake_timeout"))
            self.assertGreaterEqual(listed[nobody]["next_dial_ms"], 0)
            lines = self.ok("peers", daemon=daemon).splitlines()
            self.assertEqual(len(lines), 3)
            self.assertTrue(lines[0].startswith(f"connected  {self.second.key} {self.second.peer} outbound"), lines)
            self.assertRegex(lines[0], r", for [\d.]+ s, rtt \d+ us, nothing queued, sent \d+ B")
            self.assertTrue(all(line.split()[0] in ("dialling", "waiting", "resolving") for line in lines[1:]), lines)
            self.assertTrue(all("(unknown key)" in line for line in lines[1:]), lines)
        finally:
            daemon.stop()

    def test_drain(self):
        for words in ((), ("--json",)):
            daemon = Daemon(self.folder.name, f"drained{len(words)}")
            said = self.ok("drain", *words, daemon=daemon)
            within = json.loads(said)["within_ms"] if words else int(said.split()[-2])
            self.assertTrue(1000 < within <= 1700, said)
            self.assertEqual(daemon.process.wait(PATIENCE), 0)
            daemon.process.stdout.close()

    def test_log_level(self):
        daemon = Daemon(self.folder.name, "logging")
        try:
            self.assertEqual(self.ok("log-level", daemon=daemon), "info\n")
            self.assertEqual(self.ok("log-level", "error", daemon=daemon), "error\n")
            with self.attached(daemon):
                pass
            self.assertEqual(json.loads(self.ok("log-level", "--json", daemon=daemon)), {"level": "error"})
            self.assertEqual(self.ok("log-level", "info", daemon=daemon), "info\n")
            self.fails(1, "\"loud\" is not legal, expected debug, info, warning or error", "--operator", daemon.operator,
                       "log-level", "loud")
            self.assertEqual(self.ok("log-level", daemon=daemon), "info\n")
        finally:
            daemon.stop()

    def test_dns(self):
        self.assertEqual(json.loads(self.ok("dns", "--json", daemon=self.alone)), {"names": []})
        self.assertIn("no configured peer has a name", self.ok("dns", daemon=self.alone))
        daemon = Daemon(self.folder.name, "resolver", "--peers.known", "localhost:9,no-such-host.invalid,127.0.0.1:9")
        try:
            def names():
                return {n["host"]: n for n in json.loads(self.ok("dns", "--json", daemon=daemon))["names"]}

            while any(name["state"] == "asking" for name in names().values()):
                pass
            listed = names()
            self.assertEqual(sorted(listed), ["localhost", "no-such-host.invalid"])  # an address is no name
            found = listed["localhost"]  # the hosts file has it
            self.assertEqual((found["state"], found["error"], found["failures"], found["services"]),
                             ("ok", "", 0, False))
            self.assertIn("127.0.0.1", found["addresses"])
            self.assertEqual(found["ttl_ms"], 5000)
            self.assertLessEqual(found["next_try_ms"], 5500)
            lost = listed["no-such-host.invalid"]
            self.assertEqual((lost["addresses"], lost["services"]), ([], True))
            self.assertNotIn("ttl_ms", lost)
            while lost["state"] != "failed":
                lost = names()["no-such-host.invalid"]
            self.assertGreaterEqual(lost["failures"], 1)
            self.assertIn("no-such-host.invalid", lost["error"])
            self.assertLessEqual(lost["next_try_ms"], 30000)
            lines = self.ok("dns", daemon=daemon).splitlines()
            self.assertEqual(len(lines), 2)
            self.assertIn("localhost", lines[0])
            self.assertIn("no-such-host.invalid (and its services), no address", lines[1])
            # Taken back as it was given, though it never connected.
            self.ok("connect", "later.invalid:9", daemon=daemon)
            self.assertIn("later.invalid", names())
            self.ok("disconnect", "later.invalid:9", daemon=daemon)
            self.assertNotIn("later.invalid", names())
        finally:
            daemon.stop()
        self.fails(1, "no entry", "--operator", self.alone.operator, "disconnect", "later.invalid:9")

    def test_submit_and_top(self):
        daemon = Daemon(self.folder.name, "pool")  # of its own: nobody announces to it, and it to nobody
        self.addCleanup(daemon.stop)
        transactions = [payment(1, 100, source=1), payment(1, 300, source=2), payment(1, 200, source=3)]
        path = pathlib.Path(self.folder.name) / "transaction"
        path.write_bytes(transactions[0])
        answer = json.loads(self.ok("submit", str(path), "--json", daemon=daemon))
        self.assertEqual(answer["outcome"], "added")
        self.assertEqual(answer["hash"], hashlib.sha256(transactions[0]).hexdigest())
        self.assertIn("added", self.ok("submit", "-", stdin=base64.b64encode(transactions[1]) + b"\n", daemon=daemon))
        self.assertIn("added", self.ok("submit", "-", stdin=transactions[2].hex().encode(), daemon=daemon))
        self.assertIn("duplicate", self.ok("submit", "-", stdin=transactions[2], daemon=daemon))
        base = ("--daemon", daemon.core, "--passphrase", PASSPHRASE)
        with self.attached(daemon):
            self.assertEqual(len(self.ok("top", daemon=daemon).splitlines()), 3)
        while json.loads(self.ok("status", "--json", daemon=daemon))["core"] is not None:
            pass
        top = json.loads(self.ok("top", "2", "--json", daemon=daemon))["transactions"]  # the mempool outlives its core
        self.assertEqual([tx["hash"] for tx in top],
                         [hashlib.sha256(transactions[i]).hexdigest() for i in (1, 2)])
        self.assertEqual(len(self.ok("top", daemon=daemon).splitlines()), 3)
        hashes = [hashlib.sha256(transaction).hexdigest() for transaction in transactions]
        trace = json.loads(self.ok("tx", hashes[1], "--json", daemon=daemon))
        self.assertEqual((trace["place"], trace["fee"], trace["operations"], trace["sequence"], trace["from"]),
                         ("pooled", 300, 1, 1, ""))
        self.assertEqual((trace["account"], trace["size_bytes"]), ("02" * 32, len(transactions[1])))
        self.assertEqual((trace["announcers"], trace["known_by"]), ([], []))
        text = self.ok("tx", hashes[1], daemon=daemon)
        self.assertIn("in the mempool since", text)
        self.assertIn("the core", text)
        self.assertEqual(json.loads(self.ok("tx", "33" * 32, "--json", daemon=daemon))["place"], "unknown")
        self.assertIn("nobody announced it", self.ok("tx", "33" * 32, daemon=daemon))
        self.fails(1, "malformed", *base, "submit", "-", stdin=b"\x00\x00\x00\x02\x00")
        self.fails(1, "neither XDR nor its base64 or hex", *base, "submit", "-", stdin=b"*not a transaction*")
        self.fails(1, "cannot read /nonexistent", *base, "submit", "/nonexistent")

    def test_a_core_is_attached(self):
        base = ("--daemon", self.alone.core, "--passphrase", PASSPHRASE)
        with self.attached(self.alone) as core:
            self.fails(1, "--takeover", *base, "submit", "-", stdin=payment(1))
            self.assertIn("no transaction", self.ok("top", daemon=self.alone))
            self.assertIn("added", self.ok("submit", "-", "--takeover", stdin=payment(1), daemon=self.alone))
            core.wait(PATIENCE)
            self.assertEqual(core.returncode, 1)

    def test_where_a_set_is(self):
        self.assertEqual(json.loads(self.ok("set", "44" * 32, "--json"))["place"], "unknown")
        self.assertIn("neither here nor wanted", self.ok("set", "44" * 32))
        with self.attached(self.alone):  # it fetches one that nobody has
            trace = json.loads(self.ok("set", "11" * 32, "--json", daemon=self.alone))
            self.assertEqual((trace["place"], trace["wanted_by_core"], trace["sources"]), ("wanted", True, []))
            self.assertIn("wanted by the core", self.ok("set", "11" * 32, daemon=self.alone))
            self.assertIn("unknown", self.ok("set", "11" * 32, "--quorum-set", daemon=self.alone))

    def test_fetch_times_out_by_name(self):
        self.fails(1, "no peer had it within 1 s", "--daemon", self.first.core, "--passphrase", PASSPHRASE, "fetch",
                   "22" * 32, "--quorum-set", "--timeout", "1")

    def test_refusals_say_what_to_do(self):
        self.fails(1, "wrong --passphrase", "--daemon", self.first.core, "--passphrase", "another", "top")
        self.fails(1, "nothing answers at unix:/nonexistent", "--daemon", "unix:/nonexistent", "--passphrase", "x", "top")
        self.fails(1, "no answer from the daemon at unix:/nonexistent", "--daemon", "unix:/nonexistent", "status",
                   "--timeout", "1")
        self.fails(1, "with --operator", "--daemon", self.first.core, "status")
        self.fails(1, "which network?", "--daemon", self.first.core, "top")
        self.fails(1, "api.listen with --daemon", "--daemon", self.first.operator, "--passphrase", PASSPHRASE, "top")
        self.fails(1, "cannot read a token", "--daemon", "unix:/x", "--token-file", "/nonexistent", "status")

    def test_usage(self):
        for words, message in (((), "which command?"), (("frobnicate",), "--help lists"),
                               (("--daemon", "x", "fetch", "12"), "64 hex digits"),
                               (("--daemon", "x", "fetch"), "after it"),
                               (("--daemon", "x", "tx", "12"), "64 hex digits"),
                               (("--daemon", "x", "set", "12"), "64 hex digits"),
                               (("--daemon", "x", "top", "0"), "1 to 1000000"),
                               (("--daemon", "x", "status", "more"), "nothing after it"),
                               (("--daemon", "x", "status", "--fast"), "--help lists"),
                               (("--daemon",), "a value after it"),
                               (("--daemon", "x", "--timeout", "0", "status"), "1 to 3600"),
                               (("status",), "unix:PATH or IP:PORT"),
                               (("--operator", "x", "top"), "unix:PATH or IP:PORT")):
            self.fails(2, message, *words)
        done = ctl("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"usage: overlayctl", done.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
