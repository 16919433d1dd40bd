"""The HTTP/3 window of a real daemon: seen by ngtcp2's client, which was not written here, by curl where it speaks
HTTP/3, and by our own client where a header has to be sent; flooded, not read, drained."""

import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

import daemon as d

CLIENT = "gtlsclient"  # of Debian's ngtcp2-client
GET = os.environ["TEST_HTTP3_GET"]
SET_BYTES = 10_000_000
MIB = 1 << 20


def compressible(size):
    blocks = [os.urandom(500) + bytes(500) for _ in range(size // 1000)]
    return b"".join(blocks)


def curl_speaks_http3():
    path = shutil.which("curl")
    return path is not None and "HTTP3" in subprocess.run([path, "--version"], capture_output=True, text=True).stdout


class WindowTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def start(self, *words, listen="127.0.0.1:0"):
        overlayd = d.Daemon(self.folder, "a", "--http3.listen", listen, *words)
        self.addCleanup(overlayd.stop)
        return overlayd

    def start_with_set(self, *words):
        """A daemon whose core has offered a set."""
        overlayd = self.start(*words)
        core = d.Core(overlayd)
        body = compressible(SET_BYTES)
        return overlayd, core, body, core.offer_set(body).hex()

    def gtls(self, overlayd, *paths, options=(), timeout=60):
        """By ngtcp2's client: what it said, and the files that it was given."""
        host, port = overlayd.ready["http3"].rsplit(":", 1)
        into = tempfile.mkdtemp(dir=self.folder)
        # Without -q it prints each header; the dumps would be the bodies themselves.
        done = subprocess.run(
            [CLIENT, "--no-quic-dump", "--no-http-dump", "--exit-on-all-streams-close", "--timeout=20s",
             f"--download={into}", *options, host, port, *[f"https://{host}:{port}{path}" for path in paths]],
            capture_output=True, text=True, timeout=timeout, errors="replace")
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        said = done.stdout + done.stderr
        return said, {path.name: path.read_bytes() for path in pathlib.Path(into).iterdir()}

    def get(self, overlayd, method, path, *headers):
        """By our own client: the lines that it says, by their names."""
        done = subprocess.run([GET, overlayd.ready["http3"], method, path, *headers], capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return dict(line.split(":", 1) for line in done.stdout.splitlines())

    def http1(self, overlayd, path):
        with urllib.request.urlopen(f"http://{overlayd.ready['metrics']}{path}", timeout=20) as answer:
            return answer.read().decode()

    def wait_metric(self, overlayd, name, wanted):
        until = time.monotonic() + 20
        while True:
            value = overlayd.metrics()[name]
            if wanted(value):
                return value
            self.assertLess(time.monotonic(), until, f"{name} is {value}")


class PagesTest(WindowTest):
    def test_the_pages_of_the_metrics_port(self):
        overlayd = self.start()
        core = d.Core(overlayd)
        _, files = self.gtls(overlayd, "/status", "/peers", "/metrics", "/livez", "/startupz")
        status = json.loads(files["status"])
        self.assertEqual((status["node"], status["http3_address"]), (overlayd.ready["node"], overlayd.ready["http3"]))
        self.assertIn("HTTP/3 " + overlayd.ready["http3"], overlayd.ctl("status").stdout)
        self.assertEqual(json.loads(files["peers"]), {"peers": []})
        lines = files["metrics"].decode().splitlines()
        names = {line.split("{")[0].split(" ")[0] for line in lines if line and line[0] != "#"}
        http1 = {line.split("{")[0].split(" ")[0] for line in self.http1(overlayd, "/metrics").splitlines()
                 if line and line[0] != "#"}
        self.assertEqual(names, http1)
        self.assertIn("overlay_http3_answers_total", names)
        for page in ("livez", "startupz"):
            self.assertEqual(*[re.sub(r"[0-9]+ ms", "", text)
                               for text in (files[page].decode(), self.http1(overlayd, "/" + page))])
        said, _ = self.gtls(overlayd, "/livez")
        self.assertIn("[:status: 200]", said)
        self.assertIsNotNone(core)

    def test_head_and_what_is_refused(self):
        overlayd, _, body, name = self.start_with_set()
        said, files = self.gtls(overlayd, f"/txsets/{name}", options=("-m", "HEAD"))
        self.assertIn("[:status: 200]", said)
        self.assertIn(f"[content-length: {len(body)}]", said)
        self.assertFalse(any(files.values()))
        for path, status in (("/nothing", 404), ("/txsets/" + "0" * 64, 404), ("/txsets/xyz", 400),
                             ("/txsets/" + name[:-1], 400), ("/%2e%2e/status", 400), ("/status/", 404)):
            said, _ = self.gtls(overlayd, path)
            self.assertIn(f"[:status: {status}]", said, path)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            said, _ = self.gtls(overlayd, "/status", options=("-m", method))
            self.assertIn("[:status: 405]", said)
            self.assertIn("[allow: GET, HEAD]", said)
        (self.folder / "body").write_bytes(bytes(100_000))
        said, _ = self.gtls(overlayd, "/status", options=("-d", str(self.folder / "body")))
        self.assertRegex(said, r"\[:status: (405|413)\]")
        metrics = overlayd.metrics()
        self.assertEqual(metrics["overlay_http3_refusals_total{method}"] + metrics["overlay_http3_refusals_total{body}"],
                         5)
        self.assertEqual(metrics["overlay_http3_refusals_total{not_found}"], 2)

    def test_certificates(self):
        key, certificate = self.folder / "tls.key", self.folder / "tls.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=window.example.org", "-days", "2"],
                       check=True, capture_output=True)
        refused = {
            "http3.listen": (["--http3.listen", "0.0.0.0:0"], "a loopback address, or http3.tls_cert and http3.tls_key"),
            "http3.listen ": (["--http3.listen", "nowhere"], "ADDRESS:PORT, or nothing"),
            "http3.tls_key": (["--http3.listen", "127.0.0.1:0", "--http3.tls_cert", str(certificate)],
                              "http3.tls_cert and http3.tls_key go together"),
            "http3.tls_cert": (["--http3.listen", "127.0.0.1:0", "--http3.tls_cert", "/none", "--http3.tls_key", str(key)],
                               "a readable PEM file"),
            "http3.tls_key ": (["--http3.listen", "127.0.0.1:0", "--http3.tls_cert", str(certificate), "--http3.tls_key",
                                str(certificate)], "the private key of http3.tls_cert"),
            "http3.connections_max": (["--http3.connections_max", "0"], "1 to 4096"),
            "http3.requests_per_second_max": (["--http3.requests_per_second_max", "100001"], "1 to 100000"),
        }
        made = d.run("keygen", "--out", str(self.folder / "a.key"))
        self.assertEqual(made.returncode, 0)
        for name, (words, why) in refused.items():
            done = d.run("check-config", "--node.key_file", str(self.folder / "a.key"), "--network.passphrase", "x", *words)
            self.assertEqual(done.returncode, 2, name)
            self.assertIn(name.strip() + ":", done.stderr)
            self.assertIn(why, done.stderr)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        overlayd = self.start("--http3.tls_cert", str(certificate), "--http3.tls_key", str(key), listen="0.0.0.0:0")
        overlayd.ready["http3"] = "127.0.0.1:" + overlayd.ready["http3"].rsplit(":", 1)[1]
        self.assertIn("[:status: 200]", self.gtls(overlayd, "/livez")[0])

    def test_a_port_that_is_taken(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with self.assertRaisesRegex(RuntimeError, f"(?s)exit 1.*cannot bind http3.listen {address}: held by"):
                self.start(listen=address)


class SetsTest(WindowTest):
    def test_a_set_arrives_byte_for_byte(self):
        overlayd, _, body, name = self.start_with_set()
        said, files = self.gtls(overlayd, f"/txsets/{name}")
        self.assertTrue(files[name] == body)
        self.assertIn(f'[etag: "{name}"]', said)
        self.assertIn("[cache-control: public, max-age=31536000, immutable]", said)
        self.assertIn("[content-type: application/octet-stream]", said)
        # On a path that loses every thirtieth datagram each way.
        _, files = self.gtls(overlayd, f"/txsets/{name}", options=("--tx-loss=0.03", "--rx-loss=0.03"))
        self.assertTrue(files[name] == body)

    def test_the_compressed_form_and_who_has_it(self):
        overlayd, _, body, name = self.start_with_set()
        digest = hashlib.sha256(body).hexdigest()
        plain = self.get(overlayd, "GET", f"/txsets/{name}")
        self.assertEqual((plain["status"], plain["bytes"], plain["sha256"]), ("200", str(len(body)), digest))
        self.assertEqual(plain["vary"], "accept-encoding")
        compressed = self.get(overlayd, "GET", f"/txsets/{name}", "accept-encoding:gzip, zstd")
        self.assertEqual((compressed["status"], compressed["content-encoding"]), ("200", "zstd"))
        self.assertLess(int(compressed["bytes"]), len(body) * 0.6)
        self.assertEqual((compressed["inflated"], compressed["sha256"]), (str(len(body)), digest))
        # The frame is the cache's: it counts there, once.
        cached = overlayd.metrics()["overlay_memory_bytes{sets}"]
        self.assertEqual(cached, len(body) + int(compressed["bytes"]))
        again = self.get(overlayd, "GET", f"/txsets/{name}", "accept-encoding:zstd")
        self.assertEqual(again["sha256"], digest)
        self.assertEqual(overlayd.metrics()["overlay_memory_bytes{sets}"], cached)
        for tag in (plain["etag"], compressed["etag"]):
            has = self.get(overlayd, "GET", f"/txsets/{name}", f"if-none-match:{tag}")
            self.assertEqual((has["status"], has["bytes"], has["etag"]), ("304", "0", f'"{name}"'))
        self.assertEqual(self.get(overlayd, "GET", f"/txsets/{name}", 'if-none-match:"x"')["status"], "200")

    def test_curl_where_it_speaks_http3(self):
        # Debian 12's does not: there ngtcp2's client stands for those that were not written here.
        overlayd, _, body, name = self.start_with_set()
        url = f"https://{overlayd.ready['http3']}/txsets/{name}"
        if not curl_speaks_http3():
            self.assertTrue(self.gtls(overlayd, f"/txsets/{name}")[1][name] == body)
            return
        got = subprocess.run(["curl", "-sk", "--http3-only", url], capture_output=True, timeout=60, check=True)
        self.assertTrue(got.stdout == body)
        code = subprocess.run(["curl", "-sk", "--http3-only", "-o", "/dev/null", "-w", "%{http_code}", "-H",
                               f'If-None-Match: "{name}"', url], capture_output=True, timeout=60, check=True)
        self.assertEqual(code.stdout, b"304")


class LoadTest(WindowTest):
    def test_those_who_do_not_read_cost_a_bounded_amount(self):
        overlayd, _, body, name = self.start_with_set()
        before = overlayd.metrics()["overlay_process_resident_bytes"]
        d.hold_window(self, overlayd, 12, f"/txsets/{name}")
        # 48 of them were asked for: two on each connection are being sent, and all of those are one buffer.
        self.wait_metric(overlayd, "overlay_http3_answers_total{2xx}", lambda count: count == 24)
        self.wait_metric(overlayd, "overlay_http3_refusals_total{memory}", lambda count: count == 24)
        self.assertEqual(overlayd.metrics()["overlay_http3_bodies_bytes"], len(body))
        grown = overlayd.metrics()["overlay_process_resident_bytes"] - before
        self.assertLess(grown, 24 * MIB)
        # Others are served meanwhile; they go in the end.
        self.assertTrue(self.gtls(overlayd, f"/txsets/{name}")[1][name] == body)
        self.wait_metric(overlayd, "overlay_http3_connections_total{stalled}", lambda count: count == 12)
        self.assertEqual(overlayd.metrics()["overlay_http3_bodies_bytes"], 0)

    def test_more_connections_than_there_are_places(self):
        overlayd = self.start("--http3.connections_max", "8")
        host, port = overlayd.ready["http3"].rsplit(":", 1)
        # Each stays for as long as it may: it has asked nothing, and waits.
        idle = [subprocess.Popen([CLIENT, "-q", "--timeout=20s", host, port], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL) for _ in range(20)]
        for client in idle:
            self.addCleanup(client.wait)
            self.addCleanup(client.kill)
        self.wait_metric(overlayd, "overlay_http3_connections_total{accepted}", lambda count: count >= 20)
        metrics = overlayd.metrics()
        self.assertLessEqual(metrics["overlay_http3_connections_count"], 8)
        self.assertGreaterEqual(metrics["overlay_http3_connections_total{displaced}"], 12)
        self.assertIn("[:status: 200]", self.gtls(overlayd, "/livez")[0])

    def test_too_many_requests(self):
        overlayd = self.start("--http3.requests_per_second_max", "20")
        said, _ = self.gtls(overlayd, "/livez", options=("-n", "60"))
        self.assertGreaterEqual(said.count("[:status: 429]"), 30)
        self.assertGreaterEqual(said.count("[:status: 200]"), 10)
        self.assertEqual(said.count("[retry-after: 1]"), said.count("[:status: 429]"))

    def test_a_flood_of_garbage(self):
        overlayd = self.start()
        self.gtls(overlayd, "/livez")
        before = overlayd.metrics()["overlay_process_resident_bytes"]
        host, port = overlayd.ready["http3"].rsplit(":", 1)
        source = random.Random(7)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
            flooder.connect((host, int(port)))
            for i in range(30_000):
                size = source.choice((1, 20, 60, 1200, 1400))
                garbage = bytearray(source.randbytes(size))
                if i % 2 and size >= 1200:  # the form of a first packet
                    garbage[0] = 0xc0 | garbage[0] & 0x0f
                    garbage[1:7] = b"\0\0\0\1\x08" + bytes([source.randrange(256)])
                try:
                    flooder.send(garbage)
                except ConnectionError:
                    self.fail("the window has gone")
        self.assertIn("[:status: 200]", self.gtls(overlayd, "/livez")[0])
        metrics = overlayd.metrics()
        self.assertGreater(metrics["overlay_http3_datagrams_total{unroutable}"], 1_000)
        self.assertLess(metrics["overlay_process_resident_bytes"] - before, 24 * MIB)
        self.assertEqual(metrics["overlay_process_bugs_total"], 0)

    def test_a_drain_is_not_delayed(self):
        overlayd, _, _, name = self.start_with_set()
        d.hold_window(self, overlayd, 4, f"/txsets/{name}")
        watch = d.Stopwatch()
        self.assertEqual(overlayd.stop(), 0)
        self.assertLess(watch.stop(), 2.0)


if __name__ == "__main__":
    unittest.main()
