"""Twenty daemons that have each other configured form a full mesh, keep it, and mend it after a partition: by
themselves, nobody calls anything."""

import tempfile
import time
import unittest

from lab import Lab, wait_until
from node import Node, operator_pb2

COUNT = 20
FORMS_WITHIN_S = 10
KEPT_S = 30
PARTITION_S = 60  # twice the idle time-out
HEALS_WITHIN_S = 35


class MeshTest(unittest.TestCase):
    def test_twenty_daemons_form_a_mesh_keep_it_and_mend_it(self):
        with tempfile.TemporaryDirectory(prefix="overlay-mesh-") as folder, Lab(COUNT) as lab:
            nodes = [Node(machine, folder) for machine in lab.machines]
            for node in nodes:
                node.start(known=[other.entry for other in nodes if other is not node])
            for node in nodes:
                node.ready()

            def counts():
                return [node.operator.Status(operator_pb2.StatusRequest(), timeout=10).peers_connected
                        for node in nodes]

            def whole():
                seen = counts()
                return seen == [COUNT - 1] * COUNT or seen

            def ended():
                return sum(node.metrics()["overlay_peers_ended_total"] for node in nodes)

            formed = wait_until("a full mesh", FORMS_WITHIN_S, whole)
            self.assertEqual(ended(), 0)
            until = time.monotonic() + KEPT_S
            while time.monotonic() < until:
                self.assertEqual(counts(), [COUNT - 1] * COUNT)
                time.sleep(1)
            self.assertEqual(ended(), 0)

            lab.set_trunk(up=False)
            began = time.monotonic()
            half = COUNT // 2 - 1  # of each daemon's own half
            wait_until("the halves know that they are apart", PARTITION_S, lambda: counts() == [half] * COUNT or counts())
            time.sleep(max(0, began + PARTITION_S - time.monotonic()))
            self.assertEqual(counts(), [half] * COUNT)
            lab.set_trunk(up=True)
            healed = wait_until("the mesh again", HEALS_WITHIN_S, whole)
            print(f"formed in {formed:.1f} s, mended in {healed:.1f} s")


if __name__ == "__main__":
    unittest.main()
