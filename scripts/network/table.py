"""The live table of a network: redrawn in place on a terminal, appended from time to time elsewhere."""
import itertools
import sys
import time

from network.checker import percentile

HEAD = f"{'node':>4} {'ledger':>7} {'peers':>6} {'tx/s':>7} {'mempool':>8} {'hop p50':>8} {'p99 us':>8} " \
       f"{'fetch p50 us':>13} {'RSS MB':>7}"
PIPED_EVERY_S = 5.0
RATE_OVER_S = 5.0


def shown(value, form="{:.0f}"):
    return "-" if value is None else form.format(value)


def row(index, node, network_node, mempool, now_ns):
    if node.is_down():
        return f"{index:>4} {node.newest:>7}   core is down"
    recent = (node.closed[slot] for slot in range(node.newest, 0, -1) if slot in node.closed)
    recent = itertools.takewhile(lambda closed: now_ns - closed[2] < RATE_OVER_S * 1e9, recent)
    included = sum(count for _, count, _ in recent)
    return (f"{index:>4} {node.newest:>7} {node.peers:>6} {included / RATE_OVER_S:>7.1f} {shown(mempool):>8} "
            f"{shown(percentile(node.hops_us, 0.5)):>8} {shown(percentile(node.hops_us, 0.99)):>8} "
            f"{shown(percentile(node.fetch_us, 0.5)):>13} {network_node.rss_mb:>7.1f}")


class Table:
    def __init__(self, out=sys.stdout):
        self.out = out
        self.in_place = out.isatty()
        self.drawn = 0
        self.due = 0.0

    def is_due(self):
        return time.monotonic() >= self.due

    def draw(self, title, rows):
        self.due = time.monotonic() + (1.0 if self.in_place else PIPED_EVERY_S)
        lines = [title, HEAD, *rows]
        if self.in_place and self.drawn:
            self.out.write(f"\x1b[{self.drawn}A")
        for line in lines:
            self.out.write(line + ("\x1b[K\n" if self.in_place else "\n"))
        self.drawn = len(lines)
        self.out.flush()
