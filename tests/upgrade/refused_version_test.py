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
        reason = lambda daemon: {peer.last_reason for peer in daemon.peers()}
        # The one that dials tries again and again: its list of peers keeps the reason. The one that is dialled counts it.
        self.wait_for(lambda: "wrong_version" in reason(theirs))
        self.wait_for(lambda: ours.metrics().get("overlay_peers_refusals_total{wrong_version}"))
        # And the other way round.
        code, said = overlayctl(ours, "connect", theirs.ready["peer"])
        self.assertEqual(code, 0, said)
        self.wait_for(lambda: "wrong_version" in reason(ours))
        for daemon in (ours, theirs):
            self.assertEqual(daemon.stop(), 0)
        # Both ranges, for people. (The log of an older daemon may have less.)
        self.assertRegex((self.folder / "ours.log").read_text(), r"peer_refused reason=wrong_version by=\w+ .*1 to 1.*2 to 2")


if __name__ == "__main__":
    unittest.main()
