"""What a core written by hand sees when its daemon, or another core, takes its session away."""

import os
import signal

import grpc

import daemon as d
import xdr
from daemon import core_pb2, operator_pb2
from overlayd_test import Folder, code_of

STREAMS = ("Scp", "Transactions", "TxSets")


def submit(stream, first, bodies):
    stream.put(core_pb2.TransactionsUp(submit=core_pb2.SubmitBatch(submissions=[
        core_pb2.Submission(number=first + i, transaction=body) for i, body in enumerate(bodies)])))


def results_of(stream, count):
    results = []
    while len(results) < count:
        results += stream.get().results.results
    return results


class DaemonRestart(Folder):
    def restarted(self, number):
        """A daemon with a core that has used each stream, ended by a signal, and its successor."""
        a = self.start("a")
        core = d.Core(a, instance=b"instance-1")
        for name in STREAMS:
            core.stream(name)
        core.stream("Scp").put(core_pb2.ScpUp(broadcast=core_pb2.ScpBroadcast(
            envelope=xdr.nomination(1, os.urandom(32)), id=1)))
        self.assertEqual(core.stream("Scp").get().broadcast_result.id, 1)
        submit(core.stream("Transactions"), 1, [xdr.payment(1)])
        self.assertEqual(core.stream("Transactions").get().results.results[0].number, 1)
        self.assertEqual(a.stop(number), 0 if number == signal.SIGTERM else -number)
        events, codes = core.ended()
        return core, events, codes, self.start("a", "--peer.listen", a.ready["peer"])

    def check_successor(self, core, successor):
        """An old session's number ends there, by name; a new session says that another daemon is there."""
        stub = d.core_pb2_grpc.CoreStub(grpc.insecure_channel(successor.ready["api"]))
        closed = core_pb2.LedgerClosedRequest(slot=1)
        code, text = code_of(lambda: stub.LedgerClosed(closed, metadata=core.metadata(), timeout=20))
        self.assertEqual(code, grpc.StatusCode.ABORTED)
        self.assertIn("attach again", text)
        for name in STREAMS:
            stream = d.Stream(getattr(stub, name), core.session)
            self.assertIsNone(stream.get())
            self.assertEqual(stream.call.code(), grpc.StatusCode.ABORTED, name)
        again = d.Core(successor, instance=b"instance-1")
        self.assertNotEqual(again.session, core.session)
        self.assertNotEqual(again.attached.daemon_instance, core.attached.daemon_instance)
        self.assertEqual(again.attached.node_id, core.attached.node_id)
        return again

    def test_sigterm_ends_every_call_with_unavailable(self):
        core, events, codes, successor = self.restarted(signal.SIGTERM)
        self.assertEqual(codes, dict.fromkeys(("Attach", *STREAMS), grpc.StatusCode.UNAVAILABLE))
        self.assertTrue(core.was_drained(events), events)
        self.check_successor(core, successor)

    def test_sigkill_ends_every_call_with_unavailable(self):
        core, events, codes, successor = self.restarted(signal.SIGKILL)
        self.assertEqual(codes, dict.fromkeys(("Attach", *STREAMS), grpc.StatusCode.UNAVAILABLE))
        self.assertEqual(events, [])
        again = self.check_successor(core, successor)
        # It has forgotten what the one before had taken: the core must say it again.
        top = core_pb2.TopTransactionsRequest()
        self.assertEqual([t for part in again.stub.TopTransactions(top, metadata=again.metadata(), timeout=20)
                          for t in part.transactions], [])

    # What a daemon that drains has not answered was not taken, and is answered by the next one.
    def test_each_submission_is_answered_once(self):
        bodies = [xdr.payment(sequence, source=sequence) for sequence in range(1, 41)]
        a = self.start("a")
        core = d.Core(a)
        stream = core.stream("Transactions")
        submit(stream, 1, bodies[:20])
        answered = [result.number for result in results_of(stream, 20)]
        health = a.health()
        health.get(timeout=20)
        a.process.send_signal(signal.SIGTERM)
        health.get(timeout=20)  # not serving
        submit(stream, 21, bodies[20:])
        late = []
        while (message := stream.get()) is not None:
            late += [result.number for result in message.results.results]
        self.assertEqual((answered, late), (list(range(1, 21)), []))
        self.assertEqual(stream.call.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(a.stop(), 0)

        again = d.Core(self.start("a"))
        stream = again.stream("Transactions")
        submit(stream, 21, bodies[20:])
        results = results_of(stream, 20)
        self.assertEqual([result.number for result in results], list(range(21, 41)))
        self.assertEqual({result.outcome for result in results}, {core_pb2.SubmitResult.OUTCOME_ADDED})
        submit(stream, 41, bodies[20:21])
        self.assertEqual(results_of(stream, 1)[0].outcome, core_pb2.SubmitResult.OUTCOME_DUPLICATE)


class Takeover(Folder):
    def connected_ms(self, daemon):
        peer, = (p for p in daemon.peers() if p.state == operator_pb2.PeerDetail.STATE_CONNECTED)
        return peer.connected_ms

    # A core that hangs is replaced: the new one gets what is kept and pending, and peers notice nothing.
    def test_the_new_core_gets_what_the_old_one_got(self):
        a, b, core_a, core_b = self.pair()
        envelopes = {xdr.nomination(slot, os.urandom(32), seed) for slot in (1, 2, 3) for seed in range(4)}
        bodies = {xdr.payment(sequence, source=sequence) for sequence in range(1, 11)}
        for envelope in envelopes:
            core_a.stream("Scp").put(core_pb2.ScpUp(broadcast=core_pb2.ScpBroadcast(envelope=envelope)))
        submit(core_a.stream("Transactions"), 1, sorted(bodies))

        def heard_by(core):
            heard, pending = set(), set()
            while heard != envelopes:
                received = core.stream("Scp").get().received
                self.assertNotIn(received.envelope, heard)
                heard.add(received.envelope)
            while pending != bodies:
                received = {t.transaction for t in core.stream("Transactions").get().received.transactions}
                self.assertTrue(received and not received & pending)
                pending |= received

        heard_by(core_b)
        before = self.connected_ms(b)
        second = d.Core(b, instance=b"instance-2", takeover=True, judges_transactions=True)
        self.assertEqual(second.attached.status.peers_connected, 1)
        self.assertGreaterEqual(second.attached.status.envelopes_kept, len(envelopes))
        self.assertEqual(second.attached.status.transactions_pending, len(bodies))
        _, codes = core_b.ended()
        self.assertEqual(codes, dict.fromkeys(("Attach", "Scp", "Transactions"), grpc.StatusCode.ABORTED))
        heard_by(second)
        self.assertEqual(second.events.get(timeout=20).connected.peer, core_a.attached.node_id)
        self.assertGreaterEqual(self.connected_ms(b), before)
        self.assertTrue(second.has_lost_nobody())
        self.assertTrue(core_a.has_lost_nobody())


class FarBehind(Folder):
    NEWEST = 100_000

    def say(self, core, slot):
        envelope = xdr.nomination(slot, os.urandom(32))
        core.stream("Scp").put(core_pb2.ScpUp(broadcast=core_pb2.ScpBroadcast(envelope=envelope)))
        return envelope

    # A core that follows the network is not bothered with slots that cannot be; one that has fallen behind says so, and
    # then hears of the network's newest slot with the next envelope, and of what it had missed when it asks.
    def test_a_core_that_is_not_tracking_hears_of_the_newest_slots(self):
        a, b, core_a, core_b = self.pair()
        closed = lambda tracking: core_b.stub.LedgerClosed(
            core_pb2.LedgerClosedRequest(slot=5, tracking=tracking), metadata=core_b.metadata(), timeout=20)
        heard = core_b.stream("Scp")
        closed(True)
        missed = self.say(core_a, self.NEWEST)
        while b.metrics()['overlay_scp_received_total{outside_window}'] == 0:
            pass
        near = self.say(core_a, 6)
        self.assertEqual(heard.get().received.envelope, near)
        closed(False)
        newest = self.say(core_a, self.NEWEST + 1)
        self.assertEqual(heard.get().received.envelope, newest)
        heard.put(core_pb2.ScpUp(request_state=core_pb2.ScpRequestState(id=1, from_slot=self.NEWEST)))
        self.assertEqual(heard.get().received.envelope, missed)
