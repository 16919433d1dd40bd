"""A core in Python, from the proto files alone, and one on the C++ SDK, each with a daemon of its own.

Bytes are compared with bytes: each side takes the SHA-256 of what it was given, whatever hash the daemon says.
"""

import collections
import hashlib
import os
import queue
import subprocess
import threading
import time

import grpc

import daemon as d
import xdr
from daemon import core_pb2, operator_pb2
from overlayd_test import Folder, code_of
from python_core import Core, Ended, FetchFailed, Refused, sha256

SDK_CORE = os.environ["TEST_SDK_CORE"]
PATIENCE = 30
SENT = 1000
SET_BYTES = 10_000_000


def digest(data):
    return hashlib.sha256(data).hexdigest()


def distinct_envelopes(count, slots=range(1, 11)):
    """None supersedes another: each is of another node. Those of one slot name the same set."""
    sets = {slot: os.urandom(32) for slot in slots}
    return [xdr.nomination(slot, sets[slot], seed=os.urandom(32))
            for _ in range(-(-count // len(slots))) for slot in slots][:count]


class SdkCore:
    """The core on the SDK, as a process: commands go in, and what it says waits by its first word."""

    def __init__(self, address, *options):
        self.process = subprocess.Popen([SDK_CORE, address, d.PASSPHRASE, *options], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.said = collections.defaultdict(queue.Queue)
        self.lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def _queue(self, word):
        with self.lock:
            return self.said[word]

    def _read(self):
        for line in self.process.stdout:
            word, *fields = line.split()
            self._queue(word).put(fields)

    def say(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def take(self, word):
        """The fields of its next line that begins with this word."""
        try:
            return self._queue(word).get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"no {word} within {PATIENCE} s; errors {self.take_here('error')}") from None

    def take_here(self, word):
        here = []
        while True:
            try:
                here.append(self._queue(word).get_nowait())
            except queue.Empty:
                return here

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return code


class Cores(Folder):
    def setUp(self):
        super().setUp()
        self.sdk_cores = []
        self.cores = []

    def tearDown(self):
        for core in self.cores:
            core.close()
        for sdk in self.sdk_cores:
            if sdk.process.poll() is None:
                sdk.process.kill()
                sdk.close()
        super().tearDown()

    def python_core(self, daemon, **options):
        core = Core(daemon.ready["api"], d.PASSPHRASE, **options)
        self.cores.append(core)
        return core

    def sdk_core(self, daemon, *options):
        sdk = SdkCore(daemon.ready["api"], *options)
        self.sdk_cores.append(sdk)
        return sdk

    def metric(self, daemon, name, **labels):
        samples = daemon.operator().Metrics(operator_pb2.MetricsRequest(), timeout=PATIENCE).samples
        return sum(sample.value for sample in samples if sample.name == name
                   and labels.items() <= {label.name: label.value for label in sample.labels}.items())

    def wait_until(self, condition, what):
        end = time.monotonic() + PATIENCE
        pause = threading.Event()
        while not condition():
            self.assertLess(time.monotonic(), end, what)
            pause.wait(0.05)  # who looks without a pause takes the processor from those who are waited for

    def two_cores(self, **options):
        """The SDK's core at daemon a, one in Python at daemon b, and both daemons connected."""
        a = self.start("a")
        b = self.start("b", "--peers.known", f"{a.ready['node']}@{a.ready['peer']}")
        sdk, core = self.sdk_core(a), self.python_core(b, judges_transactions=True, **options)
        self.assertEqual(core.events.take("connected").peer, self.key_of(sdk))
        self.assertEqual(sdk.take("peer"), ["connected", "1"])
        return a, b, sdk, core

    def key_of(self, sdk):
        return bytes.fromhex(sdk.take("attached")[1])

    def assert_same(self, got, sent, what):
        """Not by assertEqual, which would print ten megabytes."""
        self.assertEqual((len(got), digest(got)), (len(sent), digest(sent)), what)
        self.assertTrue(got == sent, what)


class Traffic(Cores):
    def test_a_thousand_envelopes_each_way(self):
        _, _, sdk, core = self.two_cores()
        up, down = distinct_envelopes(SENT), distinct_envelopes(SENT)
        for number, (mine, other) in enumerate(zip(up, down)):
            core.scp.broadcast(mine, id=number)
            sdk.say("broadcast", number, other.hex())

        heard_by_sdk = [sdk.take("envelope") for _ in up]
        self.assertEqual({line[0] for line in heard_by_sdk}, {digest(envelope) for envelope in up})
        heard = [core.scp.take("received") for _ in down]
        self.assertEqual({received.envelope for received in heard}, set(down))
        for received in heard:
            self.assertEqual(received.hash, sha256(received.envelope))
            self.assertEqual(received.slot, xdr.slot_of(received.envelope))
            self.assertEqual(received.tx_set_hashes, xdr.tx_set_of(received.envelope))
            self.assertEqual(received.quorum_set_hash, b"\x22" * 32)
            self.assertFalse(received.redelivered)
        self.assertEqual({core.scp.take("broadcast_result").id for _ in up}, set(range(SENT)))
        self.assertEqual({sdk.take("result")[1] for _ in down}, {"1"})

        # Each core relays what it heard: the other sent it, so it goes nowhere, and nothing came twice.
        for received in heard:
            core.scp.broadcast(received.envelope, id=SENT)
        self.assertEqual([core.scp.take("broadcast_result").peers_known for _ in heard], [1] * SENT)
        for envelope in up:
            sdk.say("broadcast", SENT, envelope.hex())
        self.assertEqual([sdk.take("result") for _ in up], [[str(SENT), "0"]] * SENT)
        self.assertEqual(core.scp.take_here("received"), [])
        self.assertEqual(sdk.take_here("envelope"), [])
        self.assertEqual(sdk.take_here("wrong"), [])

    def test_ten_megabytes_each_way(self):
        a, b, sdk, core = self.two_cores()
        mine, other = os.urandom(SET_BYTES), os.urandom(SET_BYTES)
        mine_path, other_path = self.folder / "fetched", self.folder / "offered"
        other_path.write_bytes(other)
        sdk.say("offer", 5, other_path)
        self.assertEqual(core.tx_sets.offer(mine, slot=5), sha256(mine))
        self.assertEqual(core.tx_sets.take("offered").hash, sha256(mine))
        self.assertEqual(sdk.take("offered"), [digest(other)])

        sdk.say("fetch", 5, digest(mine), mine_path)
        core.tx_sets.fetch(sha256(other), slot=5)
        hash, body = core.tx_sets.take_set()
        self.assertEqual(hash, sha256(other))
        self.assert_same(body, other, "fetched by the core in Python")
        self.assertEqual(sdk.take("set"), [digest(mine), digest(mine), str(SET_BYTES)])
        self.assert_same(mine_path.read_bytes(), mine, "fetched by the SDK's core")
        self.assertGreater(len(core.tx_sets.take_here("progress")), 0)

    def test_transactions_each_way(self):
        _, _, sdk, core = self.two_cores()
        mine = [xdr.payment(1, fee=100 + source, source=source) for source in range(1, 101)]
        other = [xdr.payment(1, fee=300 + source, source=source) for source in range(101, 201)]
        core.transactions.submit(mine)
        results = []
        while len(results) < len(mine):
            results += core.transactions.take("results").results
        self.assertEqual([result.number for result in results], list(range(1, 101)))
        self.assertEqual([result.hash for result in results], [sha256(body) for body in mine])
        self.assertEqual({result.outcome for result in results}, {core_pb2.SubmitResult.OUTCOME_ADDED})
        self.assertEqual({sdk.take("transaction")[0] for _ in mine}, {digest(body) for body in mine})

        for body in other:
            sdk.say("submit", body.hex())
        self.assertEqual({sdk.take("submitted")[1] for _ in other}, {"added"})
        received = []
        while len(received) < len(other):
            received += core.transactions.take("received").transactions
        self.assertEqual(sorted(one.transaction for one in received), sorted(other))
        # Pending until judged; then the best first.
        best_of_mine = mine[::-1]
        self.assertEqual([top.transaction for top in core.top_transactions()], best_of_mine)
        core.transactions.judge([sha256(body) for body in other])
        self.assertEqual([top.transaction for top in core.top_transactions()], other[::-1] + best_of_mine)
        answer = core.tx_set_externalized(bytes([1]) * 32, [sha256(body) for body in other])
        self.assertEqual((answer.removed, answer.unknown), (100, 0))
        self.assertEqual([top.transaction for top in core.top_transactions()], best_of_mine)


class Overflow(Cores):
    # Two daemons send more to a third than waits there for its core: 10,000.
    def test_a_core_that_reads_late_is_told_what_it_lost_and_gets_it_by_asking(self):
        a, c = self.start("a"), self.start("c")
        b = self.start("b", "--peers.known", ",".join(f"{peer.ready['node']}@{peer.ready['peer']}" for peer in (a, c)))
        senders = [self.sdk_core(a), self.sdk_core(c)]
        slow = self.python_core(b)
        watcher = self.python_core(b, observer=True)
        for _ in senders:
            slow.events.take("connected")
        watcher.scp.stop_reading()  # an observer hears what the core hears, when the core hears it
        each = 5_500  # of one peer 8,000 are kept
        sent = distinct_envelopes(2 * each)
        for number, envelope in enumerate(sent):
            senders[number % 2].say("broadcast", number, envelope.hex())
        for peer in (a, c):
            self.wait_until(lambda: self.metric(peer, "overlay_scp_copies_total", outcome="acknowledged") == each,
                            "the third daemon has not got all")

        # It opens its stream only now: who opens it and reads nothing for 15 s loses its session.
        delivered, lost, first = {}, 0, None
        while len(delivered) + lost < len(sent):
            if len(delivered) == 5_000:  # 1,000 wait for an observer
                watcher.scp.go_on_reading()
            kind, message = slow.scp.take_any("received", "overflow")
            if kind == "received":
                self.assertNotIn(message.envelope, delivered)
                delivered[message.envelope] = message.slot
            else:
                self.assertEqual(message.direction, core_pb2.Overflow.DIRECTION_TO_CORE)
                self.assertEqual(message.traffic_class, core_pb2.TRAFFIC_CLASS_SCP)
                self.assertLessEqual(message.slot_first, message.slot_last)
                lost += message.count
                first = min(first or message.slot_first, message.slot_first)
        self.assertEqual(len(delivered) + lost, len(sent))
        self.assertGreaterEqual(len(delivered), slow.attached.limits.stream_queue_messages_max)
        self.assertGreater(lost, 0)
        missing = set(sent) - set(delivered)
        self.assertEqual(len(missing), lost)

        # What was lost is asked for, and comes; what had come does not come again.
        slow.scp.request_state(7, from_slot=first)
        again = set()
        while again != missing:
            received = slow.scp.take("received")
            self.assertIn(received.envelope, missing - again)
            self.assertFalse(received.redelivered)
            again.add(received.envelope)
        done = slow.scp.take("state_done")
        self.assertEqual((done.id, done.peers_asked, done.peers_answered, done.envelopes_delivered), (7, 2, 2, lost))
        self.assertEqual(slow.scp.take_here("overflow"), [])

        # An observer that does not read loses, too. It is told how many on `Attach`.
        seen, unseen = [], []

        def all_told():
            seen.extend(watcher.scp.take_here("received"))
            unseen.extend(watcher.events.take_here("lost"))
            self.assertFalse(watcher.scp.is_over())
            return len(seen) + sum(one.messages for one in unseen) >= len(sent)

        self.wait_until(all_told, "not all was delivered or said to be lost")
        self.assertEqual({one.traffic_class for one in unseen}, {core_pb2.TRAFFIC_CLASS_SCP})
        self.assertEqual(len(seen) + sum(one.messages for one in unseen), len(sent))

        # All goes on.
        last = distinct_envelopes(1)[0]
        senders[0].say("broadcast", 0, last.hex())
        self.assertEqual(slow.scp.take("received").envelope, last)
        self.assertEqual(watcher.scp.take("received").envelope, last)


class Takeover(Cores):
    def test_a_core_in_python_takes_over_from_another(self):
        a, b, sdk, first = self.two_cores(agent="first")
        own_set = os.urandom(1000)
        first.tx_sets.offer(own_set, slot=3)
        first.tx_sets.take("offered")
        first.transactions.submit([xdr.payment(1)])
        first.transactions.take("results")
        envelopes = distinct_envelopes(50, slots=(3, 1, 2))
        for envelope in envelopes:
            sdk.say("broadcast", 1, envelope.hex())
        heard = [first.scp.take("received").envelope for _ in envelopes]

        # Not without saying so, and the core that is there does not notice.
        with self.assertRaises(Ended) as refused:
            self.python_core(b)
        self.assertEqual(refused.exception.code, grpc.StatusCode.FAILED_PRECONDITION)
        self.assertTrue(refused.exception.details.startswith("takeover: another core is attached"))
        self.assertIn('"first"', refused.exception.details)
        for_good, code, field, *_ = self.sdk_core(b).take("detached")
        self.assertEqual((for_good, code, field), ("for_good", "FAILED_PRECONDITION", "takeover:"))
        first.scp.broadcast(envelopes[0], id=2)
        self.assertEqual(first.scp.take("broadcast_result").peers_known, 1)
        self.assertEqual(first.events.take_here("detached"), [])

        second = self.python_core(b, takeover=True)
        self.assertEqual(first.events.take("detached").reason, core_pb2.Detached.REASON_TAKEN_OVER)
        self.assertEqual(first.ends(), dict.fromkeys(("Attach", "Scp", "Transactions", "TxSets"),
                                                     grpc.StatusCode.ABORTED))
        self.assertEqual(code_of(lambda: first.ledger_closed(1))[0], grpc.StatusCode.ABORTED)
        self.assertGreater(second.session, first.session)
        self.assertEqual(second.attached.daemon_instance, first.attached.daemon_instance)
        status = second.attached.status
        self.assertEqual((status.peers_connected, status.envelopes_kept, status.transactions_valid),
                         (1, len(envelopes), 1))
        self.assertEqual(second.events.take("connected").peer_strkey, a.ready["node"])
        # What is kept comes again, in the order in which it came; the set of the core before is still there.
        self.assertEqual([second.scp.take("received").envelope for _ in heard], heard)
        second.tx_sets.fetch(sha256(own_set))
        self.assertEqual(second.tx_sets.take_set(), (sha256(own_set), own_set))
        self.assertEqual(sdk.take_here("peer"), [])

    def test_the_core_on_the_sdk_is_taken_over_and_takes_over(self):
        a, _, sdk, _ = self.two_cores()
        core = self.python_core(a, takeover=True)
        self.assertEqual(core.attached.status.peers_connected, 1)
        self.assertEqual(sdk.take("detached")[:2], ["for_good", "ABORTED"])
        core.scp.broadcast(distinct_envelopes(1)[0], id=1)
        self.assertEqual(core.scp.take("broadcast_result").peers_sent, 1)

        again = self.sdk_core(a, "takeover")
        again.take("attached")
        self.assertEqual(core.ends(), dict.fromkeys(("Attach", "Scp"), grpc.StatusCode.ABORTED))
        self.assertEqual(sdk.close(), 0)
        self.assertEqual(again.close(), 0)

    def test_the_same_core_replaces_its_own_session(self):
        a = self.start("a")
        first = self.python_core(a, instance=b"instance-1")
        first.scp.broadcast(distinct_envelopes(1)[0], id=1)
        first.scp.take("broadcast_result")
        second = self.python_core(a, instance=b"instance-1")
        self.assertEqual(first.events.take("detached").reason, core_pb2.Detached.REASON_REPLACED)
        self.assertEqual(first.ends(), dict.fromkeys(("Attach", "Scp"), grpc.StatusCode.ABORTED))
        second.ledger_closed(1)


class BadValues(Cores):
    """Each is answered by name, and nothing else happens to its stream."""

    def setUp(self):
        super().setUp()
        self.daemon = self.start("a")
        self.core = self.python_core(self.daemon, judges_transactions=True)

    def refused(self, stream, code, field, **message):
        """The error that this message is answered by."""
        stream.say(**message)
        error = stream.take("error")
        self.assertEqual((error.field, error.code), (field, code.value[0]), error)
        self.assertTrue(error.expected)
        return error

    def test_on_scp(self):
        scp, wrong = self.core.scp, grpc.StatusCode.INVALID_ARGUMENT
        broadcast, verdict = core_pb2.ScpBroadcast, core_pb2.ScpVerdict
        good = distinct_envelopes(1)[0]
        self.refused(scp, wrong, "message")
        self.refused(scp, wrong, "broadcast.envelope", broadcast=broadcast())
        error = self.refused(scp, wrong, "broadcast.envelope", broadcast=broadcast(envelope=bytes(9), id=17))
        self.assertEqual(error.id, 17)
        self.assertIn("at byte 4 of 9", error.value)
        self.refused(scp, wrong, "broadcast.envelope", broadcast=broadcast(envelope=good[:-1]))
        self.refused(scp, wrong, "broadcast.envelope", broadcast=broadcast(envelope=bytes(65537)))
        error = self.refused(scp, wrong, "verdict.hash", verdict=verdict(hash=b"\1" * 31, verdict=1))
        self.assertEqual((error.value, error.expected), ("31 bytes 0101010101010101", "32 bytes"))
        self.refused(scp, wrong, "verdict.verdict", verdict=verdict(hash=bytes(32)))
        self.refused(scp, wrong, "verdict.verdict", verdict=verdict(hash=bytes(32), verdict=99))
        self.refused(scp, wrong, "state_reply.envelopes[1]",
                     state_reply=core_pb2.ScpStateReply(request_id=1, envelopes=[good, b""]))
        # A field of a later version is ignored.
        later = broadcast.FromString(broadcast(envelope=good, id=18).SerializeToString() + b"\xf8\x3f\x01")
        scp.say(broadcast=later)
        self.assertEqual(scp.take("broadcast_result").id, 18)

    def test_on_transactions(self):
        stream, wrong = self.core.transactions, grpc.StatusCode.INVALID_ARGUMENT

        def batch(*submissions):
            return core_pb2.SubmitBatch(submissions=[core_pb2.Submission(**one) for one in submissions])

        self.refused(stream, wrong, "message")
        self.refused(stream, wrong, "submit.submissions", submit=batch())
        error = self.refused(stream, wrong, "submit.submissions[0].transaction", submit=batch({"number": 1}))
        self.assertEqual(error.id, 1)
        # Of a batch only the wrong ones have no effect.
        bid = core_pb2.Bid(fee=100, operations=1)
        good = xdr.payment(1)
        error = self.refused(stream, wrong, "submit.submissions[1].bid.lane", submit=batch(
            {"number": 2, "transaction": good}, {"number": 3, "transaction": xdr.payment(2), "bid": bid}))
        self.assertEqual(error.id, 3)
        result, = stream.take("results").results
        self.assertEqual((result.number, result.outcome), (2, core_pb2.SubmitResult.OUTCOME_ADDED))
        out_of_range = grpc.StatusCode.OUT_OF_RANGE
        error = self.refused(stream, out_of_range, "submit.submissions[0].number",
                             submit=batch({"number": 3, "transaction": good}))
        self.assertEqual((error.id, error.value, error.expected), (3, "3", "a number above 3"))
        verdicts = [core_pb2.TransactionVerdict(hash=bytes(33), verdict=1)]
        self.refused(stream, out_of_range, "verdict.number",
                     verdict=core_pb2.VerdictBatch(number=1, verdicts=verdicts))
        self.refused(stream, wrong, "verdict.verdicts[0].hash",
                     verdict=core_pb2.VerdictBatch(number=4, verdicts=verdicts))
        # What cannot be read is no illegal value: it has a result.
        stream.say(submit=batch({"number": 5, "transaction": b"nonsense"}, {"number": 6, "transaction": good}))
        malformed, duplicate = stream.take("results").results
        self.assertEqual(malformed.outcome, core_pb2.SubmitResult.OUTCOME_MALFORMED)
        self.assertTrue(malformed.detail)
        self.assertEqual(duplicate.outcome, core_pb2.SubmitResult.OUTCOME_DUPLICATE)

    def test_on_tx_sets(self):
        stream, wrong = self.core.tx_sets, grpc.StatusCode.INVALID_ARGUMENT
        offer, fetch, cancel = core_pb2.SetOffer, core_pb2.SetFetch, core_pb2.SetCancel
        tx_set, quorum_set = core_pb2.SET_KIND_TX_SET, core_pb2.SET_KIND_QUORUM_SET
        body = b"a set"
        hash = sha256(body)
        self.refused(stream, wrong, "message")
        self.refused(stream, wrong, "fetch.kind", fetch=fetch(hash=hash))
        self.refused(stream, wrong, "fetch.hash", fetch=fetch(kind=tx_set, hash=hash[:31]))
        self.refused(stream, wrong, "fetch.hash", fetch=fetch(kind=tx_set, hash=bytes(32)))
        error = self.refused(stream, wrong, "fetch.sources", fetch=fetch(kind=quorum_set, hash=hash, sources=4))
        self.assertEqual((error.set_kind, error.hash), (quorum_set, hash))
        self.refused(stream, wrong, "fetch.peers[0]", fetch=fetch(kind=tx_set, hash=hash, peers=[b"me"]))
        error = self.refused(stream, grpc.StatusCode.NOT_FOUND, "cancel.hash", cancel=cancel(kind=tx_set, hash=hash))
        self.assertEqual((error.set_kind, error.hash), (tx_set, hash))

        def chunk(kind=tx_set, name=hash, offset=0, total=len(body), data=body):
            return {"offer": offer(kind=kind, hash=name, offset=offset, total_bytes=total, data=data)}

        self.refused(stream, wrong, "offer.total_bytes", **chunk(total=0))
        self.refused(stream, wrong, "offer.total_bytes", **chunk(total=(16 << 20) + 1))
        self.refused(stream, wrong, "offer.total_bytes", **chunk(kind=quorum_set, total=(64 << 10) + 1))
        self.refused(stream, wrong, "offer.data", **chunk(data=b""))
        self.refused(stream, wrong, "offer.data", **chunk(data=body + b"!"))
        # A wrong hash shows with the last byte, and the offer has gone: its chunks begin anew.
        other = sha256(b"another set")
        error = self.refused(stream, wrong, "offer.hash", **chunk(kind=quorum_set, name=other))
        self.assertEqual((error.set_kind, error.hash), (quorum_set, other))
        stream.say(**chunk(total=10, name=other))
        self.refused(stream, wrong, "offer.offset", **chunk(offset=6, total=10, name=other))
        self.refused(stream, wrong, "offer.offset", **chunk(offset=5, total=10, name=other))
        for name in range(4):
            stream.say(**chunk(total=10, name=bytes([name]) * 31 + b"4"))
        self.refused(stream, grpc.StatusCode.RESOURCE_EXHAUSTED, "offer", **chunk(total=10))
        self.refused(stream, wrong, "offer.offset", **chunk(offset=6, total=10, name=bytes(31) + b"4"))
        self.assertEqual(stream.offer(body), hash)
        self.assertEqual(stream.take("offered").hash, hash)

        stream.fetch(other, until_cancelled=True)
        stream.cancel(other)
        with self.assertRaises(FetchFailed) as ended:
            stream.take_set()
        self.assertEqual(ended.exception.end, core_pb2.SetCancelled(kind=tx_set, hash=other))
        self.core.ledger_closed(1000)
        stream.fetch(other, slot=1)
        with self.assertRaises(FetchFailed) as ended:
            stream.take_set()
        self.assertEqual(ended.exception.end.reason, core_pb2.SetFailed.REASON_EXPIRED)

    def assert_status(self, call, code, *words):
        got, text = code_of(call)
        self.assertEqual(got, code, text)
        for word in words:
            self.assertIn(word, text)

    def test_in_the_status_of_calls(self):
        core, wrong = self.core, grpc.StatusCode.INVALID_ARGUMENT
        self.assert_status(lambda: core.ledger_closed(0), wrong, "slot: 0 is not legal, expected")
        self.assert_status(lambda: core.ledger_closed(1, keep_slots=range(5)), wrong, "keep_slots", "at most 4")
        self.assert_status(lambda: core.tx_set_externalized(bytes(31), []), wrong, "set_hash", "31 bytes")
        self.assert_status(lambda: core.tx_set_externalized(bytes(32), [bytes(31)]), wrong, "tx_hashes", "31 bytes")
        self.assert_status(lambda: core.top_transactions(lanes=[core_pb2.LaneLimit()]), wrong, "lanes[0].lane")
        result, = core.set_peers(known=["no port:"]).known
        self.assertFalse(result.accepted)
        self.assertTrue(result.detail)
        for name in ("Scp", "Transactions", "TxSets"):
            getattr(core, {"Scp": "scp", "Transactions": "transactions", "TxSets": "tx_sets"}[name])
            method = getattr(core.stub, name)
            self.assert_status(lambda: next(method(iter([]))), wrong, "overlay-session")
            self.assert_status(lambda: next(method(iter([]), metadata=(("overlay-session", "one"),))), wrong, '"one"')
        self.assertEqual(core.scp.take_here("error"), [])

    def test_of_a_second_stream_of_a_kind(self):
        for name, first in (("Scp", self.core.scp), ("Transactions", self.core.transactions),
                            ("TxSets", self.core.tx_sets)):
            self.assertFalse(first.is_over())
            second = d.Stream(getattr(self.core.stub, name), self.core.session)
            self.assertIsNone(second.get())
            self.assertEqual(second.call.code(), grpc.StatusCode.ALREADY_EXISTS, name)
        self.core.scp.broadcast(distinct_envelopes(1)[0], id=1)
        self.assertEqual(self.core.scp.take("broadcast_result").id, 1)

    def test_of_attach(self):
        for options, field in (({"instance": b"7 bytes"}, "core_instance"), ({"agent": "\n"}, "agent"),
                               ({"state_policy": 9}, "state_policy")):
            with self.assertRaises(Ended) as refused:
                self.python_core(self.daemon, takeover=True, **options)
            self.assertEqual(refused.exception.code, grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn(field + ": ", refused.exception.details)
        with self.assertRaises(Ended) as refused:
            self.cores.append(Core(self.daemon.ready["api"], "another network", takeover=True))
        self.assertEqual(refused.exception.code, grpc.StatusCode.FAILED_PRECONDITION)
        self.assertIn(sha256(b"another network").hex(), refused.exception.details)
        # An observer reads, and is told that it may no more.
        observer = self.python_core(self.daemon, observer=True)
        observer.scp.broadcast(distinct_envelopes(1)[0])
        with self.assertRaises(Refused) as refused:
            observer.scp.take("received")
        self.assertEqual(refused.exception.error.code, grpc.StatusCode.PERMISSION_DENIED.value[0])
        self.assert_status(lambda: observer.ledger_closed(1), grpc.StatusCode.PERMISSION_DENIED)
        self.core.ledger_closed(1)  # it has its session still
