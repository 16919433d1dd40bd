"""A consensus core's end of the overlay, written from proto/overlay/v1/core.proto and nothing else.

    with Core("unix:/run/overlayd/core.sock", "my network ; 2026") as core:
        core.scp.broadcast(envelope)
        print(core.scp.take("received").envelope)

What a core decides (what is valid, what is next) is not here: this moves bytes. Every hash is the SHA-256 of the
whole bytes, so nothing need be understood of what is inside.
"""

import functools
import hashlib
import os

import grpc

from .streams import PATIENCE, Ended, Reader, Refused, Stream
from .stubs import core_pb2 as pb
from .stubs import core_pb2_grpc

# What core.proto asks of a channel; and no retries by gRPC, because what must be said again only the core knows.
CHANNEL = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0), ("grpc.enable_retries", 0),
           ("grpc.keepalive_time_ms", 10_000))


def sha256(data):
    return hashlib.sha256(data).digest()


class FetchFailed(Exception):
    """A fetch ended without its set; `end` is the SetFailed or SetCancelled that said so."""

    def __init__(self, end):
        super().__init__(str(end))
        self.end = end


class Core:
    """One session. Attaches at once, and raises Ended with the daemon's refusal where it does not want this core.

    `options` are fields of AttachRequest: takeover, observer, judges_transactions, deliver_transactions,
    newest_closed_slot, state_policy, agent.
    """

    def __init__(self, address, passphrase, *, instance=None, token=None, **options):
        # Envelopes have a connection of their own, so that nothing large is ever before one.
        self._scp_channel = grpc.insecure_channel(address, CHANNEL)
        self._channel = grpc.insecure_channel(address, CHANNEL)
        self._scp_stub = core_pb2_grpc.CoreStub(self._scp_channel)
        self.stub = core_pb2_grpc.CoreStub(self._channel)
        self._authorization = (("authorization", "Bearer " + token),) if token else ()
        options.setdefault("agent", "python_core")
        request = pb.AttachRequest(core_instance=instance or os.urandom(16), network_id=sha256(passphrase.encode()),
                                   api_version=1, **options)
        self.events = Reader("Attach", self.stub.Attach(request, metadata=self._authorization), "event")
        try:
            self.attached = self.events.take("attached")
        except Ended:
            self.close()
            raise
        self.session = self.attached.session

    @property
    def metadata(self):
        """What every call but Attach carries."""
        return (("overlay-session", str(self.session)), *self._authorization)

    # The streams open when they are first used. Open them at the start: what is kept for this core comes then.

    @functools.cached_property
    def scp(self):
        return Scp(self._scp_stub.Scp, pb.ScpUp, self.metadata, "Scp")

    @functools.cached_property
    def transactions(self):
        return Transactions(self.stub.Transactions, pb.TransactionsUp, self.metadata, "Transactions")

    @functools.cached_property
    def tx_sets(self):
        return TxSets(self.stub.TxSets, pb.TxSetsUp, self.metadata, "TxSets",
                      chunk_bytes=self.attached.limits.chunk_bytes_max)

    # ---- short calls; a status that is not OK is raised as grpc.RpcError

    def ledger_closed(self, slot, tracking=False, keep_slots=()):
        self.stub.LedgerClosed(pb.LedgerClosedRequest(slot=slot, tracking=tracking, keep_slots=keep_slots),
                               metadata=self.metadata, timeout=PATIENCE)

    def set_peers(self, known=(), preferred=()):
        return self.stub.SetPeers(pb.SetPeersRequest(known=known, preferred=preferred), metadata=self.metadata,
                                  timeout=PATIENCE)

    def top_transactions(self, **request):
        """The best transactions to propose; `after` is by default the last number that this core has used."""
        request.setdefault("after", self.transactions.last_number)
        parts = self.stub.TopTransactions(pb.TopTransactionsRequest(**request), metadata=self.metadata,
                                          timeout=PATIENCE)
        return [transaction for part in parts for transaction in part.transactions]

    def tx_set_externalized(self, set_hash, tx_hashes):
        parts = [b"".join(tx_hashes[at:at + 4096]) for at in range(0, len(tx_hashes), 4096)] or [b""]
        return self.stub.TxSetExternalized(
            iter([pb.TxSetExternalizedPart(set_hash=set_hash, tx_hashes=packed) for packed in parts]),
            metadata=self.metadata, timeout=PATIENCE)

    # ---- the session's end

    def ends(self, timeout=PATIENCE):
        """Waits until every call of the session that was opened is over: their status codes by name."""
        calls = {"Attach": self.events}
        for name, attribute in (("Scp", "scp"), ("Transactions", "transactions"), ("TxSets", "tx_sets")):
            if attribute in self.__dict__:
                calls[name] = getattr(self, attribute)
        return {name: call.end(timeout) for name, call in calls.items()}

    def close(self):
        """Ends all calls, and with them the session."""
        self._scp_channel.close()
        self._channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Scp(Stream):
    """Down: received, broadcast_result, state_done, state_wanted, overflow."""

    def broadcast(self, envelope, id=None, force=False):
        self.say(broadcast=pb.ScpBroadcast(envelope=envelope, id=id, force=force))

    def request_state(self, id, from_slot=0, **how):
        self.say(request_state=pb.ScpRequestState(id=id, from_slot=from_slot, **how))

    def reply_state(self, request_id, envelopes):
        """In parts: each within the size of a message, the last one marked."""
        for envelope in envelopes:
            self.say(state_reply=pb.ScpStateReply(request_id=request_id, envelopes=[envelope]))
        self.say(state_reply=pb.ScpStateReply(request_id=request_id, last=True))

    def judge(self, hash, verdict):
        self.say(verdict=pb.ScpVerdict(hash=hash, verdict=verdict))


class Transactions(Stream):
    """Down: results, received. Submissions and verdicts share one rising sequence of numbers."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.last_number = 0

    def _next_number(self):
        self.last_number += 1
        return self.last_number

    def submit(self, transactions):
        """Gives the numbers that the results will repeat. At most 1,000 transactions and 128 KiB at a time."""
        batch = [pb.Submission(number=self._next_number(), transaction=body) for body in transactions]
        self.say(submit=pb.SubmitBatch(submissions=batch))
        return [submission.number for submission in batch]

    def judge(self, hashes, verdict=pb.TransactionVerdict.VERDICT_VALID):
        self.say(verdict=pb.VerdictBatch(number=self._next_number(), verdicts=[
            pb.TransactionVerdict(hash=hash, verdict=verdict) for hash in hashes]))


class TxSets(Stream):
    """Down: offered, available, progress, failed, cancelled."""

    def __init__(self, *arguments, chunk_bytes):
        super().__init__(*arguments)
        self.chunk_bytes = chunk_bytes
        self._arriving = {}  # (kind, hash): the bytes that have come

    def offer(self, body, slot=None, kind=pb.SET_KIND_TX_SET):
        """Says all chunks, and gives the hash. `offered` follows, or Refused."""
        hash = sha256(body)
        for offset in range(0, len(body), self.chunk_bytes):
            self.say(offer=pb.SetOffer(kind=kind, hash=hash, slot=slot, offset=offset, total_bytes=len(body),
                                       data=body[offset:offset + self.chunk_bytes]))
        return hash

    def fetch(self, hash, kind=pb.SET_KIND_TX_SET, **how):
        """`how`: slot, peers, sources, until_cancelled."""
        self.say(fetch=pb.SetFetch(kind=kind, hash=hash, **how))

    def cancel(self, hash, kind=pb.SET_KIND_TX_SET):
        self.say(cancel=pb.SetCancel(kind=kind, hash=hash))

    def take_set(self, timeout=PATIENCE):
        """The next set that is complete, as (hash, bytes). Raises FetchFailed where a fetch ended in that."""
        while True:
            kind, message = self.take_any("available", "failed", "cancelled", timeout=timeout)
            if kind != "available":
                raise FetchFailed(message)
            body = self._arriving.setdefault((message.kind, message.hash), bytearray())
            if message.offset != len(body):
                raise AssertionError(f"a chunk at {message.offset}, expected {len(body)}")
            body += message.data
            if len(body) == message.total_bytes:
                return message.hash, bytes(self._arriving.pop((message.kind, message.hash)))
