"""Two daemons without a version in common: each says so, of the other, to its operator. For `./dev upgrade`."""

import os
import pathlib
import unittest

import daemon as d
from overlayd_test import Folder
from peers_test import overlayctl

OTHER = os.environ["TEST_OTHER_OVERLAYD"]


class RefusedVersion(Folder):
    def test_both_sides_say_so(self):
        ours = self.start("ours")
        program, d.OVERLAYD = d.OVERLAYD, OTHER
        try:
            theirs = self.start("theirs", "--peers.known", ours.ready["peer"])
        finally:
            d.OVERLAYD = program
        reason = lambda daemon: {peer.last_reason for peer in daemon.peers()}
        # The one that dials tries again and again: its list of peers keeps the reason. The one that is dialled counts it.
        while "wrong_version" not in reason(theirs):
            self.assertIsNone(theirs.process.poll())
        while not ours.metrics().get("overlay_peers_refusals_total{wrong_version}"):
            self.assertIsNone(ours.process.poll())
        # And the other way round.
        code, said = overlayctl(ours, "connect", theirs.ready["peer"])
        self.assertEqual(code, 0, said)
        while "wrong_version" not in reason(ours):
            self.assertIsNone(ours.process.poll())
        for daemon in (ours, theirs):
            self.assertEqual(daemon.stop(), 0)
        for name in ("ours", "theirs"):
            log = (pathlib.Path(self.folder) / f"{name}.log").read_text()
            self.assertIn("wrong_version", log, f"{name} says nothing")


if __name__ == "__main__":
    unittest.main()
