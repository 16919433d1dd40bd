"""How a daemon goes on SIGTERM, seen from its core, its operator and its peers; and that it is found again."""

import os
import signal
import time

import daemon as d
import xdr
from daemon import core_pb2, health_pb2, operator_pb2
from overlayd_test import Folder

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


class Drain(Folder):
    def gone(self, daemon):
        """Its end after SIGTERM: exit code 0 within 2 s."""
        self.assertEqual(daemon.process.wait(20), 0)
        self.assertLess(self.watch.stop(), 2.0)

    def terminate(self, daemon):
        self.began = time.monotonic()
        self.watch = d.Stopwatch()
        daemon.process.send_signal(signal.SIGTERM)

    def test_health_turns_first_and_the_core_hears_of_it_last(self):
        a = self.start("a")
        core = d.Core(a)
        health = a.health()
        self.assertEqual(health.get(timeout=20), SERVING)
        self.terminate(a)
        self.assertEqual(health.get(timeout=20), NOT_SERVING)
        draining = core.events.get(timeout=20).draining
        self.assertGreater(draining.within_ms, 0)
        self.assertLessEqual(draining.within_ms, 1700 - 250)  # it comes when the peers have been served
        self.gone(a)

    def test_a_peer_loses_it_once_and_finds_it_again(self):
        a, b, core_a, core_b = self.pair()
        self.terminate(a)
        gone = core_b.next_event("disconnected")
        self.assertEqual((gone.peer, gone.reason, gone.by_peer), (core_a.attached.node_id, "goaway", True))
        self.gone(a)
        events = core_a.ended()[0]
        self.assertTrue(core_a.was_drained(events), events)
        again = self.start("a", "--peer.listen", a.ready["peer"])
        watch = d.Stopwatch()
        connected = core_b.events.get(timeout=20)  # nothing between: it was lost once
        found = time.monotonic()
        self.assertEqual(connected.connected.peer, core_a.attached.node_id, connected)
        self.assertEqual(again.ready["node"], a.ready["node"])
        # The goaway said: not within a second. Without it the first back-off begins at nothing.
        self.assertGreater(found - self.began, 1.0)
        self.assertLess(watch.stop(), 4.0)
        self.assertTrue(core_b.events.empty())

    def test_a_set_under_way_arrives_whole(self):
        a, b, core_a, core_b = self.pair()
        digest = core_a.offer_set(os.urandom(10_000_000))
        core_b.ask_for_set(digest)
        while b.operator().TraceSet(operator_pb2.TraceSetRequest(
                kind=core_pb2.SET_KIND_TX_SET, hash=digest)).place == operator_pb2.SetTrace.PLACE_UNKNOWN:
            pass
        self.terminate(a)
        core_b.read_set(digest)
        self.gone(a)

    # A peer that does not acknowledge makes it wait as long as it ever does. Who dials it meanwhile is not answered
    # and not refused, so that its dial goes on and reaches the successor at once.
    def test_nobody_is_taken_any_more_and_the_time_is_kept(self):
        a, b, core_a, core_b = self.pair()
        c = self.start("c")
        health = a.health()
        self.assertEqual(health.get(timeout=20), SERVING)
        b.process.send_signal(signal.SIGSTOP)
        try:
            scp = core_a.stream("Scp")
            scp.put(core_pb2.ScpUp(broadcast=core_pb2.ScpBroadcast(envelope=xdr.nomination(1, os.urandom(32)), id=1)))
            self.assertEqual(scp.get().broadcast_result.id, 1)
            self.terminate(a)
            self.assertEqual(health.get(timeout=20), NOT_SERVING)
            c.operator().Connect(operator_pb2.ConnectRequest(address=a.ready["peer"]), timeout=20)
            while True:
                peers = c.peers()
                if a.process.poll() is not None:
                    break
                for peer in peers:
                    self.assertEqual(peer.state, operator_pb2.PeerDetail.STATE_DIALLING, peer)
            self.gone(a)
            self.assertGreater(time.monotonic() - self.began, 1.0)
        finally:
            b.process.send_signal(signal.SIGCONT)
        self.assertEqual(core_b.next_event("disconnected").reason, "goaway")
        core_c = d.Core(c)
        self.start("a", "--peer.listen", a.ready["peer"])
        watch = d.Stopwatch()
        core_c.wait_peers(1)
        self.assertLess(watch.stop(), 5.0)
