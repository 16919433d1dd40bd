#!/usr/bin/python3
"""The checker of scripts/run against invented reports: what is well stays unblamed, each fault is named."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                                "scripts"))
from network.checker import Checker, names, percentile  # noqa: E402

S = 10 ** 9


class World:
    """Four nodes that close a ledger each second, flawlessly but for what a test leaves out."""

    def __init__(self, lose=lambda sender, receiver, slot, phase: False, silent=lambda node, slot: False,
                 chain=lambda node, slot: f"{slot:016x}", include=lambda node, slot: True, peers=3):
        self.checker = Checker([f"G{i}" for i in range(4)], 0, [f"N{i}" for i in range(4)])
        self.lose, self.silent, self.chain, self.include = lose, silent, chain, include
        for i in range(4):
            self.say(i, e="attached", node=f"N{i}", t=0)
            self.say(i, e="peers", n=peers, peer="", up=True, why="", t=0)

    def say(self, i, /, **event):
        self.checker.on_event(i, event)

    def ledger(self, slot, nodes=range(4)):
        at = slot * S
        for i in nodes:
            self.say(i, e="submitted", h=[f"tx{i}-{slot}"], t=at - S)
            if self.silent(i, slot):
                continue
            for phase, count in (("nomination", 1), ("ballot", 3)):
                for k in range(count):
                    name = f"{phase[0]}{i}-{slot}-{k}"
                    self.say(i, e="sent", s=slot, p=phase, h=name, t=at)
                    for j in nodes:
                        if j != i and not self.lose(i, j, slot, (phase, k)):
                            self.say(j, e="seen", s=slot, v=f"G{i}", h=name, t=at + 1000 * (1 + j), r=False)
        for i in nodes:
            txs = [f"tx{j}-{slot}" for j in nodes if self.include(j, slot)]
            self.say(i, e="closed", s=slot, hash=self.chain(i, slot), set="aa", txs=txs, t=at)

    def run(self, slots):
        for slot in range(1, slots + 1):
            self.ledger(slot)
            self.checker.check(slot * S + S // 2)
        return self

    def problems(self):
        return self.checker.problems + self.checker.check_end()


class CheckerTest(unittest.TestCase):
    def test_nothing_is_wrong(self):
        world = World().run(12)
        self.assertEqual(world.problems(), [])
        self.assertEqual(world.checker.judged_slot, 9)
        summary = world.checker.summary(rss_mb_max=20)
        self.assertTrue(summary["ok"] and summary["chains_equal"])
        self.assertEqual((summary["ledgers_closed"], summary["submitted"], summary["included"]), (12, 48, 48))
        self.assertEqual((summary["scp_sent"], summary["scp_lost"]), (4 * 4 * 12, 0))
        self.assertEqual(summary["scp_hop_us"], {"p50": 3.0, "p99": 4.0})

    def test_what_is_long_judged_is_forgotten(self):
        world = World()
        for slot in range(1, 301):
            world.ledger(slot)
            world.checker.check(slot * S + S // 2)
        self.assertEqual(world.problems(), [])
        self.assertEqual(world.checker.summary(0)["included"], 1200)
        for node in world.checker.nodes:
            self.assertEqual((len(node.sent), len(node.submitted)), (128 + 3, 0))
            self.assertEqual(len(node.seen), 131 * 3 * 4)
        self.assertEqual(len(world.checker.send_times), 131 * 4 * 4)

    def test_votes_that_reach_nobody(self):
        world = World(lose=lambda i, j, slot, phase: i == 2 and slot >= 3).run(8)
        self.assertIn("node 2: its envelopes of ledger 3 were not seen by nodes 0,1,3", world.checker.problems)
        self.assertTrue(all(problem.startswith("node 2:") for problem in world.checker.problems))
        self.assertGreater(world.checker.summary(0)["scp_lost"], 0)

    def test_one_that_hears_nobody(self):
        world = World(lose=lambda i, j, slot, phase: j == 1).run(5)
        self.assertEqual(world.checker.problems, ["node 1: saw no vote of the others in ledger 1",
                                                  "node 1: saw no vote of the others in ledger 2"])

    def test_only_the_newest_of_a_phase_must_arrive(self):
        first = World(lose=lambda i, j, slot, phase: phase == ("ballot", 0)).run(6)
        self.assertEqual(first.problems(), [])
        last = World(lose=lambda i, j, slot, phase: (i, j, slot, phase) == (0, 3, 2, ("ballot", 2))).run(6)
        self.assertEqual(last.checker.problems, ["node 0: its envelope b0-2-2 of ledger 2 was lost on the way to node 3"])
        self.assertEqual(last.checker.summary(0)["scp_lost"], 1)

    def test_what_arrives_late_is_not_lost(self):
        world = World(lose=lambda i, j, slot, phase: (i, j, slot, phase) == (0, 3, 6, ("ballot", 2))).run(6)
        self.assertEqual(len(world.checker.check_end()), 1)
        self.assertEqual(world.checker.summary(0)["scp_lost"], 1)
        world.say(3, e="seen", s=6, v="G0", h="b0-6-2", t=7 * S, r=False)
        self.assertEqual(world.problems(), [])
        self.assertEqual(world.checker.summary(0)["scp_lost"], 0)

    def test_no_vote(self):
        world = World(silent=lambda i, slot: i == 1 and slot == 4).run(8)
        self.assertEqual(world.checker.problems, ["node 1: sent no vote in ledger 4"])

    def test_another_chain(self):
        world = World(chain=lambda i, slot: "ff" if (i, slot) == (3, 2) else f"{slot}").run(6)
        self.assertEqual(world.checker.problems, ["node 3: closed ledger 2 with hash ff, nodes 0,1,2 with another"])
        self.assertFalse(world.checker.summary(0)["chains_equal"])

    def test_not_included(self):
        world = World(include=lambda i, slot: (i, slot) != (2, 3)).run(7)
        self.assertEqual(world.checker.problems, [])
        self.assertEqual(len(world.checker.check_end()), 1)
        world.ledger(8)
        world.ledger(9)
        world.checker.check(9 * S)
        self.assertEqual(world.checker.problems,
                         ["node 2: 1 of its transactions were not included, the first submitted after 2.0 s"])

    def test_the_refusal_is_told(self):
        world = World(include=lambda i, slot: (i, slot) != (2, 3))
        world.say(2, e="refused", h="tx2-3", why="full")
        self.assertIn("its daemon refused: full", world.run(9).checker.problems[0])

    def test_a_set_that_does_not_arrive(self):
        world = World()
        world.say(2, e="proposed", s=5, set="5e7", n=3)
        world.say(0, e="missing", s=5, set="5e7", v="G2", t=5 * S)
        world.say(1, e="missing", s=5, set="5e7", v="G2", t=5 * S)
        world.say(1, e="fetched", s=5, set="5e7", us=4_000_000, kind="tx", t=9 * S)
        self.assertEqual(world.run(4).checker.problems,
                         ["node 2: its transaction set 5e7 of ledger 5 did not reach node 0"])

    def test_stall(self):
        world = World().run(5)
        world.checker.check(16 * S)
        self.assertEqual(world.checker.problems, [])
        for i in (0, 1, 3):
            world.say(i, e="sent", s=6, p="nomination", h=f"n{i}-6", t=6 * S)
            for j in {0, 1, 2, 3} - {i, 2 if i == 3 else i}:
                world.say(j, e="seen", s=6, v=f"G{i}", h=f"n{i}-6", t=6 * S + 1000, r=False)
        world.checker.check(18 * S)
        self.assertEqual([f"node {i}: closed no ledger after 5 for 12 s, with 3 peers" for i in range(4)]
                         + ["node 2: sent no vote in ledger 6",
                            "node 3: its envelopes of ledger 6 were not seen by node 2"], world.checker.problems)

    def test_a_lost_peer(self):
        world = World()
        world.say(1, e="peers", n=2, peer="N0", up=False, why="idle time-out", t=S)
        self.assertEqual(world.checker.problems, ["node 1: its daemon lost a peer: idle time-out"])

    def test_errors_and_gaps(self):
        world = World()
        world.say(0, e="error", what="INVALID_ARGUMENT: offer.hash", t=S)
        world.say(1, e="jumped", s=7)
        world.say(3, e="detached", why="UNAVAILABLE", final=False, t=S)
        self.assertEqual(world.checker.problems, ["node 0: INVALID_ARGUMENT: offer.hash",
                                                  "node 1: missed ledgers up to 7",
                                                  "node 3: its daemon ended the session: UNAVAILABLE"])

    def test_one_that_ends_behind(self):
        world = World().run(6)
        world.ledger(7, nodes=range(3))
        self.assertIn("node 3: closed ledger 6 last, the others 7", world.checker.check_end())

    def test_a_core_that_was_down_is_excused_and_must_catch_up(self):
        world = World().run(4)
        world.checker.core_down(1, 4 * S + S // 2)
        for slot in range(5, 10):
            world.ledger(slot, nodes=[0, 2, 3])
            world.checker.check(slot * S)
        self.assertEqual(world.checker.problems, [])
        world.checker.core_up(1, 9 * S + S // 2)
        self.assertTrue(world.checker.check_end())
        for slot in range(5, 10):
            for i in (0, 2, 3):
                for name in (f"n{i}-{slot}-0", f"b{i}-{slot}-2"):
                    world.say(1, e="seen", s=slot, v=f"G{i}", h=name, t=10 * S, r=False)
            world.say(1, e="closed", s=slot, hash=f"{slot:016x}", set="aa", txs=[], t=10 * S)
        self.assertEqual(world.problems(), [])

    def paused(self, forgotten):
        """Node 1 hears nothing of ledgers 5 to 9, then all of it at once but for one envelope."""
        world = World().run(4)
        world.checker.core_paused(1, 4 * S + S // 2)
        for slot in range(5, 10):
            world.ledger(slot, nodes=[0, 2, 3])
            world.checker.check(slot * S)
        self.assertEqual(world.checker.problems, [])
        world.checker.core_resumed(1, 9 * S + S // 2)
        for slot in range(5, 10):
            for i in (0, 2, 3):
                for name in {f"n{i}-{slot}-0", f"b{i}-{slot}-2"} - {forgotten}:
                    world.say(1, e="seen", s=slot, v=f"G{i}", h=name, t=10 * S, r=False)
            for p in ("nomination", "ballot"):
                world.say(1, e="sent", s=slot, p=p, h=f"{p[0]}1-{slot}", t=10 * S)
                for j in (0, 2, 3):
                    world.say(j, e="seen", s=slot, v="G1", h=f"{p[0]}1-{slot}", t=10 * S, r=False)
            world.say(1, e="closed", s=slot, hash=f"{slot:016x}", set="aa", txs=[], t=10 * S)
        for slot in range(10, 16):
            world.ledger(slot)
            world.checker.check(slot * S + S // 2)
        return world

    def test_a_core_that_was_stopped_must_hear_all_that_it_missed(self):
        world = self.paused(forgotten=None)
        self.assertEqual(world.problems(), [])
        self.assertEqual(world.checker.summary(0)["scp_hop_us"]["p99"], 4.0)  # the wait is no hop
        self.assertEqual(self.paused(forgotten="b2-7-2").checker.problems,
                         ["node 2: its envelope b2-7-2 of ledger 7 was lost on the way to node 1"])

    def test_a_core_that_was_stopped_for_long_may_lose_its_session(self):
        for stopped_s, problems in ((13, ["node 1: its daemon ended the session: ABORTED",
                                          "node 1: UNAVAILABLE: not attached"]), (20, [])):
            world = World().run(4)
            world.checker.core_paused(1, 4 * S)
            world.checker.core_resumed(1, (4 + stopped_s) * S)
            world.say(1, e="detached", why="ABORTED", final=False, t=(4 + stopped_s) * S + 1)
            world.say(1, e="error", what="UNAVAILABLE: not attached", t=(4 + stopped_s) * S + 2)
            self.assertEqual(world.checker.problems, problems)
        world.say(1, e="detached", why="ABORTED", final=False, t=30 * S)
        self.assertEqual(world.checker.problems, ["node 1: its daemon ended the session: ABORTED"])

    def unsaid(self, sent_at, killed_at, seen_by):
        world = World().run(3)
        world.ledger(4)
        world.say(1, e="sent", s=4, p="ballot", h="last words", t=sent_at)
        for j in seen_by:
            world.say(j, e="seen", s=4, v="G1", h="last words", t=sent_at + 1000, r=False)
        world.checker.core_down(1, killed_at)
        world.checker.check(8 * S)
        world.checker.core_up(1, 9 * S)
        return [problem for problem in world.problems() if "last words" in problem]

    def test_what_a_killed_core_had_not_handed_over_is_not_lost(self):
        sent_at = 4 * S + S // 4
        self.assertEqual(self.unsaid(sent_at, sent_at + S // 4, seen_by=[]), [])
        self.assertTrue(self.unsaid(sent_at, sent_at + S // 4, seen_by=[0, 2]))  # its daemon had it
        self.assertTrue(self.unsaid(sent_at, sent_at + 2 * S, seen_by=[]))  # time enough to hand it over

    def restarted(self, graceful=True, why="goaway", losers=(0, 2, 3)):
        """The daemon of node 1 goes at 4.5 s and is ready again half a second later."""
        world = World().run(4)
        world.checker.daemon_down(1, 4 * S + S // 2, graceful)
        for j in losers:
            world.say(j, e="peers", n=2, peer="N1", up=False, why=why, t=4 * S + S * 6 // 10)
        world.say(1, e="detached", why="UNAVAILABLE: draining", final=False, t=4 * S + S * 7 // 10)
        world.say(1, e="error", what="UNAVAILABLE: TxSetExternalized: not attached", t=5 * S)
        world.checker.daemon_up(1, 5 * S)
        world.say(1, e="attached", node="N1", t=5 * S + S // 10)
        for j in (0, 2, 3):
            world.say(j, e="peers", n=3, peer="N1", up=True, why="", t=5 * S + S // 5)
            world.say(1, e="peers", n=j if j < 2 else j, peer=f"N{j}", up=True, why="", t=5 * S + S // 5)
        world.checker.daemon_returned(1, 6 * S)
        return world

    def test_a_daemon_that_was_restarted_is_excused_for_that_alone(self):
        self.assertEqual(self.restarted().checker.problems, [])
        self.assertEqual(self.restarted(graceful=False, why="replaced").checker.problems, [])
        world = self.restarted()
        world.say(1, e="error", what="INVALID_ARGUMENT: offer.hash", t=5 * S)
        world.say(1, e="error", what="UNAVAILABLE: too late", t=9 * S)
        world.say(2, e="error", what="UNAVAILABLE: of another node", t=5 * S)
        world.say(1, e="detached", why="ABORTED", final=True, t=5 * S)
        world.say(1, e="detached", why="UNAVAILABLE", final=False, t=9 * S)
        self.assertEqual(world.checker.problems,
                         ["node 1: INVALID_ARGUMENT: offer.hash", "node 1: UNAVAILABLE: too late",
                          "node 2: UNAVAILABLE: of another node", "node 1: its daemon ended the session: ABORTED",
                          "node 1: its daemon ended the session: UNAVAILABLE"])

    def test_the_end_of_a_daemon_is_told_once_and_by_its_name(self):
        self.assertEqual(self.restarted(why="idle_timeout").checker.problems,
                         [f"node {j}: its daemon lost that of node 1, which was drained: idle_timeout"
                          for j in (0, 2, 3)])
        self.assertEqual(self.restarted(graceful=False, why="malformed").checker.problems[0],
                         "node 0: its daemon lost that of node 1, which was killed: malformed")
        self.assertEqual(self.restarted(losers=(0, 3)).checker.problems,
                         ["node 2: heard nothing of the end of the daemon of node 1"])
        self.assertEqual(self.restarted(losers=(0, 2, 3, 2)).checker.problems,
                         ["node 2: its daemon lost that of node 1 twice: goaway, then goaway"])
        world = self.restarted()
        world.say(0, e="peers", n=2, peer="N3", up=False, why="goaway", t=5 * S)
        self.assertEqual(world.checker.problems, ["node 0: its daemon lost a peer: goaway"])

    def test_what_a_node_that_was_restarted_still_lacks(self):
        world = World().run(4)
        checker = world.checker
        steps = (
            ("its core is not attached", {"e": "attached", "node": "N1", "t": 5 * S}),
            ("it has 0 peers of 3", {"e": "peers", "n": 3, "peer": "N0", "up": True, "why": "", "t": 5 * S}),
            ("it closed ledger 4, the others 6", {"e": "closed", "s": 6, "hash": f"{6:016x}", "txs": [], "t": 6 * S}),
            ("it has not voted", {"e": "sent", "s": 7, "p": "ballot", "h": "back", "t": 6 * S}))
        for slot in (5, 6):
            world.ledger(slot, nodes=[0, 2, 3])
        for lacking, event in steps:
            self.assertEqual(checker.what_is_missing(1, 4 * S + 1), lacking)
            self.assertFalse(checker.is_back(1, 4 * S + 1))
            checker.on_event(1, event)
        self.assertTrue(checker.is_back(1, 4 * S + 1))
        world.say(2, e="peers", n=2, peer="N1", up=False, why="", t=6 * S)
        self.assertEqual(checker.what_is_missing(1, 4 * S + 1), "node 2 have not connected to it again")

    def test_only_what_a_core_submitted_just_before_it_was_killed_may_be_lost(self):
        world = World(include=lambda i, slot: i != 1 or slot < 3).run(4)  # submitted at 2 s and 3 s
        world.checker.core_down(1, 3 * S + S // 2)
        self.assertEqual([problem for problem in world.checker.check_end() if "not included" in problem],
                         ["node 1: 1 of its transactions were not included, the first submitted after 2.0 s"])
        self.assertFalse(world.checker.is_all_included())
        world = World(include=lambda i, slot: i != 1 or slot < 4).run(4)  # submitted at 3 s
        self.assertFalse(world.checker.is_all_included())
        world.checker.core_down(1, 3 * S + S // 2)
        self.assertTrue(world.checker.is_all_included())
        world = World(include=lambda i, slot: i != 1 or slot < 5)
        world.run(4)
        world.checker.core_down(1, 4 * S - S // 2)
        world.checker.core_up(1, 4 * S - S // 4)
        world.ledger(5)  # of a core that is back: submitted at 4 s
        self.assertEqual([problem for problem in world.checker.check_end() if "not included" in problem],
                         ["node 1: 1 of its transactions were not included, the first submitted after 4.0 s"])

    def test_a_core_that_is_back_closes_what_the_others_close(self):
        world = World().run(4)
        world.checker.core_down(1, 4 * S + S // 2)
        world.checker.core_up(1, 5 * S)
        for slot in range(5, 21):
            world.ledger(slot, nodes=[0, 2, 3])
        world.say(1, e="closed", s=20, hash=f"{20:016x}", set="aa", txs=[], t=20 * S)
        for slot in range(21, 26):
            world.ledger(slot)
        world.checker.check(27 * S)
        self.assertIn("node 1: did not close ledger 14", world.checker.problems)
        self.assertNotIn("node 1: did not close ledger 12", world.checker.problems)

    def test_what_a_core_that_is_back_says_of_ledgers_long_past_is_heard_by_nobody(self):
        for slot, problems in ((3, []), (4, ["node 1: its envelope late of ledger 4 was lost on the way to nodes 0,2,3"])):
            world = World().run(15)
            world.say(1, e="sent", s=slot, p="ballot", h="late", t=15 * S)
            self.assertEqual(world.problems(), problems)

    def test_names_and_percentiles(self):
        self.assertEqual(names([3]), "node 3")
        self.assertEqual(names({2, 0}), "nodes 0,2")
        self.assertIsNone(percentile([], 0.5))
        self.assertEqual(percentile(list(range(100)), 0.99), 99)


if __name__ == "__main__":
    unittest.main()
