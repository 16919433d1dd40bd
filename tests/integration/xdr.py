"""The few XDR values that the tests send, built by hand from the format's description."""

import os
import struct


def node_id(seed=7):
    """`seed`: a number up to 255, or the whole key."""
    return struct.pack(">I", 0) + (seed if isinstance(seed, bytes) else bytes([seed]) * 32)


def signed_value(tx_set_hash):
    """A StellarValue: 152 bytes."""
    return (tx_set_hash + struct.pack(">Q", 1) + struct.pack(">I", 0) + struct.pack(">I", 1) + node_id()
            + struct.pack(">I", 64) + bytes(64))


def nomination(slot, tx_set_hash, seed=7, quorum_set=b"\x22" * 32):
    """An SCPEnvelope that votes to nominate one value."""
    value = signed_value(tx_set_hash)
    votes = struct.pack(">I", 1) + struct.pack(">I", len(value)) + value
    statement = node_id(seed) + struct.pack(">Q", slot) + struct.pack(">I", 3) + quorum_set + votes + struct.pack(">I", 0)
    return statement + struct.pack(">I", 64) + os.urandom(64)


def slot_of(envelope):
    return int.from_bytes(envelope[36:44], "big")


def tx_set_of(nomination):
    """The set that the one value of a `nomination` names."""
    return nomination[88:120]


def payment(sequence, fee=100, source=3):
    """A TransactionEnvelope (version 1) with one native payment and one signature."""
    account = struct.pack(">I", 0) + bytes([source]) * 32
    operation = (struct.pack(">I", 0) + struct.pack(">I", 1) + struct.pack(">I", 0) + bytes([9]) * 32
                 + struct.pack(">I", 0) + struct.pack(">q", 5))
    transaction = (account + struct.pack(">I", fee) + struct.pack(">q", sequence) + struct.pack(">I", 0)
                   + struct.pack(">I", 0) + struct.pack(">I", 1) + operation + struct.pack(">I", 0))
    signature = struct.pack(">I", 1) + bytes(4) + struct.pack(">I", 64) + os.urandom(64)
    return struct.pack(">I", 2) + transaction + signature
