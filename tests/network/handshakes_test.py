"""Handshakes that nobody goes on with, from machines that exist and from addresses that do not: an honest peer gets in
all the same, and what they cost in memory is used again by the next."""

import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from lab import Lab, in_namespace, wait_until
from node import PORT, Node

HALF_OPEN = 300
ADDRESSES = 20
SPOOFED = 6000
SPOOFED_PER_S = 1000
HONEST_WITHIN_S = 2
GROWS_AT_MOST = 24 << 20
# What was used once is used again: the next attack takes no more than the allocator's noise.
GROWS_AGAIN_AT_MOST = 1 << 20


def initials(count):
    made = subprocess.run([os.environ["TEST_INITIALS"], str(count)], capture_output=True, check=True).stdout
    datagrams = []
    while made:
        length = struct.unpack(">H", made[:2])[0]
        datagrams.append(made[2:2 + length])
        made = made[2 + length:]
    assert len(datagrams) == count
    return datagrams


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def spoofed(number, to, payload):
    """An IPv4 packet from one of the addresses that are reserved for measurements."""
    source = struct.pack(">BBH", 198, 18 + number % 2, number % 65521)
    udp = struct.pack(">HHHH", 1024 + number % 50000, PORT, 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0) + source + \
        socket.inet_aton(to)
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + udp


class Case(unittest.TestCase):
    def check(self, attack, machine_setup):
        with tempfile.TemporaryDirectory(prefix="overlay-handshakes-") as folder, Lab(4) as lab:
            attacked, honest, attacker, acquaintance = lab.machines
            machine_setup(attacked, attacker)
            node = Node(attacked, folder).start("--log.level", "warning").ready()
            Node(acquaintance, folder).start(known=[node.entry]).ready()
            wait_until("the first peer is connected", 10, lambda: len(node.connected()) == 1 or "not connected")
            peer = Node(honest, folder)
            before = node.anonymous_bytes()
            worst = [before]
            stop = threading.Event()
            self.addCleanup(stop.set)

            def watch():
                while not stop.wait(0.05):
                    worst[0] = max(worst[0], node.anonymous_bytes())

            watcher = threading.Thread(target=watch)
            watcher.start()
            join = in_namespace(attacker.namespace, lambda: attack(attacked.address))
            wait_until("the attack is felt", 10,
                       lambda: node.metrics()["overlay_quic_handshakes_total{begun}"] >= 32 or "few handshakes")
            peer.start(known=[node.entry]).ready()
            took = wait_until("the honest peer is connected", HONEST_WITHIN_S,
                              lambda: len(peer.connected()) == 1 or "not connected", every=0.02)
            join()
            seen = node.metrics()
            self.assertEqual(len(node.connected()), 2)
            grew = worst[0] - before
            in_namespace(attacker.namespace, lambda: attack(attacked.address))()
            grew_again = worst[0] - before - grew
            stop.set()
            watcher.join()
            self.assertLessEqual(grew, GROWS_AT_MOST)
            self.assertLessEqual(grew_again, GROWS_AGAIN_AT_MOST)
            print(f"honest in {took * 1000:.0f} ms, {grew / 2**20:.1f} MiB more at most, then {grew_again / 2**20:.1f}; " +
                  ", ".join(f"{name.removeprefix('overlay_quic_')} {value:.0f}" for name, value in seen.items()
                            if name.startswith("overlay_quic_") and value))
            return seen

    def test_half_open_from_twenty_addresses(self):
        datagrams = initials(HALF_OPEN)

        def addresses(_, attacker):
            for number in range(ADDRESSES):
                attacker.run("ip", "address", "add", f"10.77.9.{number + 1}/16", "dev", "wire")

        def attack(to):
            sockets = []
            for number in range(ADDRESSES):
                each = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                each.bind((f"10.77.9.{number + 1}", 0))
                sockets.append(each)
            for number, datagram in enumerate(datagrams):
                sockets[number % ADDRESSES].sendto(datagram, (to, PORT))
            time.sleep(3)  # open, and silent
            for each in sockets:
                each.close()

        seen = self.check(attack, addresses)
        self.assertGreater(seen["overlay_quic_retries_total"], 0)
        self.assertLessEqual(seen["overlay_quic_handshakes_total{begun}"], HALF_OPEN + 2)

    def test_flood_from_addresses_that_do_not_exist(self):
        datagrams = initials(SPOOFED)

        def no_filter(attacked, attacker):
            for name in ("all", "wire"):
                attacked.run("sysctl", "-q", "-w", f"net.ipv4.conf.{name}.rp_filter=0")
            # Answers to them end at a machine that is not there.
            attacked.run("ip", "route", "add", "198.18.0.0/15", "via", attacker.address)

        def attack(to):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            began = time.monotonic()
            for number, datagram in enumerate(datagrams):
                raw.sendto(spoofed(number, to, datagram), (to, 0))
                ahead = began + number / SPOOFED_PER_S - time.monotonic()
                if ahead > 0.005:
                    time.sleep(ahead)
            raw.close()

        seen = self.check(attack, no_filter)
        self.assertGreater(seen["overlay_quic_retries_total"], SPOOFED // 4)
        self.assertEqual(seen["overlay_quic_handshakes_total{completed}"], 2)


if __name__ == "__main__":
    unittest.main()
