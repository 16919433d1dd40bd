#!/usr/bin/env python3
"""Runs overlay-bench shortly: complete output, nothing lost, no process left. No time is asserted."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

BENCH, OVERLAYD = sys.argv[1:3]
LATENCY_KEYS = {"mode", "valid", "p50_us", "p90_us", "p99_us", "p999_us", "lost"}
KEYS = LATENCY_KEYS | {"cpu_us_per_copy", "floor"}
FLOOR_KEYS = {"udp_echo_p50_us", "unix_echo_p50_us", "grpc_echo_p50_us", "grpc_echo_p99_us", "quic_echo_p50_us",
              "quic_echo_p99_us", "quic_bulk_mb_s", "grpc_bulk_mb_s", "sha256_mb_s"}


def run(*words):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([BENCH, *words], capture_output=True, text=True, timeout=200,
                              env={**os.environ, "TMPDIR": folder})
        assert os.listdir(folder) == [], "a folder was left behind"
    return done


def namespaces():
    """Those of isolation.py. A run that was killed may have left some."""
    lines = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split()[0] for line in lines if re.match(r"overlay-\d+-(sender|router|receiver)", line)}


class BenchTest(unittest.TestCase):
    def measured(self, *words):
        done = run(*words, "--json")
        self.assertTrue(done.stdout, done.stderr)
        result = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(set(result), KEYS)
        self.assertEqual(set(result["floor"]), FLOOR_KEYS)
        self.assertEqual(result["mode"], words[0])
        # A busy machine may miss the pace; then it must say so.
        self.assertEqual(done.returncode, 0 if result["valid"] else 1, done.stderr)
        for key in FLOOR_KEYS:
            self.assertGreater(result["floor"][key], 0, key)
        return result

    def lost_nothing(self, result, *names):
        """Where the pace was kept: on a machine that misses it by far, slots close before their envelopes come."""
        if result["valid"]:
            self.assertEqual({name: result[name] for name in names}, dict.fromkeys(names, 0))

    def test_floor(self):
        result = self.measured("floor", "--count", "20", "--gap-us", "2000")
        self.assertIsNone(result["p50_us"])

    def test_scp(self):
        # More than one slot, so that ledgers close on the way.
        result = self.measured("scp", "--nodes", "3", "--count", "260", "--gap-us", "4000", "--daemon", OVERLAYD)
        self.lost_nothing(result, "lost")
        self.assertGreater(result["p50_us"], 0)
        self.assertGreaterEqual(result["p999_us"], result["p99_us"])
        self.assertGreaterEqual(result["p99_us"], result["p50_us"])

    def test_tx(self):
        done = run("tx", "--nodes", "3", "--count", "500", "--daemon", OVERLAYD, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(set(result), LATENCY_KEYS | {"pull_p50_us", "pull_p99_us", "tx_per_s", "cpu_us_per_tx_per_node",
                                                      "bytes_per_tx_per_link", "duplicate_share"})
        self.assertEqual(result["lost"], 0)
        self.assertGreater(result["tx_per_s"], 0)
        # Pulled once, but for what a busy machine did not answer in time.
        self.assertLess(result["duplicate_share"], 0.1)

    def test_txset(self):
        keys = LATENCY_KEYS | {"bytes", "mb_per_s", "daemon_ms_per_set", "cpu_ms_per_set",
                                "wire_bytes_per_set", "floor_us"}
        for words, sizes in ((("--bytes", "1000000"), [1000000]),
                             (("--bytes", "1000000", "--sources", "3"), [1000000]),
                             (("--bytes", "1000000", "--silent-first"), [1000000]),
                             ((), [100000, 1000000, 10000000])):
            done = run("txset", *words, "--count", "3", "--daemon", OVERLAYD, "--json")
            self.assertEqual(done.returncode, 0, done.stderr)
            result = json.loads(done.stdout.splitlines()[-1])
            self.assertEqual(set(result), keys | {"sources", "silent_first", "runs"})
            self.assertEqual([each["bytes"] for each in result["runs"]], sizes)
            for each in result["runs"]:
                self.assertEqual(set(each), keys)
                self.assertEqual(each["lost"], 0)
                # They came over the network.
                self.assertGreater(each["wire_bytes_per_set"], each["bytes"])
            if result["silent_first"]:
                # A rule, not a speed: nobody else is asked before a source has been silent for 150 ms.
                self.assertGreater(result["p50_us"], 100000)

    def test_mission(self):
        # A small load: a busy machine may still be behind its schedule, and must then say so.
        done = run("mission", "--seconds", "4", "--tps", "500", "--envelopes", "100", "--peers", "6",
                   "--daemon", OVERLAYD, "--json")
        self.assertTrue(done.stdout, done.stderr)
        result = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(set(result), {"mode", "valid", "reason", "peers", "tps", "envelopes_per_s", "set_bytes", "seconds",
                                       "daemon_cores", "core_cores", "peers_cores", "turns_per_s", "turn_p99_us",
                                       "turn_p999_us", "turn_other_p99_us", "turn_other_p999_us", "rss_mb", "rss_growth_mb",
                                       "transactions", "envelopes", "sets",
                                       "externalized_p99_us", "ticks", "ticks_late", "worst_lag_us"})
        self.assertEqual(done.returncode, 0 if result["valid"] else 1, done.stderr)
        self.assertEqual((result["transactions"]["sent"], result["envelopes"]["sent"]), (2000, 400))
        for kind in ("transactions", "envelopes", "sets"):
            self.assertEqual((result[kind]["lost"], result[kind]["duplicated"]), (0, 0), kind)
            self.assertGreater(result[kind]["p50_us"], 0)
        self.assertEqual(len(result["rss_mb"]), 6)
        self.assertGreater(result["daemon_cores"], 0)

    def test_drain(self):
        done = run("drain", "--seconds", "4", "--tps", "500", "--envelopes", "100", "--peers", "6",
                   "--daemon", OVERLAYD, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(set(result), {"mode", "valid", "peers", "tps", "envelopes_per_s", "delivered", "exit_code",
                                       "exit_ms", "disconnects", "goaways"})
        self.assertEqual((result["exit_code"], result["disconnects"], result["goaways"]), (0, 6, 6))
        self.assertGreater(result["delivered"], 0)
        self.assertGreater(result["exit_ms"], 250)  # peers are read for so long before connections close

    def test_mempool(self):
        done = run("mempool", "--count", "3000", "--daemon", OVERLAYD, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout.splitlines()[-1])
        figures = {f"{part}_{share}_us" for part in ("rules", "rules_tenth", "daemon") for share in ("p50", "p99")}
        self.assertEqual(set(result), {"mode", "valid", "count"} | figures)
        for name in figures:
            self.assertGreater(result[name], 0, name)

    def test_scp_http3(self):
        done = run("scp-http3", "--count", "2000", "--daemon", OVERLAYD, "--json")
        self.assertTrue(done.stdout, done.stderr)
        result = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(set(result), LATENCY_KEYS | {"p50_without_us", "p99_without_us", "lost_without", "ratio", "pages",
                                                      "pages_refused", "page_p50_us", "page_p99_us"})
        self.lost_nothing(result, "lost", "lost_without", "pages_refused")
        # Half of the time, 200 a second, as far as the machine keeps the pace.
        self.assertGreater(result["pages"], 100)
        self.assertGreater(result["ratio"], 0)

    def test_stall(self):
        done = run("stall", "--seconds", "16", "--daemon", OVERLAYD, "--json")
        self.assertTrue(done.stdout, done.stderr)
        result = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(set(result), LATENCY_KEYS | {"p50_without_us", "p99_without_us", "lost_without",
                                                      "rss_growth_mb", "closed_after_s"})
        self.lost_nothing(result, "lost", "lost_without")
        # A rule of the protocol, not a speed: 10 s after the first envelope that found no room.
        self.assertIsNotNone(result["closed_after_s"], done.stdout)
        self.assertGreaterEqual(result["closed_after_s"], 9.9)

    def test_deaf(self):
        done = run("deaf", "--seconds", "3", "--count", "12000", "--daemon", OVERLAYD, "--json")
        self.assertTrue(done.stdout, done.stderr)
        result = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(set(result), LATENCY_KEYS | {"p50_quiet_us", "p99_quiet_us", "transactions", "refused", "tx_lost",
                                                      "overflows", "waiting_max", "waiting_end", "rss_growth_mb"})
        # Neither envelopes nor transactions: they waited, and were given to the core when it read again.
        self.assertEqual((result["transactions"], result["refused"]), (12000, 0))
        self.lost_nothing(result, "lost", "tx_lost", "waiting_end")
        # It was deaf, and its pending transactions had their bound.
        if result["valid"]:
            self.assertGreater(result["waiting_max"], 1000)
        self.assertLess(result["waiting_max"], 10000 + 3 * 500 + 1000)

    def test_idle(self):
        done = run("idle", "--seconds", "1", "--daemon", OVERLAYD, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(set(result), {"mode", "valid", "bare", "alone", "four_peers"})
        for name in ("bare", "alone", "four_peers"):
            self.assertGreater(result[name]["anonymous_mb"], 0)
        # Memory, unlike time, is the same on a busy machine.
        self.assertLess(result["four_peers"]["anonymous_mb"], 30)

    def test_isolation(self):
        before = namespaces()
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(__file__).with_name("isolation.py")
            done = subprocess.run([sys.executable, str(script), "--bench", BENCH, "--daemon", OVERLAYD, "--seconds", "6",
                                   "--rate-mbit", "100", "--json"], capture_output=True, text=True, timeout=100,
                                  env={**os.environ, "TMPDIR": folder})
        self.assertTrue(done.stdout, done.stderr)
        result = json.loads(done.stdout.splitlines()[-1])
        self.lost_nothing(result, "lost")
        # The link was in use, and was the link that was asked for.
        if result["valid"]:
            self.assertGreater(result["sets"], 0)
            self.assertGreater(result["queue_bytes_max"], 0)
        self.assertLess(result["use"], 1.05)
        self.assertEqual(namespaces() - before, set(), "a namespace was left behind")

    def test_usage(self):
        for words, message in ((("frobnicate",), "expected floor, scp, scp-http3, tx, txset, isolation, mission, drain, mempool, stall, deaf, idle"), ((), "which mode?"),
                               (("isolation", "--from", "unix:/a"), "--from and --to"),
                               (("stall", "--seconds", "0"), "expected 1 to 600"),
                               (("scp", "--nodes", "1"), "expected 2 to 16"),
                               (("scp", "--gap-us"), "nothing after it"),
                               (("scp", "--fast"), "no option --fast")):
            done = run(*words)
            self.assertEqual(done.returncode, 2)
            self.assertIn(message, done.stderr)

    def test_no_daemon(self):
        done = run("scp", "--daemon", "/nonexistent/overlayd")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent/overlayd: No such file", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
