"""The daemon's pages over HTTP: health as supervisors read it, and the same figures as over gRPC."""

import http.client
import json
import signal
import socket
import threading
import time

import grpc

import daemon as d
from daemon import health_pb2, health_pb2_grpc
from peers_test import overlayctl
from overlayd_test import Folder

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def get(daemon, path, method="GET", timeout=10):
    """Status, headers and text of a page."""
    connection = http.client.HTTPConnection(daemon.ready["metrics"], timeout=timeout)
    connection.request(method, path)
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    text = answer.read().decode()
    connection.close()
    return answer.status, headers, text


def grpc_health(daemon, service):
    stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(daemon.ready["operator"]))
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status


class Pages(Folder):
    def wait_for(self, what, seconds=20):
        end = time.monotonic() + seconds
        while not (got := what()):
            self.assertLess(time.monotonic(), end, what)
            threading.Event().wait(0.02)
        return got

    def agree(self, daemon, ready):
        """Page, health service, metric, status: all of them say the same, soon."""
        wanted = (200, SERVING, 1.0, True) if ready else (503, NOT_SERVING, 0.0, False)
        said = lambda: (get(daemon, "/readyz")[0], grpc_health(daemon, "readyz"),
                        daemon.metrics()["overlay_core_ready_count"],
                        overlayctl(daemon, "status")[1]["ready"])
        self.wait_for(lambda: said() == wanted)
        self.assertEqual([get(daemon, path)[0] for path in ("/livez", "/startupz")], [200, 200])
        self.assertEqual([grpc_health(daemon, name) for name in ("livez", "startupz", "")], [SERVING] * 3)


class Health(Pages):
    def test_readiness_follows_core_and_peers_everywhere(self):
        a = self.start("a")
        self.agree(a, False)
        text = get(a, "/readyz")[2]
        self.assertIn("[-]core failed: none, ready.core is true\n", text)
        self.assertIn("[-]peers failed: 0 connected, ready.peers_min is 1\n", text)
        self.assertIn("no: core: none, ready.core is true; peers: 0 connected",
                      a.ctl("status").stdout)
        core = d.Core(a)
        b = self.start("b", "--peers.known", f"{a.ready['node']}@{a.ready['peer']}")
        self.agree(a, True)
        self.assertEqual(get(b, "/readyz")[0], 503)
        core.close()
        self.agree(a, False)
        self.assertIn("[+]peers ok: 1 connected", get(a, "/readyz")[2])
        self.assertEqual(a.stop(), 0)
        log = (self.folder / "a.log").read_text()
        self.assertIn("readiness ready=true", log)
        self.assertIn('readiness ready=false why="core: none, ready.core is true"', log)

    def test_what_is_needed_is_a_setting_and_live(self):
        config = self.folder / "a.toml"
        config.write_text("[ready]\ncore = false\npeers_min = 0\n")
        a = self.start("a", "--config", str(config))
        self.agree(a, True)
        config.write_text("[ready]\ncore = false\npeers_min = 2\n")
        a.process.send_signal(signal.SIGHUP)
        self.agree(a, False)
        for text, said in (("peers_min = -1", 'ready.peers_min: -1 is not legal, expected 0 to 10000'),
                           ("core = 3", 'ready.core: 3 is not legal, expected true or false')):
            config.write_text(f"[ready]\n{text}\n")
            done = d.run("check-config", "--config", str(config), "--network.passphrase", "x", "--node.key_file", str(a.key))
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(said, done.stderr)

    def test_watchers_of_readiness_are_told(self):
        a = self.start("a", "--ready.peers_min", "0")
        stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(a.ready["operator"]))
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="readyz"), timeout=30)
        self.assertEqual(next(watch).status, NOT_SERVING)
        core = d.Core(a)
        self.assertEqual(next(watch).status, SERVING)
        core.close()
        self.assertEqual(next(watch).status, NOT_SERVING)

    def test_a_loop_that_hangs_is_dead(self):
        a = self.start("a")
        # Each thread that the daemon has but the HTTP server's: its main thread is the loop.
        with d.subprocess.Popen(["/usr/bin/python3", "-c", HOLD, str(a.process.pid)], stdin=d.subprocess.PIPE,
                                stdout=d.subprocess.PIPE, text=True) as holder:
            self.assertEqual(holder.stdout.readline(), "held\n")
            self.wait_for(lambda: get(a, "/livez")[0] == 503)
            self.assertIn("[-]loop failed", get(a, "/livez")[2])
            self.assertEqual(get(a, "/readyz")[0], 503)
            self.assertIn("did not answer", get(a, "/status")[2])
            holder.stdin.close()
        self.wait_for(lambda: get(a, "/livez")[0] == 200)
        self.wait_for(lambda: get(a, "/status")[0] == 200)
        self.assertEqual(a.stop(), 0)


# Stops one thread of a process with ptrace (SEIZE, INTERRUPT) until standard input ends.
HOLD = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
assert libc.ptrace(0x4206, pid, None, None) == 0, os.strerror(ctypes.get_errno())  # SEIZE
assert libc.ptrace(0x4207, pid, None, None) == 0  # INTERRUPT
os.waitpid(pid, 0x40000000)  # __WALL: stopped
print("held", flush=True)
sys.stdin.read()
assert libc.ptrace(17, pid, None, None) == 0  # DETACH
"""


class Figures(Pages):
    def test_status_and_peers_are_those_of_overlayctl(self):
        a, b, core_a, _ = self.pair()
        steady = lambda status: {name: value for name, value in status.items() if "_ms" not in name and name != "core"}
        page = json.loads(get(a, "/status")[2])
        self.assertEqual(steady(page), steady(overlayctl(a, "status")[1]))
        self.assertEqual(page["core"]["agent"], "python")
        # From here on the peer has all its fields.
        self.wait_for(lambda: "clock_offset_us" in json.loads(get(a, "/peers")[2])["peers"][0])
        listed = json.loads(get(a, "/peers")[2])["peers"]
        self.assertEqual([(p["peer"], p["state"]) for p in listed], [(b.ready["node"], "connected")])
        self.assertEqual(sorted(listed[0]), sorted(overlayctl(a, "peers")[1]["peers"][0]))
        status, headers, text = get(a, "/metrics")
        self.assertEqual((status, headers["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        self.assertIn("overlay_core_ready_count 1\n", text)
        self.assertTrue(core_a.has_lost_nobody())

    def test_only_reading_and_only_what_is_there(self):
        a = self.start("a")
        status, headers, _ = get(a, "/status", "POST")
        self.assertEqual((status, headers["allow"]), (405, "GET, HEAD"))
        status, headers, text = get(a, "/status", "HEAD")
        self.assertEqual((status, text), (200, ""))
        self.assertGreater(int(headers["content-length"]), 100)
        for path in ("/nothing", "/../etc/passwd", "/%2e%2e/etc/passwd", "/status/", "/" + "x" * 8000):
            self.assertEqual(get(a, path)[0], 404, path)
        self.assertEqual(get(a, "/")[1]["content-type"], "text/html; charset=utf-8")

    def test_who_says_nothing_keeps_no_probe_waiting(self):
        a = self.start("a")
        host, port = a.ready["metrics"].rsplit(":", 1)
        silent = [socket.create_connection((host, int(port)), 10) for _ in range(16)]
        for each in silent:
            each.sendall(b"GET /livez HT")
        began = time.monotonic()
        self.assertEqual(get(a, "/livez", timeout=20)[0], 200)
        self.assertLess(time.monotonic() - began, 10)
        for each in silent:
            each.close()

    def test_a_flood_of_requests_costs_the_loop_a_few_questions(self):
        a = self.start("a")
        turns = lambda: a.metrics()["overlay_loop_turns_total"]
        before, began = turns(), time.monotonic()
        for _ in range(400):
            self.assertEqual(get(a, "/peers")[0], 200)
        seconds = time.monotonic() - began
        # Its own rhythm is a few turns a second, and the two calls that count them.
        self.assertLess(turns() - before, 60 + 30 * seconds)
