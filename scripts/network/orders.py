"""What is done to a running network on purpose: cores and daemons killed, stopped and started again.

Each order looks at the network in tick(), does what is due, and tells the checker what it did, so that
exactly that is excused. finish() is called when the run is over, before the end is checked.
"""
import signal

from . import processes

# A second after it goes on, a core that was stopped has read what waited for it; a daemon then has it no more.
DRAINED_WITHIN_S = 5.0
# A network in motion: restarts begin when all have closed so many ledgers, and go on so many after a return.
RESTART_LEDGERS = 3
CORE_DOWN_S = 2.0
# While a core is down for so long the others must have closed one.
STOOD_LEDGERS = 3
# A daemon that drains, with what the kernel and this script need.
EXIT_WITHIN_MS = 2000.0
# From the end of the old process until the node votes again (a core), or has its peers and its core (a daemon).
BACK_WITHIN_S = 20.0


def others(run, i):
    return [node for j, node in enumerate(run.checker.nodes) if j != i]


class KillCore:
    """kill -9 to the core of one node, and a new one some seconds later."""

    def __init__(self, run, i, at, down_s):
        self.run, self.i, self.at, self.down_s = run, i, at, down_s

    def tick(self):
        run, core = self.run, self.run.checker.nodes[self.i]
        if not core.down and run.elapsed() >= self.at:
            run.nodes[self.i].kill_core()
            run.checker.core_down(self.i, processes.monotonic_ns())
        elif core.is_down() and run.elapsed() >= self.at + self.down_s:
            stood = [node.newest for node in others(run, self.i)]
            if self.down_s * 1000 >= STOOD_LEDGERS * run.options.ledger_ms and min(stood) <= core.newest:
                run.checker.blame(f"{len(stood)} nodes: closed no ledger while the core of node {self.i} was down")
            run.start_core(self.i, rejoin=True)
            run.checker.core_up(self.i, processes.monotonic_ns())

    def finish(self):
        pass

    @staticmethod
    def summary():
        return {}


class PauseCore:
    """SIGSTOP to the core of one node, SIGCONT some seconds later: it must hear all that it missed."""

    def __init__(self, run, i, at, duration_s):
        self.run, self.i, self.at, self.duration_s = run, i, at, duration_s
        self.became = None  # of its daemon meanwhile

    def tick(self):
        run, node, core = self.run, self.run.nodes[self.i], self.run.checker.nodes[self.i]
        if not core.paused and run.elapsed() >= self.at:
            node.measure()
            self.became = {"node": self.i, "rss_mb_before": round(node.rss_mb, 1), "rss_mb_most": 0.0,
                           "waiting_most": 0}
            node.pause_core()
            run.checker.core_paused(self.i, processes.monotonic_ns())
        elif core.paused and core.paused[-1][1] is None:
            node.measure()
            self.became["rss_mb_most"] = max(self.became["rss_mb_most"], round(node.rss_mb, 1))
            self.became["waiting_most"] = max(self.became["waiting_most"], self.waiting(node))
            if run.elapsed() >= self.at + self.duration_s:
                node.resume_core()
                run.checker.core_resumed(self.i, processes.monotonic_ns())

    @staticmethod
    def waiting(node):
        """Envelopes and transactions that a daemon holds until its core reads and judges them."""
        metrics = node.metrics()
        return int(metrics.get("overlay_scp_core_queue_count", 0) + metrics.get("overlay_mempool_pending_count", 0))

    def finish(self):
        if self.became is None:
            return
        run, node = self.run, self.run.nodes[self.i]
        if not run.until(lambda: self.waiting(node) == 0, DRAINED_WITHIN_S):
            run.checker.blame(f"node {self.i}: its daemon still holds {self.waiting(node)} envelopes and "
                              "transactions for its core, which goes on since long")
        node.measure()
        metrics = node.metrics()
        self.became.update(rss_mb_end=round(node.rss_mb, 1), overflows=int(metrics["overlay_core_overflow_total"]),
                           waiting_end=self.waiting(node))

    def summary(self):
        return {"pause": self.became}


class Restart:
    """Every node in turn: its daemon (SIGTERM to even nodes, SIGKILL to odd ones), its core (SIGKILL), or both at
    once, as a pod goes. The next one follows when this one is back and all have closed some ledgers more."""

    def __init__(self, run, what):
        self.run, self.what = run, what
        self.next = 0
        self.due_ledger = RESTART_LEDGERS
        self.under_way = None
        self.done = []

    def tick(self):
        if self.under_way is not None:
            self.follow()
        elif self.next < len(self.run.nodes) and self.run.checker.newest_of_all() >= self.due_ledger:
            self.begin(self.next)
            self.next += 1

    def begin(self, i):
        run, node = self.run, self.run.nodes[i]
        run.check_bugs(node)
        daemon, core = self.what in ("daemons", "both"), self.what in ("cores", "both")
        graceful = daemon and i % 2 == 0
        self.under_way = {"node": i, "what": self.what, "signal": "SIGTERM" if graceful else "SIGKILL",
                          "exit_code": None, "drain_ms": None, "back_ms": None}
        if core:
            # First, and its last words are read: what it says after them died with it.
            node.kill_core()
            run.look()
            run.checker.core_down(i, processes.monotonic_ns())
        self.core_due_ns = processes.monotonic_ns() + CORE_DOWN_S * 1e9 if core else None
        if daemon:
            run.checker.daemon_down(i, processes.monotonic_ns(), graceful)
            code, took_ms = node.end_daemon(signal.SIGTERM if graceful else signal.SIGKILL)
            self.under_way["exit_code"] = code
            if graceful:
                self.under_way["drain_ms"] = round(took_ms, 1)
                if code != 0 or took_ms > EXIT_WITHIN_MS:
                    run.checker.blame(f"node {i}: its daemon ended with code {code} {took_ms:.0f} ms after SIGTERM, "
                                      f"expected 0 within {EXIT_WITHIN_MS:.0f} ms: {processes.tail(node.daemon_log)}")
        self.ended_ns = processes.monotonic_ns()
        if daemon:
            node.start_daemon(run.passphrase)
            node.await_ready()
            run.checker.daemon_up(i, processes.monotonic_ns())

    def follow(self):
        run, i = self.run, self.under_way["node"]
        now_ns = processes.monotonic_ns()
        if self.core_due_ns is not None and now_ns >= self.core_due_ns:
            # Its ledgers are on a disk, so to speak: a new daemon, too, hands on twelve of them at most.
            run.start_core(i, rejoin=True, submits=True, resume=run.checker.nodes[i].newest)
            run.checker.core_up(i, processes.monotonic_ns())
            self.core_due_ns = None
        if self.core_due_ns is None and run.checker.is_back(i, self.ended_ns):
            self.under_way["back_ms"] = round((now_ns - self.ended_ns) / 1e6)
            run.checker.daemon_returned(i, now_ns)
            self.done.append(self.under_way)
            self.under_way = None
            self.due_ledger = run.checker.newest_of_any() + RESTART_LEDGERS
        elif now_ns - self.ended_ns > BACK_WITHIN_S * 1e9:
            run.checker.blame(f"node {i}: not back {BACK_WITHIN_S:.0f} s after its restart ({self.what}): "
                              f"{run.checker.what_is_missing(i, self.ended_ns)}")

    def finish(self):
        if len(self.done) < len(self.run.nodes):
            self.run.checker.blame(f"{len(self.done)} of {len(self.run.nodes)} nodes were restarted in time: "
                                   "more --seconds")

    def summary(self):
        return {"restarts": self.done}
