"""Daemons as processes: the command line, the core's API across two of them, and how they end."""

import hashlib
import os
import pathlib
import re
import select
import signal
import socket
import stat
import subprocess
import tempfile
import time
import unittest
import urllib.request

import grpc

import daemon as d
import xdr
from daemon import core_pb2, operator_pb2


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return None, ""


class Folder(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="overlay-it-")
        self.folder = pathlib.Path(self.temporary.name)
        self.daemons = []

    def tearDown(self):
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.process.kill()
            daemon.process.wait(10)
        self.temporary.cleanup()

    def start(self, name, *words, **options):
        daemon = d.Daemon(self.folder, name, *words, **options)
        self.daemons.append(daemon)
        return daemon

    def pair(self):
        """Two daemons that are peers, and a core at each."""
        a = self.start("a")
        b = self.start("b", "--peers.known", f"{a.ready['node']}@{a.ready['peer']}")
        core_a = d.Core(a, judges_transactions=True)
        core_b = d.Core(b, judges_transactions=True)
        for core, peer in ((core_a, b), (core_b, a)):
            if core.attached.status.peers_connected == 0:
                core.wait_peers(1)
        return a, b, core_a, core_b


class CommandLine(Folder):
    def test_version_help_and_unknown_words(self):
        self.assertRegex(d.run("version").stdout, r"^overlayd \d+\.\d+\.\d+\n$")
        self.assertIn("--mempool.count_max", d.run("--help").stdout)
        wrong = d.run("serve")
        self.assertEqual(wrong.returncode, 2)
        self.assertIn('"serve"', wrong.stderr)

    def test_keygen_makes_a_private_file_once(self):
        path = self.folder / "node.key"
        made = d.run("keygen", "--out", str(path))
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertRegex(made.stdout, r"^G[A-Z2-7]{55}\n$")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        before = path.read_bytes()
        self.assertEqual(d.run("keygen", "--out", str(path)).returncode, 1)
        self.assertEqual(path.read_bytes(), before)

    def check(self, *words, environment=None):
        result = d.run("check-config", *words, environment=environment)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        return result.stderr

    def test_bad_configuration_is_exit_2_and_one_line(self):
        key = self.folder / "node.key"
        d.run("keygen", "--out", str(key))
        legal = ["--node.key_file", str(key), "--network.passphrase", "x"]
        self.assertEqual(d.run("check-config", *legal).returncode, 0)
        self.assertIn("--nonsense", self.check(*legal, "--nonsense", "1"))
        self.assertIn("OVERLAY_LOG_LEVEL", self.check(*legal, environment={"OVERLAY_LOG_LEVEL": "loud"}))
        line = self.check(*legal, "--mempool.count_max", "99")
        for part in ("mempool.count_max", "99", "expected 100 to 10000000"):
            self.assertIn(part, line)
        file = self.folder / "bad.toml"
        file.write_text("[mempool]\ncount_max = true\n")
        self.assertIn(f"{file}:2: mempool.count_max: true", self.check("--config", str(file), *legal))
        self.assertIn("none.toml", self.check("--config", str(self.folder / "none.toml"), *legal))
        line = self.check("--node.key_file", str(self.folder / "none"), "--network.passphrase", "x")
        self.assertIn("node.key_file", line)
        self.assertIn("none", line)
        key.chmod(0o644)
        self.assertIn("chmod", self.check(*legal))
        self.assertIn("mutual TLS", self.check(*legal, "--api.listen", "0.0.0.0:1"))

    def test_a_taken_peer_port_is_exit_1_and_names_the_holder(self):
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with self.assertRaises(RuntimeError) as caught:
            self.start("a", "--peer.listen", f"127.0.0.1:{port}")
        taken.close()
        self.assertIn("exit 1", str(caught.exception))
        self.assertIn(f"127.0.0.1:{port}", str(caught.exception))
        self.assertIn(f"process {os.getpid()}", str(caught.exception))
        self.assertFalse((self.folder / "a.core").exists())

    def test_a_held_socket_is_exit_1_and_names_the_holder(self):
        a = self.start("a")
        with self.assertRaises(RuntimeError) as caught:
            self.start("b", "--api.listen", a.ready["api"])
        self.assertIn("exit 1", str(caught.exception))
        self.assertIn(f"process {a.process.pid}", str(caught.exception))
        self.assertEqual(d.Core(a).attached.node_strkey, a.ready["node"])

    def test_a_taken_metrics_port_is_exit_1(self):
        a = self.start("a")
        with self.assertRaises(RuntimeError) as caught:
            self.start("b", "--metrics.listen", a.ready["metrics"])
        self.assertIn("exit 1", str(caught.exception))
        self.assertIn(a.ready["metrics"], str(caught.exception))

    def test_key_from_the_environment(self):
        seed, public = d.run("keygen").stdout.split()
        a = self.start("a", "--node.key_file", "/nowhere", environment={"OVERLAY_NODE_KEY": seed})
        self.assertEqual(a.ready["node"], public)


class Lifecycle(Folder):
    def test_sigterm_and_sigint_exit_0_and_remove_the_socket(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            a = self.start("a")
            self.assertEqual(stat.S_IMODE((self.folder / "a.core").stat().st_mode), 0o600)
            self.assertEqual(a.stop(number), 0)
            self.assertFalse((self.folder / "a.core").exists())

    def test_the_core_hears_the_drain(self):
        a = self.start("a")
        core = d.Core(a)
        a.process.send_signal(signal.SIGTERM)
        self.assertTrue(core.events.get(timeout=10).HasField("draining"))
        self.assertEqual(a.stop(), 0)

    def test_exit_with_parent(self):
        script = f"exec 3>&1; {d.OVERLAYD} --exit-with-parent --node.key_file {self.folder}/k " \
                 f"--network.passphrase x --peer.listen 127.0.0.1:0 --api.listen unix:{self.folder}/c >&3 2>&3 & " \
                 "read line; exit 0"
        d.run("keygen", "--out", str(self.folder / "k"))
        parent = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  env=d.clean_environment())
        self.assertIn("ready", parent.stdout.readline())
        parent.stdin.write("go\n")
        parent.stdin.close()
        parent.wait(10)
        parent.stdout.read()  # ends when the daemon has closed its copy: it is gone
        parent.stdout.close()
        self.assertFalse((self.folder / "c").exists())

    def test_metrics_are_those_that_the_page_lists(self):
        """Names, types and labels, both ways; of a daemon with a peer whose clock it knows."""
        a = self.start("a")
        b = self.start("b", "--peers.known", f"{a.ready['node']}@{a.ready['peer']}")
        end = time.monotonic() + 20
        while b.metrics()["overlay_clock_peers_measured_count"] == 0:
            self.assertLess(time.monotonic(), end)
            select.select([], [], [], 0.05)
        with urllib.request.urlopen(f"http://{b.ready['metrics']}/metrics", timeout=10) as page:
            text = page.read().decode()
        types = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE "))
        labels = {name: set() for name in types}
        for name, given in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.M):
            name = name if name in types else re.sub("_(bucket|sum|count)$", "", name)
            labels[name] |= set(re.findall(r'(\w+)="', given)) - {"le"}
        served = {(name, kind, ", ".join(sorted(labels[name]))) for name, kind in types.items()}
        rows = [[cell.strip() for cell in line.split("|")[1:-1]]
                for line in (d.ROOT / "docs/metrics.md").read_text().splitlines() if line.startswith("| `overlay_")]
        documented = {(row[0].strip("`"), row[1], ", ".join(sorted(filter(None, row[3].split(", "))))) for row in rows}
        self.assertEqual(served, documented)
        self.assertTrue(all(row[2] and row[4] and row[5] for row in rows))
        same = {sample.name for sample in a.operator().Metrics(operator_pb2.MetricsRequest()).samples}
        self.assertIn("overlay_loop_turns_total", same)


class Api(Folder):
    def test_refusals_have_their_codes(self):
        a = self.start("a")
        core = d.Core(a, instance=b"instance-1")
        code, text = code_of(lambda: d.Core(a, instance=b"instance-2"))
        self.assertEqual(code, grpc.StatusCode.FAILED_PRECONDITION)
        self.assertIn("takeover", text)
        code, text = code_of(lambda: d.Core(a, network=bytes(32)))
        self.assertEqual(code, grpc.StatusCode.FAILED_PRECONDITION)
        self.assertIn("00" * 32, text)
        closed = core_pb2.LedgerClosedRequest(slot=1)
        self.assertEqual(code_of(lambda: core.stub.LedgerClosed(closed))[0], grpc.StatusCode.INVALID_ARGUMENT)
        stale = (("overlay-session", str(core.session + 1)),)
        self.assertEqual(code_of(lambda: core.stub.LedgerClosed(closed, metadata=stale))[0], grpc.StatusCode.ABORTED)
        core.stub.LedgerClosed(closed, metadata=core.metadata())
        raw = core.channel.stream_stream("/overlay.v1.Core/Transactions")
        self.assertEqual(code_of(lambda: next(raw(iter([b"\xff\xff"]), metadata=core.metadata())))[0],
                         grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(code_of(lambda: next(raw(iter([bytes((1 << 20) + 1)]), metadata=core.metadata())))[0],
                         grpc.StatusCode.RESOURCE_EXHAUSTED)
        status = operator_pb2.StatusRequest()
        wrong = d.operator_pb2_grpc.OperatorStub(core.channel)
        self.assertEqual(code_of(lambda: wrong.Status(status))[0], grpc.StatusCode.PERMISSION_DENIED)
        self.assertEqual(a.operator().Status(status).core.session, core.session)

    def test_takeover_ends_the_old_session(self):
        a = self.start("a")
        first = d.Core(a, instance=b"instance-1")
        scp = first.stream("Scp")
        second = d.Core(a, instance=b"instance-2", takeover=True)
        self.assertNotEqual(first.session, second.session)
        self.assertIsNone(scp.get())
        self.assertEqual(scp.call.code(), grpc.StatusCode.ABORTED)

    def test_a_token_is_wanted_on_loopback(self):
        token = self.folder / "token"
        token.write_text("0123456789abcdef\n")
        a = self.start("a", "--api.listen", "127.0.0.1:0", "--api.token_file", str(token))
        self.assertEqual(code_of(lambda: d.Core(a))[0], grpc.StatusCode.UNAUTHENTICATED)

    def test_envelopes_cross_byte_for_byte_and_are_not_echoed(self):
        a, b, core_a, core_b = self.pair()
        up, down = core_a.stream("Scp"), core_b.stream("Scp")
        sent = [xdr.nomination(slot, os.urandom(32), seed) for slot in range(1, 21) for seed in range(5)]
        for i, envelope in enumerate(sent):
            up.put(core_pb2.ScpUp(broadcast=core_pb2.ScpBroadcast(envelope=envelope, id=i)))
        got = {}
        while len(got) < len(sent):
            message = down.get()
            if message.HasField("received"):
                received = message.received
                self.assertNotIn(received.envelope, got)
                self.assertEqual(received.hash, hashlib.sha256(received.envelope).digest())
                self.assertEqual(received.peer, core_a.attached.node_id)
                got[received.envelope] = received.slot
        self.assertEqual(set(got), set(sent))
        # b's core relays: a sent them, so nothing comes back.
        for envelope in sent:
            down.put(core_pb2.ScpUp(broadcast=core_pb2.ScpBroadcast(envelope=envelope, id=7)))
        for _ in sent:
            result = down.get_until(lambda m: m.HasField("broadcast_result")).broadcast_result
            self.assertEqual(result.peers_sent, 0)
        for _ in sent:
            result = up.get()
            self.assertTrue(result.HasField("broadcast_result"), result)
            self.assertEqual(result.broadcast_result.peers_sent, 1)

    def test_a_ten_megabyte_set_crosses(self):
        a, b, core_a, core_b = self.pair()
        body = os.urandom(10_000_000)
        digest = core_a.offer_set(body)
        core_b.ask_for_set(digest)
        self.assertEqual(core_b.read_set(digest), body)

    def test_a_transaction_is_judged_announced_proposed_and_externalized(self):
        a, b, core_a, core_b = self.pair()
        bodies = [xdr.payment(sequence, fee=100 + sequence, source=sequence) for sequence in range(1, 51)]
        up, down = core_a.stream("Transactions"), core_b.stream("Transactions")
        up.put(core_pb2.TransactionsUp(submit=core_pb2.SubmitBatch(submissions=[
            core_pb2.Submission(number=i + 1, transaction=body) for i, body in enumerate(bodies)])))
        results = []
        while len(results) < len(bodies):
            results += up.get().results.results
        self.assertEqual({result.outcome for result in results}, {core_pb2.SubmitResult.OUTCOME_ADDED})
        self.assertEqual([result.number for result in results], list(range(1, 51)))
        received = []
        while len(received) < len(bodies):
            received += down.get().received.transactions
        self.assertEqual({t.transaction for t in received}, set(bodies))
        hashes = [t.hash for t in received]
        top = core_pb2.TopTransactionsRequest(after=1)
        down.put(core_pb2.TransactionsUp(verdict=core_pb2.VerdictBatch(number=1, verdicts=[
            core_pb2.TransactionVerdict(hash=h, verdict=core_pb2.TransactionVerdict.VERDICT_VALID) for h in hashes])))
        best = [t for part in core_b.stub.TopTransactions(top, metadata=core_b.metadata(), timeout=20)
                for t in part.transactions]
        self.assertEqual([t.transaction for t in best], bodies[::-1])
        part = core_pb2.TxSetExternalizedPart(set_hash=bytes([1]) * 32, tx_hashes=b"".join(hashes[:20]))
        answer = core_b.stub.TxSetExternalized(iter([part]), metadata=core_b.metadata(), timeout=20)
        self.assertEqual(answer.removed, 20)
        left = [t for part in core_b.stub.TopTransactions(top, metadata=core_b.metadata(), timeout=20)
                for t in part.transactions]
        self.assertEqual({t.hash for t in left}, set(hashes[20:]))

    def test_operators_see_and_close_peers(self):
        a, b, core_a, core_b = self.pair()
        operator = a.operator()
        peers = [p for part in operator.ListPeers(operator_pb2.ListPeersRequest()) for p in part.peers]
        self.assertEqual([p.peer_strkey for p in peers if p.state == operator_pb2.PeerDetail.STATE_CONNECTED],
                         [b.ready["node"]])
        unknown = operator_pb2.DisconnectRequest(peer=a.ready["node"])
        self.assertEqual(code_of(lambda: operator.Disconnect(unknown))[0], grpc.StatusCode.NOT_FOUND)
        bad = operator_pb2.DisconnectRequest(peer="nobody:0")
        self.assertEqual(code_of(lambda: operator.Disconnect(bad))[0], grpc.StatusCode.INVALID_ARGUMENT)
        bad = operator_pb2.ConnectRequest(address="host:0")
        self.assertEqual(code_of(lambda: operator.Connect(bad))[0], grpc.StatusCode.INVALID_ARGUMENT)
        # One that never connects is taken back by what was said to connect it.
        entry = "nobody.invalid:9"
        operator.Connect(operator_pb2.ConnectRequest(address=entry))
        operator.Disconnect(operator_pb2.DisconnectRequest(peer=entry))
        gone = operator_pb2.DisconnectRequest(peer=entry)
        self.assertEqual(code_of(lambda: operator.Disconnect(gone))[0], grpc.StatusCode.NOT_FOUND)
        operator.Disconnect(operator_pb2.DisconnectRequest(peer=b.ready["node"]))
        self.assertEqual(core_a.wait_peers(0).reason, "disconnect_requested")
        operator.Connect(operator_pb2.ConnectRequest(address=b.ready["peer"]))
        core_a.wait_peers(1)


if __name__ == "__main__":
    unittest.main()
