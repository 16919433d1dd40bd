"""Decides from the cores' reports alone whether a network works, and if not which node is to blame and why.

Reports are the JSON lines of client-sdk/demo-core/report.h. Nothing here knows what was broken on purpose:
the one thing that is told is when a core or a daemon was down (kill and restart are orders of the one who runs
it), and only what must follow from that is excused.

A ledger is judged when it is settled: all cores that are up have closed SETTLED_LEDGERS more and
SETTLED_S have gone by. So a failure shows while the network runs, and all that is left at its end.
"""

import collections

SETTLED_LEDGERS = 3
SETTLED_S = 2.0
INCLUDED_WITHIN_LEDGERS = 6
INCLUDED_WITHIN_S = 6.0
STALLED_S = 12.0
# Ledgers of which the votes are remembered: a core that comes back gets those of 60 s.
REMEMBERED_LEDGERS = 128
# A core takes no envelope of a ledger so far below its newest one (client-sdk/demo-core/core.h). One ledger less,
# because it may close another one while the envelope is on its way.
TAKEN_LEDGERS = 11
# Times over which percentiles are taken: the newest.
TIMES_MAX = 20_000
# Around a core's downtime its votes are not demanded: it is behind, and must not vote twice.
REJOIN_S = 8.0
# A daemon that is back: its core has attached again and what it was told meanwhile has been answered.
ATTACH_S = 3.0
# How a peer's end is told when its daemon was killed and is back before anybody noticed, or after.
KILLED_REASONS = {"replaced", "stateless_reset", "idle_timeout", "transport_error"}
# A daemon gives up a core that takes nothing for so long, and looks at it that much earlier or later.
DETACHED_AFTER_S = 15.0
DETACHED_SLACK_S = 1.0
# What a core's calls end with when its daemon goes.
GONE_CODES = ("UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED")

NS = 1e9


def names(nodes):
    return ("node " if len(nodes) == 1 else "nodes ") + ",".join(str(n) for n in sorted(nodes))


def percentile(values, share):
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class DaemonDown:
    """One restart of a daemon."""

    def __init__(self, begin_ns, graceful):
        self.begin_ns = begin_ns
        self.until_ns = None  # the new process was ready
        self.graceful = graceful
        self.lost_by = {}     # node -> why, as its core was told

    def covers(self, time_ns):
        return self.begin_ns <= time_ns <= (self.until_ns or time_ns) + ATTACH_S * NS


class Node:
    def __init__(self):
        self.attached_ns = None
        self.peers = 0
        self.most_peers = 0
        self.closed = {}          # slot -> (hash, transactions, time)
        self.newest = 0
        self.voted_ns = 0         # when it sent a vote last
        self.sent = {}            # slot -> phase -> [(name, time)], newest last
        self.seen = {}            # name -> time
        self.seen_of = {}         # slot -> set of nodes
        self.proposed = {}        # set -> slot
        self.missing = {}         # (slot, set) -> (node that named it, time)
        self.fetched = set()
        self.fetch_us = collections.deque(maxlen=TIMES_MAX)
        self.hops_us = collections.deque(maxlen=TIMES_MAX)
        self.submitted = {}       # name -> time, of those that no ledger has
        self.submitted_count = 0
        self.refused = {}         # name -> why
        self.down = []            # [from, until or None]
        self.paused = []          # the same, of times in which its process was stopped
        self.daemon = None        # its daemon's key
        self.daemon_downs = []    # DaemonDown, in order

    def is_down(self):
        return bool(self.down) and self.down[-1][1] is None

    def is_paused(self, time_ns):
        return any(begin <= time_ns <= (end or time_ns) for begin, end in self.paused)

    def is_behind(self, time_ns):
        """Hearing nothing, or with much to catch up on: no ledger of its own is expected, but nothing may be lost."""
        return self.is_down() or self.is_excused(time_ns) or any(
            begin <= time_ns <= (end or time_ns) + REJOIN_S * NS for begin, end in self.paused)

    def died_after(self, time_ns):
        """Killed within a second of this time: what it then said may have died with it."""
        return any(begin - NS <= time_ns <= begin for begin, _ in self.down)

    def was_given_up_at(self, time_ns):
        """Stopped for so long that its daemon has detached it, and not long back."""
        given_up_ns = (DETACHED_AFTER_S - DETACHED_SLACK_S) * NS
        return any(begin + given_up_ns <= time_ns <= (end or time_ns) + ATTACH_S * NS for begin, end in self.paused
                   if (end or time_ns) - begin >= given_up_ns)

    def session_may_end_at(self, time_ns):
        return self.daemon_down_at(time_ns) is not None or self.was_given_up_at(time_ns)

    def daemon_down_at(self, time_ns):
        return next((down for down in reversed(self.daemon_downs) if down.covers(time_ns)), None)

    def is_excused(self, time_ns):
        return any(begin - NS <= time_ns <= (end or time_ns) + REJOIN_S * NS for begin, end in self.down)


class Checker:
    def __init__(self, validators, began_ns, daemons=()):
        self.index = {validator: i for i, validator in enumerate(validators)}
        self.daemon_index = {daemon: i for i, daemon in enumerate(daemons)}
        self.nodes = [Node() for _ in validators]
        self.began_ns = began_ns
        self.problems = []
        self.send_times = {}      # name -> (node, time)
        self.scp_sent = 0
        self.lost = set()         # (name, node without it)
        self.lost_while_running = set()
        self.included_count = 0
        self.included_early = set()  # in a ledger, and the report of who submitted them is still to come
        self.included_slot = 0       # the newest whose transactions were looked at
        self.judged_slot = 0
        self.final = False        # the run is over: sessions and peers may end

    # ---- what is reported

    def on_event(self, i, event):
        handler = getattr(self, "on_" + event["e"], None)
        if handler is not None:
            handler(i, self.nodes[i], event)

    def on_attached(self, i, node, event):
        node.attached_ns = event["t"]
        node.peers = node.most_peers = 0  # they are counted anew

    def on_detached(self, i, node, event):
        if self.final or not event["final"] and node.session_may_end_at(event["t"]):
            return
        self.blame(f"node {i}: its daemon ended the session: {event['why']}")

    def on_peers(self, i, node, event):
        node.peers = event["n"]
        node.most_peers = max(node.most_peers, node.peers)
        if event["up"] or self.final:
            return
        other = self.daemon_index.get(event["peer"])
        down = self.nodes[other].daemon_down_at(event["t"]) if other is not None else None
        why = event["why"] or "no reason given"
        if down is None:
            self.blame(f"node {i}: its daemon lost a peer: {why}")
        elif i in down.lost_by:
            self.blame(f"node {i}: its daemon lost that of node {other} twice: {down.lost_by[i]}, then {why}")
        elif why != "goaway" if down.graceful else why not in KILLED_REASONS:
            self.blame(f"node {i}: its daemon lost that of node {other}, which was "
                       f"{'drained' if down.graceful else 'killed'}: {why}")
        if down is not None:
            down.lost_by[i] = why

    def on_error(self, i, node, event):
        if any(code in event["what"] for code in GONE_CODES) and (self.final or node.session_may_end_at(event["t"])):
            return
        self.blame(f"node {i}: {event['what']}")

    def on_sent(self, i, node, event):
        self.scp_sent += 1
        node.voted_ns = max(node.voted_ns, event["t"])
        self.send_times[event["h"]] = event["t"]
        for other in self.nodes:
            self.take_hop(other, event["h"])
        sent = node.sent.setdefault(event["s"], {})
        if event["s"] + TAKEN_LEDGERS < self.newest_of_any():
            return  # of a core that is back and goes through what it missed: to the others it is long past
        sent.setdefault(event["p"], []).append((event["h"], event["t"]))

    def on_seen(self, i, node, event):
        sender = self.index.get(event["v"])
        if sender is None:
            self.blame(f"node {i}: heard an unknown validator, {event['v']}")
            return
        node.seen_of.setdefault(event["s"], set()).add(sender)
        if event["h"] not in node.seen:
            node.seen[event["h"]] = (event["t"], event["r"])
            self.take_hop(node, event["h"])

    def on_proposed(self, i, node, event):
        node.proposed[event["set"]] = event["s"]

    def on_fetched(self, i, node, event):
        node.fetched.add(event["set"])
        if event["kind"] == "tx" and not node.is_behind(event["t"]):
            node.fetch_us.append(event["us"])

    def on_missing(self, i, node, event):
        node.missing.setdefault((event["s"], event["set"]), event["t"])

    def on_refused_set(self, i, node, event):
        self.blame(f"{self.maker_of(event['set'])}: its transaction set {event['set']} of ledger {event['s']} "
                   f"was refused by node {i}: {event['why']}")

    def on_closed(self, i, node, event):
        if event["s"] in node.closed and node.closed[event["s"]][0] != event["hash"]:
            self.blame(f"node {i}: closed ledger {event['s']} twice, with different hashes")
        node.closed[event["s"]] = (event["hash"], len(event["txs"]), event["t"])
        node.newest = max(node.newest, event["s"])
        if event["s"] <= self.included_slot:
            return  # of another node; that all have the same is check_hash's business
        self.included_slot = event["s"]
        for name in event["txs"]:
            submitters = [other for other in self.nodes if name in other.submitted]
            for other in submitters:
                del other.submitted[name]
                self.included_count += 1
            if not submitters:
                self.included_early.add(name)

    def on_jumped(self, i, node, event):
        self.blame(f"node {i}: missed ledgers up to {event['s']}")

    def on_submitted(self, i, node, event):
        node.submitted_count += len(event["h"])
        for name in event["h"]:
            if name in self.included_early:
                self.included_early.remove(name)
                self.included_count += 1
            else:
                node.submitted[name] = event["t"]

    def on_refused(self, i, node, event):
        node.refused[event["h"]] = event["why"]

    def core_down(self, i, now_ns):
        self.nodes[i].down.append([now_ns, None])

    def core_up(self, i, now_ns):
        self.nodes[i].down[-1][1] = now_ns

    def daemon_down(self, i, now_ns, graceful):
        self.nodes[i].daemon_downs.append(DaemonDown(now_ns, graceful))

    def daemon_up(self, i, now_ns):
        self.nodes[i].daemon_downs[-1].until_ns = now_ns

    def what_is_missing(self, i, since_ns):
        """Of a node that was restarted: why it is not back yet; nothing when it is."""
        node = self.nodes[i]
        everybody = len(self.nodes) - 1
        ahead = self.newest_of_any()
        if node.attached_ns is None or node.attached_ns < since_ns:
            return "its core is not attached"
        if node.peers < everybody:
            return f"it has {node.peers} peers of {everybody}"
        short = [j for j, other in enumerate(self.nodes) if j != i and other.peers < everybody]
        if short:
            return f"{names(short)} have not connected to it again"
        if node.newest < ahead - 1:
            return f"it closed ledger {node.newest}, the others {ahead}"
        if node.voted_ns < since_ns:
            return "it has not voted"
        return None

    def is_back(self, i, since_ns):
        return self.what_is_missing(i, since_ns) is None

    def daemon_returned(self, i, now_ns):
        """All have connected to it again: each of the others has lost it once."""
        for down in self.nodes[i].daemon_downs[-1:]:
            kept = {j for j in range(len(self.nodes)) if j != i} - set(down.lost_by)
            if kept:
                self.blame(f"{names(kept)}: heard nothing of the end of the daemon of node {i}")

    def core_paused(self, i, now_ns):
        self.nodes[i].paused.append([now_ns, None])

    def core_resumed(self, i, now_ns):
        self.nodes[i].paused[-1][1] = now_ns

    # ---- what follows from it

    def blame(self, what):
        if what not in self.problems:
            self.problems.append(what)

    def maker_of(self, set_name):
        makers = [i for i, node in enumerate(self.nodes) if set_name in node.proposed]
        return names(makers) if makers else "a node"

    def newest_of_all(self):
        return min(node.newest for node in self.nodes)

    def newest_of_any(self):
        return max(node.newest for node in self.nodes)

    def is_all_included(self):
        return not any(self.lacks_in_ledgers(node) for node in self.nodes)

    def check(self, now_ns):
        """What can be said while the network runs."""
        up = [node for node in self.nodes if not node.is_down()]
        reached = min(node.newest for node in up)
        while self.judged_slot + 1 <= reached - SETTLED_LEDGERS:
            slot = self.judged_slot + 1
            closed_ns = [node.closed[slot][2] for node in self.nodes if slot in node.closed]
            if not closed_ns or max(closed_ns) > now_ns - SETTLED_S * NS:
                break
            self.check_slot(slot, final=False)
            self.lost_while_running = set(self.lost)
            self.judged_slot = slot
            self.forget(slot - REMEMBERED_LEDGERS)
        self.check_sets(now_ns)
        self.check_stall(now_ns)
        self.check_inclusion(now_ns)

    def check_end(self):
        """What must hold when nothing is under way any more. Leaves `problems` of this check out of the
        running ones, so that it can be asked again until late events are in."""
        kept, self.problems = self.problems, []
        self.lost = set(self.lost_while_running)
        last_slot = self.newest_of_any()
        for i, node in enumerate(self.nodes):
            if node.newest != last_slot:
                self.blame(f"node {i}: closed ledger {node.newest} last, the others {last_slot}")
        for slot in range(max(1, self.judged_slot - REMEMBERED_LEDGERS + 1), last_slot + 1):
            self.check_slot(slot, final=True)
        for i, node in enumerate(self.nodes):
            self.blame_not_included(i, self.lacks_in_ledgers(node))
        found, self.problems = self.problems, kept
        return found

    def check_slot(self, slot, final):
        self.check_hash(slot, final)
        self.check_votes(slot, final)

    def check_votes(self, slot, final):
        # By phase: the newest envelope of each, which nothing superseded.
        silent_to = {}
        lost_at = {}
        for i, node in enumerate(self.nodes):
            closed = [n.closed[slot][2] for n in self.nodes if slot in n.closed]
            excused = any(node.is_excused(time) for time in closed)
            if slot not in node.sent and not excused:
                self.blame(f"node {i}: sent no vote in ledger {slot}")
            for j, other in enumerate(self.nodes):
                late = other.is_down() or (not final and any(other.is_excused(time) for time in closed))
                if j == i or late:
                    continue
                if slot in node.sent and i not in other.seen_of.get(slot, ()) and not self.died_unsaid(i, slot):
                    silent_to.setdefault(i, set()).add(j)
                for envelopes in node.sent.get(slot, {}).values():
                    if envelopes[-1][0] not in other.seen and not self.died_with_core(i, *envelopes[-1]):
                        lost_at.setdefault((i, envelopes[-1][0]), set()).add(j)
        everybody = set(range(len(self.nodes)))
        deaf = {j for j in everybody
                if len(everybody) > 2 and all(j in silent_to.get(i, ()) for i in everybody - {j})}
        for j in sorted(deaf):
            self.blame(f"node {j}: saw no vote of the others in ledger {slot}")
        for i, missed in silent_to.items():
            if missed - deaf:
                self.blame(f"node {i}: its envelopes of ledger {slot} were not seen by {names(missed - deaf)}")
        for (i, name), missed in lost_at.items():
            self.lost.update((name, j) for j in missed)
            if missed - silent_to.get(i, set()):
                self.blame(f"node {i}: its envelope {name} of ledger {slot} was lost on the way to {names(missed)}")

    def died_with_core(self, sender, name, time_ns):
        """Never left a core that was killed: its daemon had it from nobody, so no other core has it."""
        return self.nodes[sender].died_after(time_ns) and not any(name in node.seen for node in self.nodes)

    def died_unsaid(self, sender, slot):
        return all(self.died_with_core(sender, *envelope)
                   for envelopes in self.nodes[sender].sent[slot].values() for envelope in envelopes)

    def check_hash(self, slot, final):
        by_hash = {}
        closed = [node.closed[slot][2] for node in self.nodes if slot in node.closed]
        for i, node in enumerate(self.nodes):
            if slot in node.closed:
                by_hash.setdefault(node.closed[slot][0], set()).add(i)
            elif final or not any(node.is_excused(time) for time in closed):
                self.blame(f"node {i}: did not close ledger {slot}")
        if len(by_hash) > 1:
            most = max(by_hash.values(), key=len)
            for name, closers in by_hash.items():
                if closers is not most:
                    self.blame(f"{names(closers)}: closed ledger {slot} with hash {name}, {names(most)} with another")

    def check_sets(self, now_ns):
        missed = {}
        for j, node in enumerate(self.nodes):
            for (slot, name), _ in node.missing.items():
                if name not in node.fetched:
                    missed.setdefault((slot, name), set()).add(j)
        for (slot, name), nodes in missed.items():
            self.blame(f"{self.maker_of(name)}: its transaction set {name} of ledger {slot} did not reach {names(nodes)}")

    def check_stall(self, now_ns):
        stalled = set()
        for i, node in enumerate(self.nodes):
            if node.is_behind(now_ns):
                continue
            last = max([self.began_ns, node.attached_ns or 0] + [node.closed[node.newest][2] if node.newest else 0])
            if now_ns - last > STALLED_S * NS:
                self.blame(f"node {i}: closed no ledger after {node.newest} for {STALLED_S:.0f} s, with {node.peers} peers")
                stalled.add(node.newest + 1)
        # Who is silent, or not heard, in the ledger that does not close?
        for slot in sorted(stalled):
            self.check_votes(slot, final=False)

    def check_inclusion(self, now_ns):
        for i, node in enumerate(self.nodes):
            if node.is_behind(now_ns):
                continue
            late = []
            for name in self.lacks_in_ledgers(node):
                time = node.submitted[name]
                if now_ns - time < INCLUDED_WITHIN_S * NS:
                    continue
                recent = range(max(1, node.newest - INCLUDED_WITHIN_LEDGERS), node.newest + 1)
                since = sum(1 for slot in recent if slot in node.closed and node.closed[slot][2] > time)
                if since >= INCLUDED_WITHIN_LEDGERS:
                    late.append(name)
            self.blame_not_included(i, late)

    @staticmethod
    def lacks_in_ledgers(node):
        """Of its transactions. What a core submitted just before it was killed may have died with it."""
        return [name for name, time in node.submitted.items() if not node.died_after(time)]

    def blame_not_included(self, i, late):
        node = self.nodes[i]
        already = any(problem.startswith(f"node {i}: ") and "not included" in problem for problem in self.problems)
        if late and not already:
            why = {node.refused[name] for name in late if name in node.refused}
            told = f" (its daemon refused: {', '.join(sorted(why))})" if why else ""
            first = (min(node.submitted[name] for name in late) - self.began_ns) / NS
            self.blame(f"node {i}: {len(late)} of its transactions were not included, the first submitted "
                       f"after {first:.1f} s{told}")

    # ---- figures

    def take_hop(self, node, name):
        """From the send of a vote to its arrival at another core, in us. What a core got on attaching was kept
        for it, and is no hop; nor is what waited for a core that was stopped."""
        if name not in self.send_times or name not in node.seen:
            return
        sent, (seen, redelivered) = self.send_times[name], node.seen[name]
        if node.is_paused(sent):
            return
        if not redelivered and node.attached_ns is not None and sent > node.attached_ns:
            node.hops_us.append(max(0.0, (seen - sent) / 1000))

    def forget(self, slot):
        """The votes of a ledger long judged."""
        for node in self.nodes:
            node.seen_of.pop(slot, None)
            for envelopes in node.sent.pop(slot, {}).values():
                for name, _ in envelopes:
                    self.send_times.pop(name, None)
                    for other in self.nodes:
                        other.seen.pop(name, None)

    def summary(self, rss_mb_max):
        hops = [hop for node in self.nodes for hop in node.hops_us]
        fetches = [us for node in self.nodes for us in node.fetch_us]
        chains = [{slot: closed[0] for slot, closed in node.closed.items()} for node in self.nodes]

        def figures(values):
            p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
            return {"p50": p50 and round(p50, 1), "p99": p99 and round(p99, 1)}

        return {
            "ok": not self.problems,
            "nodes": len(self.nodes),
            "ledgers_closed": min(len(chain) for chain in chains),
            "chains_equal": all(chain == chains[0] for chain in chains) and bool(chains[0]),
            "submitted": sum(node.submitted_count for node in self.nodes),
            "included": self.included_count,
            "scp_sent": self.scp_sent,
            "scp_lost": len(self.lost),
            "scp_hop_us": figures(hops),
            "tx_set_fetch_us": figures(fetches),
            "rss_mb_max": round(rss_mb_max, 1),
            "why": self.problems,
        }
