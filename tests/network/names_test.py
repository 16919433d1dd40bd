"""One daemon whose peers are names, and a real DNS server (dnsmasq) that has each kind of trouble: all at once."""

import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from lab import Lab, in_namespace, wait_until
from node import Node, operator_pb2

SRV_PORT = 12000
APPEARS_AFTER_S = 60
TTL_S = 2
# Of the longest back-off between two look-ups, 30 s, and a dial.
FOUND_WITHIN_S = 35


class Server:
    """dnsmasq on a machine: addresses from a file that may change, and upstreams that fail."""

    def __init__(self, machine, folder):
        self.hosts = pathlib.Path(folder) / "hosts"
        self.records = []
        self.process = None
        self.upstreams = [self.upstream(machine, 5301, fail=True), self.upstream(machine, 5302, fail=False)]
        self.command = [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
            "--pid-file=", f"--addn-hosts={self.hosts}", f"--local-ttl={TTL_S}", "--local=/test/",
            f"--srv-host=_overlay._udp.services.test,srv-target.test,{SRV_PORT},1,1",
            f"--server=/fail.test/{machine.address}#5301", f"--server=/slow.test/{machine.address}#5302",
            f"--listen-address={machine.address}", "--bind-interfaces", "--cache-size=0"]
        self.machine = machine

    def start(self):
        self.process = self.machine.start(self.command, stderr=subprocess.DEVNULL)

    @staticmethod
    def upstream(machine, port, fail):
        """A server that answers SERVFAIL to everything, or nothing to anything."""
        bound = in_namespace(machine.namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))()
        bound.bind((machine.address, port))

        def serve():
            while True:
                try:
                    query, client = bound.recvfrom(4096)
                except OSError:
                    return
                if fail and len(query) > 12:
                    # The question again, as an answer (QR, RD, RA) with code 2.
                    bound.sendto(query[:2] + b"\x81\x82" + query[4:6] + bytes(6) + query[12:], client)

        threading.Thread(target=serve, daemon=True).start()
        return bound

    def set(self, name, *addresses):
        self.records = [record for record in self.records if record[0] != name]
        self.records += [(name, address) for address in addresses]
        self.hosts.write_text("".join(f"{address} {name}\n" for name, address in self.records))
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)  # read again

    def close(self):
        for upstream in self.upstreams:
            upstream.close()


class NamesTest(unittest.TestCase):
    def test_names_of_every_kind_at_once(self):
        with tempfile.TemporaryDirectory(prefix="overlay-names-") as folder, Lab(12) as lab:
            machines = iter(lab.machines)
            dns_machine, own, spare = next(machines), next(machines), next(machines)
            names = ("late", "moved_from", "moved_to", "many0", "many1", "many2", "six", "dual", "srv")
            peers = {name: Node(machine, folder, name) for name, machine in zip(names, machines, strict=True)}
            for name, peer in peers.items():
                peer.start(*(["--peer.listen", f"[::]:{SRV_PORT}"] if name == "srv" else []))
            for peer in peers.values():
                peer.ready()
            server = Server(dns_machine, folder)
            self.addCleanup(server.close)
            server.set("moving.test", peers["moved_from"].machine.address)
            server.set("many.test", *(peers[f"many{i}"].machine.address for i in range(3)))
            server.set("six.test", peers["six"].machine.address6)
            server.set("dual.test", peers["dual"].machine.address, peers["dual"].machine.address6)
            server.set("srv-target.test", peers["srv"].machine.address)
            server.start()
            began = time.monotonic()
            node = Node(own, folder, "subject").start(
                "--dns.servers", f"{dns_machine.address}:53",
                known=[f"{name}.test:11625" for name in ("late", "moving", "many", "six", "dual", "nowhere", "fail",
                                                         "slow")] + ["services.test"]).ready()

            def has(*wanted):
                keys = {peer.peer_strkey for peer in node.connected()}
                missing = [name for name in wanted if peers[name].key not in keys]
                return not missing or f"without {missing}"

            def state(host):
                found = [name for part in node.operator.ListNames(operator_pb2.ListNamesRequest(), timeout=10)
                         for name in part.names if name.host == host]
                self.assertTrue(found, host)
                return found[0]

            at_once = ("moved_from", "many0", "many1", "many2", "six", "dual", "srv")
            took = wait_until("all that has an address", 10, lambda: has(*at_once))
            self.assertEqual(len(node.connected()), len(at_once))
            self.assertEqual(len([peer for peer in node.connected() if peer.peer_strkey == peers["dual"].key]), 1)
            self.assertTrue(next(peer.address for peer in node.connected()
                                 if peer.peer_strkey == peers["srv"].key).endswith(f":{SRV_PORT}"))

            # The name moves: the new address is dialled, the old peer stays.
            server.set("moving.test", peers["moved_to"].machine.address)
            moved = wait_until("where the name has moved", 15, lambda: has("moved_to"))
            self.assertIs(has("moved_from"), True)

            # Killed without a word, and back with its key elsewhere, which the name gives from then on.
            self.assertEqual(node.metrics()["overlay_peers_ended_total"], 0)
            peers["moved_to"].process.kill()
            peers["moved_to"].process.wait()
            Node(spare, folder, "moved_to", key=peers["moved_to"].key).start().ready()
            server.set("moving.test", spare.address)
            returned = wait_until("the key at its new address", FOUND_WITHIN_S, lambda: any(
                peer.peer_strkey == peers["moved_to"].key and peer.address == f"{spare.address}:11625"
                for peer in node.connected()))
            ended = node.metrics()["overlay_peers_ended_total"]
            self.assertLessEqual(ended, 1)

            for host in ("nowhere.test", "fail.test", "slow.test", "late.test"):
                wait_until(f"{host} is told as failing", 40,
                           lambda host=host: (bool(state(host).error) and state(host).failures > 0) or str(state(host)))
            self.assertEqual(state("many.test").state, operator_pb2.NameDetail.STATE_OK)
            self.assertEqual(len(state("many.test").addresses), 3)

            time.sleep(max(0, began + APPEARS_AFTER_S - time.monotonic()))
            server.set("late.test", peers["late"].machine.address)
            late = wait_until("the name that appeared", FOUND_WITHIN_S, lambda: has("late"))
            self.assertIs(has(*at_once, "moved_to"), True)
            self.assertEqual(node.metrics()["overlay_peers_ended_total"], ended)
            print(f"all in {took:.1f} s, the moved one in {moved:.1f} s, the one that came back elsewhere in "
                  f"{returned:.1f} s, the late one {late:.1f} s after it appeared")


if __name__ == "__main__":
    unittest.main()
