"""Known peers and bans of real daemons: kept over a restart, dialled without any entry, refused."""

import json
import signal
import time
import urllib.request

import daemon as d
from daemon import core_pb2, operator_pb2
from overlayd_test import Folder

PeerDetail = operator_pb2.PeerDetail
KnownAddress = operator_pb2.KnownAddress


def overlayctl(daemon, *words):
    """Its exit code, and its object or what it said."""
    done = daemon.ctl("--json", *words, check=False)
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stderr


class PeersTest(Folder):
    def listed(self, daemon):
        parts = daemon.operator().ListPeers(operator_pb2.ListPeersRequest(), timeout=10)
        return {p.peer_strkey: p for part in parts for p in part.peers}

    def wait_for(self, daemon, what, seconds=20):
        """Asks until `what` of the listed peers is true, and gives them."""
        end = time.monotonic() + seconds
        while True:
            peers = self.listed(daemon)
            if what(peers):
                return peers
            self.assertLess(time.monotonic(), end, f"{daemon.name}: {peers}")

    def wait_for_state(self, daemon, key, state, seconds=20):
        is_there = lambda peers: key in peers and peers[key].state == state
        return self.wait_for(daemon, is_there, seconds)[key]


class KnownPeers(PeersTest):
    """The peer file over restarts, and what SIGHUP takes up."""

    def test_known_peers_survive_a_restart(self):
        path = self.folder / "peers"
        a = self.start("a", "--peers.file", str(path))
        b = self.start("b", "--peers.known", f"{a.ready['node']}@{a.ready['peer']}")
        key = b.ready["node"]
        self.wait_for_state(a, key, PeerDetail.STATE_CONNECTED)
        self.assertEqual(b.stop(), 0)
        self.wait_for_state(a, key, PeerDetail.STATE_LOST)
        self.assertEqual(a.stop(), 0)
        self.assertTrue(path.read_text().startswith("overlay peers 2\n"))
        a = self.start("a", "--peers.file", str(path))
        lost = self.listed(a)[key]
        self.assertEqual(lost.state, PeerDetail.STATE_LOST)
        self.assertEqual(lost.record.connected_total, 1)
        self.assertEqual(lost.last_reason, "goaway")
        self.assertEqual([k.address for k in lost.record.addresses], [b.ready["peer"]])
        # Killed, it has what it wrote when it was there.
        a.stop(signal.SIGKILL)
        a = self.start("a", "--peers.file", str(path))
        self.assertIn(key, self.listed(a))
        self.assertFalse((self.folder / "peers.corrupt").exists())

    def test_what_is_learnt_is_written_at_once_and_a_kill_costs_nothing_of_it(self):
        path = self.folder / "peers"
        a = self.start("a", "--peers.file", str(path))
        b = self.start("b", "--peers.known", f"{a.ready['node']}@{a.ready['peer']}")
        self.wait_for_state(a, b.ready["node"], PeerDetail.STATE_CONNECTED)
        end = time.monotonic() + 20
        while not path.exists():
            self.assertLess(time.monotonic(), end)
        a.stop(signal.SIGKILL)
        a = self.start("a", "--peers.file", str(path))
        self.assertIn(b.ready["node"], self.listed(a))

    def test_a_corrupt_file_is_moved_aside(self):
        path = self.folder / "peers"
        path.write_text("overlay peers 2\nsaved 17")
        a = self.start("a", "--peers.file", str(path))
        self.assertEqual(self.listed(a), {})
        self.assertEqual((self.folder / "peers.corrupt").read_text(), "overlay peers 2\nsaved 17")
        self.assertEqual(a.stop(), 0)
        self.assertIn("sha256", path.read_text())

    def test_a_folder_is_no_peer_file(self):
        with self.assertRaisesRegex(RuntimeError, r"exit 2.*[^$]*peers\.file: .* is not usable"):
            self.start("a", "--peers.file", str(self.folder))

    def test_a_disk_that_cannot_be_written_is_counted_and_harms_nothing(self):
        path = self.folder / "peers"
        (self.folder / "peers.tmp").symlink_to("/dev/full")
        a = self.start("a", "--peers.file", str(path))
        b = self.start("b", "--peers.known", f"{a.ready['node']}@{a.ready['peer']}")
        self.wait_for_state(a, b.ready["node"], PeerDetail.STATE_CONNECTED)
        end = time.monotonic() + 20
        line = 'overlay_state_writes_total{outcome="failed"} 1'
        url = f"http://{a.ready['metrics']}/metrics"
        while line not in urllib.request.urlopen(url, timeout=10).read().decode():
            self.assertLess(time.monotonic(), end)
        self.assertFalse(path.exists())
        self.assertEqual(a.stop(), 0)
        self.assertTrue(path.exists())  # the last one found room

    def test_sighup_takes_up_what_is_live_and_nothing_of_what_is_wrong(self):
        config = self.folder / "a.toml"
        config.write_text("[peers]\nknown = []\n")
        a = self.start("a", "--config", str(config))
        b = self.start("b")
        here = f"{b.ready['node']}@{b.ready['peer']}"
        config.write_text(f'[peers]\nknown = ["{here}"]\n[mempool]\ncount_max = 5000\n')
        a.process.send_signal(signal.SIGHUP)
        peer = self.wait_for_state(a, b.ready["node"], PeerDetail.STATE_CONNECTED)
        self.assertEqual(peer.configured, here)
        # Refused as a whole: the list of peers in it, too.
        config.write_text("[peers]\nknown = []\ninbound_max = 0\n")
        a.process.send_signal(signal.SIGHUP)
        for _ in range(2):  # between two answers lies a whole turn of its loop
            self.assertEqual(self.listed(a)[b.ready["node"]].configured, here)
        # Closed, and our peer is pinned: it stays, and c is not admitted.
        config.write_text(f'[peers]\nknown = ["{here}"]\nclosed = true\n')
        a.process.send_signal(signal.SIGHUP)
        c = self.start("c", "--peers.known", f"{a.ready['node']}@{a.ready['peer']}")
        refused = lambda peers: any(p.last_reason == "not_admitted" for p in peers.values())
        self.wait_for(c, refused)
        peers = self.listed(a)
        self.assertEqual(peers[b.ready["node"]].state, PeerDetail.STATE_CONNECTED)
        self.assertEqual(peers[b.ready["node"]].configured, here)
        self.assertNotIn(c.ready["node"], peers)
        config.write_text(f'[peers]\nknown = ["{here}"]\n')
        a.process.send_signal(signal.SIGHUP)
        self.wait_for_state(a, c.ready["node"], PeerDetail.STATE_CONNECTED)
        self.assertEqual(a.stop(), 0)


class Bans(PeersTest):
    def test_a_ban_outlives_the_daemon_and_what_is_known_is_dialled_when_it_ends(self):
        keeps = ("--peers.file", f"{self.folder}/a.peers")
        a = self.start("a", *keeps)
        b = self.start("b", "--peers.known", a.ready["peer"])
        core = d.Core(b)
        key = b.ready["node"]
        learnt = lambda daemon, other: [
            each.source for each in self.wait_for_state(daemon, other.ready["node"], PeerDetail.STATE_CONNECTED)
            .record.addresses]
        self.assertEqual(learnt(a, b), [KnownAddress.SOURCE_LISTENS])
        self.assertEqual(learnt(b, a), [KnownAddress.SOURCE_FILE])
        self.assertEqual(overlayctl(a, "ban", key, "--for", "2h", "--reason", "floods us"), (0, {"banned": key}))
        gone = core.next_event("disconnected")
        self.assertEqual((gone.reason, gone.by_peer), ("banned", True))
        self.assertTrue(self.wait_for_state(a, key, PeerDetail.STATE_LOST).banned)

        # Killed as soon as the ban is on the disk, which is long before the next save that is due.
        path = self.folder / "a.peers"
        end = time.monotonic() + 20
        while not path.exists() or "\nban " not in path.read_text():
            self.assertLess(time.monotonic(), end)
        a.stop(signal.SIGKILL)
        a = self.start("a", "--peer.listen", a.ready["peer"], *keeps)
        code, listed = overlayctl(a, "bans")
        self.assertEqual((code, [(ban["peer"], ban["by"], ban["reason"]) for ban in listed["bans"]]),
                         (0, [(key, "operator", "floods us")]))
        self.assertLess(listed["bans"][0]["left_ms"], 2 * 3600 * 1000)
        self.assertGreater(listed["bans"][0]["left_ms"], 3600 * 1000)
        self.assertEqual(overlayctl(a, "unban", key), (0, {"unbanned": key}))
        self.assertEqual(overlayctl(a, "bans"), (0, {"bans": []}))
        # Nothing configures it here: it is dialled because it is known. (It waits a minute after a ban.)
        peer = self.wait_for_state(a, key, PeerDetail.STATE_CONNECTED, seconds=60)
        self.assertEqual((peer.direction, peer.configured, peer.banned), (core_pb2.DIRECTION_OUTBOUND, "", False))

    def test_what_is_wrong_is_named(self):
        a = self.start("a")
        key = a.ready["node"]
        for words, code, said in (
                (("ban", "GABC"), 1, 'peer: "GABC" is not legal, expected a public key, G...'),
                (("ban", key), 1, f"peer: {key} is this node's own key"),
                (("unban", key), 1, f"{key} is not banned"),
                (("ban", key, "--for", "2w"), 2, '--for: "2w", expected a time of 1s to 3650d'),
                (("ban", key, "--for", "0s"), 2, '--for: "0s", expected a time'),
                (("ban", key, "--reason", "x" * 101), 1, "reason: 101 bytes, expected at most 100"),
                (("ban",), 2, "a peer's key, G... after it")):
            got, text = overlayctl(a, *words)
            self.assertEqual(got, code, text)
            self.assertIn(said, text)
