"""Starts daemons on loopback with ports of their own choice, and talks to them from the proto files alone."""

import hashlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time

import grpc

from python_core import stubs
from python_core.stubs import core_pb2, core_pb2_grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
OVERLAYD = os.environ["TEST_OVERLAYD"]
PASSPHRASE = "integration test network"
SET_CHUNK = 128 * 1024  # the most that a message has of a set

stubs.generate(stubs.PROTO, "overlay/v1/operator.proto")
# grpc.health.v1 below another folder, because "grpc" is gRPC's own module.
stubs.generate(os.path.join(stubs.PROTO, "grpc"), "health/v1/health.proto")
from overlay.v1 import operator_pb2, operator_pb2_grpc  # noqa: E402
from health.v1 import health_pb2, health_pb2_grpc  # noqa: E402


def run(*words, environment=None, timeout=20):
    """One command to its end."""
    return subprocess.run([OVERLAYD, *words], capture_output=True, text=True, timeout=timeout,
                          env=clean_environment(environment))


def clean_environment(more=None):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OVERLAY_")}
    kept.update(more or {})
    return kept


class Stopwatch:
    """Time that passed, less the time in which the machine let nobody run: by how much later than it asked for a
    thread wakes that sleeps 10 ms at a time. So a promise in seconds can be checked where the processor is short.
    Small delays do not count, because the other threads of this process cause them too."""

    PERIOD_S = 0.01
    COUNTS_FROM_S = 0.05

    def __init__(self):
        self._began = time.monotonic()
        self._withheld = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        asked = time.monotonic()
        is_over = False
        while not is_over:
            is_over = self._over.wait(self.PERIOD_S)
            now = time.monotonic()
            late = now - asked - self.PERIOD_S
            if late >= self.COUNTS_FROM_S:
                self._withheld += late
            asked = now

    def stop(self):
        """Seconds from its making to now."""
        passed = time.monotonic() - self._began
        self._over.set()
        self._thread.join()
        return passed - self._withheld


class Daemon:
    def __init__(self, folder, name, *words, environment=None, through=(), stderr=None):
        """`through`: a command that runs it. `stderr`: instead of the file name.log."""
        self.folder = pathlib.Path(folder)
        self.name = name
        self.key = self.folder / (name + ".key")
        if not self.key.exists():
            made = run("keygen", "--out", str(self.key))
            assert made.returncode == 0, made.stderr
        self.log = open(self.folder / (name + ".log"), "a")
        self.process = subprocess.Popen(
            [*through, OVERLAYD, "--node.key_file", str(self.key), "--network.passphrase", PASSPHRASE,
             "--peer.listen", "127.0.0.1:0", "--api.listen", f"unix:{self.folder}/{name}.core",
             "--operator.listen", f"unix:{self.folder}/{name}.operator", "--metrics.listen", "127.0.0.1:0", *words],
            stdout=subprocess.PIPE, stderr=self.log if stderr is None else stderr, text=True, env=clean_environment(environment))
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(20)
            raise RuntimeError(f"{name}: exit {self.process.returncode}, see {self.log.name}:\n"
                               + pathlib.Path(self.log.name).read_text())
        self.ready = json.loads(line)

    def operator(self):
        return operator_pb2_grpc.OperatorStub(grpc.insecure_channel(self.ready["operator"]))

    def health(self):
        """What its health is, one status after the other; its end is None."""
        watch = health_pb2_grpc.HealthStub(grpc.insecure_channel(self.ready["operator"])).Watch(
            health_pb2.HealthCheckRequest())
        statuses = queue.Queue()

        def read():
            try:
                for response in watch:
                    statuses.put(response.status)
            except grpc.RpcError:
                pass
            statuses.put(None)

        threading.Thread(target=read, daemon=True).start()
        return statuses

    def metrics(self):
        """By name; those with labels by name{value,...}, in the order of the labels."""
        figures = {}
        for sample in self.operator().Metrics(operator_pb2.MetricsRequest(), timeout=20).samples:
            labels = ",".join(label.value for label in sample.labels)
            figures[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
        return figures

    def peers(self):
        return [peer for part in self.operator().ListPeers(operator_pb2.ListPeersRequest(), timeout=20)
                for peer in part.peers]

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(10)
        self.process.stdout.close()
        self.log.close()
        return code

    def ctl(self, *words, check=True):
        """overlayctl at its operator's listener."""
        return subprocess.run([os.environ["TEST_OVERLAYCTL"], "--operator", self.ready["operator"], *words],
                              capture_output=True, text=True, timeout=20, check=check, env=clean_environment())


def hold_window(test, daemon, connections, path):
    """Readers of the HTTP/3 window who have asked, and do not read until the test ends."""
    held = subprocess.Popen(
        [os.environ["TEST_HTTP3_GET"], "--unread", str(connections), daemon.ready["http3"], path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    test.addCleanup(held.wait)
    test.addCleanup(held.stdout.close)
    test.addCleanup(held.stdin.close)
    test.assertEqual(held.stdout.readline(), "asked\n")


class Stream:
    """A bidirectional call: what is put goes up, what comes down waits in a queue, its end last."""

    def __init__(self, method, session):
        self.up = queue.Queue()
        self.down = queue.Queue()
        self.call = method(iter(self.up.get, None), metadata=(("overlay-session", str(session)),))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for message in self.call:
                self.down.put(message)
        except grpc.RpcError:
            pass
        self.down.put(None)

    def put(self, message):
        self.up.put(message)

    def get(self, timeout=20):
        return self.down.get(timeout=timeout)

    def get_until(self, wanted, timeout=20):
        while True:
            message = self.get(timeout)
            if message is None or wanted(message):
                return message

    def close(self):
        self.up.put(None)


class Core:
    """Attaches, and opens the streams when they are first used."""

    def __init__(self, daemon, instance=None, network=None, **options):
        self.channel = grpc.insecure_channel(
            daemon.ready["api"], options=(("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)))
        self.stub = core_pb2_grpc.CoreStub(self.channel)
        request = core_pb2.AttachRequest(
            core_instance=instance or os.urandom(16),
            network_id=network or hashlib.sha256(PASSPHRASE.encode()).digest(), agent="python", **options)
        self.attach = self.stub.Attach(request)
        self.events = queue.Queue()
        first = next(self.attach)  # raises what the daemon refused with
        self.attached = first.attached
        self.session = first.attached.session
        threading.Thread(target=self._read, daemon=True).start()
        self.streams = {}

    def _read(self):
        try:
            for event in self.attach:
                self.events.put(event)
        except grpc.RpcError:
            pass
        self.events.put(None)

    def metadata(self):
        return (("overlay-session", str(self.session)),)

    def stream(self, name):
        if name not in self.streams:
            self.streams[name] = Stream(getattr(self.stub, name), self.session)
        return self.streams[name]

    def offer_set(self, body, slot=5):
        """Hands a set over, whole; its hash."""
        digest = hashlib.sha256(body).digest()
        stream = self.stream("TxSets")
        for offset in range(0, len(body), SET_CHUNK):
            stream.put(core_pb2.TxSetsUp(offer=core_pb2.SetOffer(
                kind=core_pb2.SET_KIND_TX_SET, hash=digest, slot=slot, offset=offset, total_bytes=len(body),
                data=body[offset:offset + SET_CHUNK])))
        offered = stream.get()
        assert offered.offered.hash == digest, offered
        return digest

    def ask_for_set(self, digest, slot=5):
        self.stream("TxSets").put(core_pb2.TxSetsUp(fetch=core_pb2.SetFetch(
            kind=core_pb2.SET_KIND_TX_SET, hash=digest, slot=slot)))

    def read_set(self, digest):
        """The set that was asked for, put together and checked."""
        got, total = b"", None
        while total is None or len(got) < total:
            message = self.stream("TxSets").get()
            assert not message.HasField("failed"), message
            if message.HasField("available"):
                assert message.available.offset == len(got), (message.available.offset, len(got))
                assert len(message.available.data) <= SET_CHUNK
                total = message.available.total_bytes
                got += message.available.data
        assert hashlib.sha256(got).digest() == digest
        return got

    def wait_peers(self, count, timeout=20):
        while True:
            event = self.events.get(timeout=timeout)
            assert event is not None
            for kind in ("connected", "disconnected"):
                if event.HasField(kind) and getattr(event, kind).peers_connected == count:
                    return getattr(event, kind)

    def next_event(self, kind, timeout=20):
        """The next event that is no `connected` of a peer that was there before."""
        while True:
            event = self.events.get(timeout=timeout)
            assert event is not None
            if event.HasField(kind):
                return getattr(event, kind)
            assert event.HasField("connected"), event

    def has_lost_nobody(self):
        """Of the events that are here by now."""
        events = []
        while not self.events.empty():
            events.append(self.events.get())
        return all(event is not None and event.HasField("connected") for event in events)

    def ended(self, timeout=20):
        """Every event until the end of Attach, and the status of each call."""
        events = []
        while (event := self.events.get(timeout=timeout)) is not None:
            events.append(event)
        codes = {"Attach": self.attach.code()}
        for name, stream in self.streams.items():
            stream.get_until(lambda message: False, timeout)
            codes[name] = stream.call.code()
        return events, codes

    @staticmethod
    def was_drained(events):
        """That a session's last events say so: its last word may be lost where the processor is short."""
        said = [event for event in events if not event.HasField("connected") and not event.HasField("disconnected")]
        reasons = [event.detached.reason for event in said if event.HasField("detached")]
        return (said and said[0].HasField("draining") and len(said) == 1 + len(reasons)
                and reasons in ([], [core_pb2.Detached.REASON_DRAINED]))

    def close(self):
        self.channel.close()
