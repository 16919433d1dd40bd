#!/usr/bin/env python3
"""Runs overlay-bench shortly: complete output, nothing lost, no process left. No time is asserted."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

BENCH, OVERLAYD = sys.argv[1:3]
KEYS = {"mode", "valid", "p50_us", "p90_us", "p99_us", "p999_us", "lost", "cpu_us_per_copy", "floor"}
FLOOR_KEYS = {"udp_echo_p50_us", "unix_echo_p50_us", "grpc_echo_p50_us", "grpc_echo_p99_us", "quic_echo_p50_us",
              "quic_echo_p99_us", "quic_bulk_mb_s", "grpc_bulk_mb_s", "sha256_mb_s"}


def run(*words):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([BENCH, *words], capture_output=True, text=True, timeout=200,
                              env={**os.environ, "TMPDIR": folder})
        assert os.listdir(folder) == [], "a folder was left behind"
    return done


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

    def test_floor(self):
        result = self.measured("floor", "--count", "20", "--gap-us", "2000")
        self.assertIsNone(result["p50_us"])

    def test_scp(self):
        # More than one slot, so that ledgers close on the way.
        result = self.measured("scp", "--nodes", "3", "--count", "260", "--gap-us", "4000", "--daemon", OVERLAYD)
        self.assertEqual(result["lost"], 0)
        self.assertGreater(result["p50_us"], 0)
        self.assertGreaterEqual(result["p999_us"], result["p99_us"])
        self.assertGreaterEqual(result["p99_us"], result["p50_us"])

    def test_usage(self):
        for words, message in ((("frobnicate",), "expected floor or scp"), ((), "which mode?"),
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
