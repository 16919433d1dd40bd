"""The page for people, in a real browser: it shows what ListPeers says, live, and runs without an error."""

import contextlib
import http.server
import json
import os
import pathlib
import threading

import daemon as d
import xdr
from browser import Browser
from daemon import core_pb2, operator_pb2
from pages_test import Pages, get

CONNECTED = operator_pb2.PeerDetail.STATE_CONNECTED


def forged_peer(number, agent):
    connected = number % 10 != 0
    return {"state": "connected" if connected else "waiting", "peer": f"G{number:055d}", "address": f"192.0.2.{number}:1",
            "configured": agent, "preferred": number % 7 == 0, "banned": False, "direction": "inbound" if number % 2 else
            "outbound", "agent": agent, "connected_ms": 1, "rtt_us": 100 * 1.05 ** number, "core_present": number % 3 != 0,
            "score": 0, "bytes_sent": 0, "bytes_received": 0, "dials_failed": 0, "last_reason": agent, "classes": []}


# Where the pictures go, to be looked at; by default they vanish with the test.
PICTURES = os.environ.get("TEST_PICTURES")


class PageForPeople(Pages):
    def setUp(self):
        super().setUp()
        self.browser = None

    def tearDown(self):
        if self.browser is not None:
            self.browser.close()
        super().tearDown()

    def picture(self, name):
        self.browser.screenshot(pathlib.Path(PICTURES or self.folder) / f"{name}.png")

    def assert_no_errors(self):
        self.assertEqual([each for each in self.browser.console() if each["level"] != "INFO"], [])

    def connected(self, daemon):
        return sum(peer.state == CONNECTED for peer in daemon.peers())

    def shows(self, daemon, count):
        """The page's count becomes that of ListPeers, in the figure, the picture and the table."""
        self.wait_for(lambda: self.connected(daemon) == count)
        self.browser.wait(f"document.getElementById('peer-count').textContent === '{count}'")
        self.browser.wait(f"document.querySelectorAll('#topology g[data-state=connected]').length === {count}")
        self.browser.wait(f"document.querySelectorAll('#peers tbody tr[data-state=connected]').length === {count}")
        self.assertEqual(self.connected(daemon), count)

    def test_it_shows_the_peers_lives_and_tells_when_it_does_not(self):
        a = self.start("a")
        here = f"{a.ready['node']}@{a.ready['peer']}"
        others = [self.start(f"b{i}", "--peers.known", here) for i in range(3)]
        core = d.Core(a)
        others_cores = [d.Core(other) for other in others[:2]]
        self.browser = Browser(self.folder)
        self.browser.open(f"http://{a.ready['metrics']}/")
        self.shows(a, 3)
        keys = self.browser.run("return [...document.querySelectorAll('#topology g[data-state=connected]')]"
                                ".map((each) => each.dataset.peer)")
        self.assertEqual(sorted(keys), sorted(other.ready["node"] for other in others))
        self.browser.wait("document.getElementById('verdict').textContent === '✓ ready'")
        self.browser.wait("document.querySelectorAll('#topology circle.hollow').length === 1")  # without a core

        # Traffic shows as rates and latencies.
        scp = core.stream("Scp")
        scp.put(core_pb2.ScpUp(broadcast=core_pb2.ScpBroadcast(envelope=xdr.nomination(5, os.urandom(32)), id=1)))
        core.stub.LedgerClosed(core_pb2.LedgerClosedRequest(slot=5, tracking=True), metadata=core.metadata())
        self.browser.wait("document.getElementById('ledger').textContent === '5'")
        self.browser.wait("document.querySelectorAll('#latencies tbody tr')[2].cells[4].textContent === '3'")
        self.browser.wait("document.querySelectorAll('#rates svg path[d]').length === 8")
        self.assertRegex(self.browser.text("#rates figure:last-child strong"), r"↓ [\d.]+ (B|KiB)  ↑ [\d.]+ (B|KiB)")
        self.picture("wide")
        self.assert_no_errors()

        # On a phone nothing is cut off: what is wide scrolls by itself.
        self.browser.resize(360, 740)
        self.browser.wait("document.documentElement.scrollWidth <= 360")
        self.picture("phone")

        # It updates: a peer goes, then the core.
        updates = int(self.browser.run("return document.body.dataset.updates"))
        self.assertEqual(others[0].stop(), 0)
        self.shows(a, 2)
        self.assertGreater(int(self.browser.run("return document.body.dataset.updates")), updates)
        core.close()
        self.browser.wait("document.getElementById('verdict').textContent === '✕ not ready: core: none, ready.core is true'")
        self.assert_no_errors()

        # A daemon that has gone is said to have gone.
        self.assertEqual(a.stop(), 0)
        self.browser.wait("document.getElementById('verdict').textContent.startsWith('✕ no answer')")
        self.picture("gone")
        for each in others_cores:
            each.close()

    def test_what_a_peer_calls_itself_is_text_and_many_are_drawn(self):
        a = self.start("a")
        evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

        class Forged(http.server.BaseHTTPRequestHandler):
            """The daemon's own pages, but for peers that no daemon of ours would be."""

            def do_GET(self):
                status, headers, text = get(a, self.path)
                if self.path == "/peers":
                    text = json.dumps({"peers": [forged_peer(i, evil) for i in range(200)]})
                body = text.encode()
                self.send_response(status)
                for name in ("content-type", "content-security-policy"):
                    if name in headers:
                        self.send_header(name, headers[name])
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # the browser has ended
                    self.wfile.write(body)

            def log_message(self, *words):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forged)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.browser = Browser(self.folder)
        self.browser.open(f"http://127.0.0.1:{server.server_address[1]}/")
        self.browser.wait("document.querySelectorAll('#peers tbody tr').length === 200")
        self.assertEqual(self.browser.run("return document.querySelectorAll('#topology g').length"), 64)
        self.assertIn("136 more are not drawn", self.browser.text("#topology-text"))
        self.assertIn(evil, self.browser.text("#peers tbody"))
        self.assertEqual(self.browser.run("return [document.images.length, document.scripts.length]"), [0, 1])
        self.assertRegex(self.browser.run("return document.title"), "^overlayd G")
        self.picture("many")
        self.assert_no_errors()
        server.shutdown()
        server.server_close()
