"""Two daemons without a version in common: each says so, of the other, to its operator. For `./dev upgrade`."""

import os
import unittest

import daemon as d
from pages_test import Pages
from peers_test import overlayctl

OTHER = os.environ["TEST_OTHER_OVERLAYD"]


class RefusedVersion(Pages):
    def test_both_sides_say_so(self):
        ours = self.start("ours")
        program, d.OVERLAYD = d.OVERLAYD, OTHER
        try:
            theirs = self.start("theirs", "--peers.known", ours.ready["peer"])
        finally:
            d.OVERLAYD = program
        # Both count it by name, whoever dials. (An older daemon's list of peers may have less.)
        counted = lambda daemon: daemon.metrics().get("overlay_peers_refusals_total{wrong_version}", 0)
        self.wait_for(lambda: counted(theirs) and counted(ours))
        before = counted(theirs)
        code, said = overlayctl(ours, "connect", theirs.ready["peer"])
        self.assertEqual(code, 0, said)
        self.wait_for(lambda: "wrong_version" in {peer.last_reason for peer in ours.peers()})
        self.wait_for(lambda: counted(theirs) > before)
        for daemon in (ours, theirs):
            self.assertEqual(daemon.stop(), 0)
        # Both ranges, for people.
        self.assertRegex((self.folder / "ours.log").read_text(), r"peer_refused reason=wrong_version by=\w+ .*1 to 1.*2 to 2")


if __name__ == "__main__":
    unittest.main()
