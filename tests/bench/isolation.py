#!/usr/bin/env python3
"""SCP beside sets that keep a link full: two daemons in network namespaces, a router between them.

usage: isolation.py [--shaper router|sender] [--rate-mbit 200] [--queue-kb 1000] [--seconds 20] [--json]
                    [--bench PATH] [--daemon PATH]

The link is a token bucket of the kernel (tc tbf) with a drop-tail queue, on the router's interface towards the
receiver, or on the sender's own one. The cores are played by overlay-bench, on this side of the namespaces, over unix
sockets. Needs root, and iproute2. Everything it made is removed again.

Prints the latency of the envelopes, the use of the link, headers included, and how full the queue was. Exit 0: within
the bounds (p99 under 5 ms, 80 % of the link); 1: not, or it could not be measured; 2: wrong usage.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

PASSPHRASE = "overlay-bench network"  # of overlay-bench
P99_US_MAX = 5000
USE_MIN = 0.8
SENDER, ROUTER, RECEIVER = (f"overlay-{os.getpid()}-{end}" for end in ("sender", "router", "receiver"))
PORT = 11625


class Failure(Exception):
    """What ends the measurement, in words for the user."""


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def inside(namespace, *words):
    return ["ip", "netns", "exec", namespace, *words]


class Link:
    """sender -- router -- receiver; the shaped interface is named by `where`."""

    def __init__(self, shaper, rate_mbit, queue_kb):
        self.made = []
        try:
            for namespace in (SENDER, ROUTER, RECEIVER):
                command("ip", "netns", "add", namespace)
                self.made.append(namespace)
                command(*inside(namespace, "ip", "link", "set", "lo", "up"))
            self.join(SENDER, "10.231.1.1", "10.231.1.2", 1)
            self.join(RECEIVER, "10.231.2.1", "10.231.2.2", 2)
            command(*inside(ROUTER, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"))
            # A burst below one batch of the sender, so that the bucket takes batches apart as a wire would.
            self.where = (SENDER, "end1") if shaper == "sender" else (ROUTER, "hop2")
            command(*inside(self.where[0], "tc", "qdisc", "add", "dev", self.where[1], "root", "handle", "1:", "tbf",
                            "rate", f"{rate_mbit}mbit", "burst", "16kb", "limit", f"{queue_kb}kb"))
        except Failure:
            self.remove()
            raise

    def join(self, namespace, address, hop, number):
        command("ip", "link", "add", f"end{number}", "netns", namespace, "type", "veth", "peer", "name",
                f"hop{number}", "netns", ROUTER)
        for side, device, own in ((namespace, f"end{number}", address), (ROUTER, f"hop{number}", hop)):
            command(*inside(side, "ip", "address", "add", f"{own}/24", "dev", device))
            command(*inside(side, "ip", "link", "set", device, "up"))
        command(*inside(namespace, "ip", "route", "add", "default", "via", hop))

    def figures(self):
        """Of the shaped interface: bytes sent so far, bytes that wait, datagrams dropped so far."""
        shown = json.loads(command(*inside(self.where[0], "tc", "-j", "-s", "qdisc", "show", "dev", self.where[1])))
        bucket = next(each for each in shown if each["kind"] == "tbf")
        return bucket["bytes"], bucket["backlog"], bucket["drops"]

    def remove(self):
        for namespace in self.made:
            subprocess.run(["ip", "netns", "delete", namespace], check=False)


class Daemon:
    def __init__(self, overlayd, folder, namespace, address, known=None):
        key = folder / f"{namespace}.key"
        self.public_key = command(overlayd, "keygen", "--out", str(key)).strip()
        self.address = f"{address}:{PORT}"
        self.api = f"unix:{folder}/{namespace}.core"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OVERLAY_")}
        words = [overlayd, "run", "--exit-with-parent", "--node.key_file", str(key), "--network.passphrase", PASSPHRASE,
                 "--peer.listen", self.address, "--api.listen", self.api, "--log.level", "warning"]
        if known:
            words += ["--peers.known", f"{known.public_key}@{known.address}"]
        with open(folder / f"{namespace}.log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(inside(namespace, *words), stdout=subprocess.PIPE, stderr=log, text=True,
                                            env=environment)
        if not self.process.stdout.readline():
            raise Failure(f"overlayd ended: {(folder / f'{namespace}.log').read_text()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


class Watch:
    """What goes over the link between begin() and end()."""

    def __init__(self, link):
        self.link = link
        self.stop = threading.Event()
        self.backlog = []
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.stop.wait(0.02):
            self.backlog.append(self.link.figures()[1])

    def begin(self):
        self.begun = time.monotonic(), self.link.figures()
        self.thread.start()

    def end(self):
        sent, _, drops = self.link.figures()
        seconds = time.monotonic() - self.begun[0]
        self.stop.set()
        self.thread.join()
        self.backlog.sort()
        return {"link_mbit_s": round(8e-6 * (sent - self.begun[1][0]) / seconds, 1),
                "link_drops": drops - self.begun[1][2],
                "queue_bytes_p50": self.backlog[len(self.backlog) // 2],
                "queue_bytes_p99": self.backlog[len(self.backlog) * 99 // 100],
                "queue_bytes_max": self.backlog[-1]}


def measure(arguments, folder):
    link = Link(arguments.shaper, arguments.rate_mbit, arguments.queue_kb)
    daemons = []
    try:
        daemons.append(Daemon(arguments.daemon, folder, SENDER, "10.231.1.1"))
        daemons.append(Daemon(arguments.daemon, folder, RECEIVER, "10.231.2.1", daemons[0]))
        words = [arguments.bench, "isolation", "--from", daemons[0].api, "--to", daemons[1].api, "--seconds",
                 str(arguments.seconds), "--json"]
        bench = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        watch, seen, last = Watch(link), {}, ""
        for line in bench.stdout:
            if line == "measuring\n":
                watch.begin()
            elif line == "measured\n":
                seen = watch.end()
            last = line
        error = bench.stderr.read()
        if bench.wait() not in (0, 1) or not last.startswith("{"):
            raise Failure(error.strip())
        return {**json.loads(last), "shaper": arguments.shaper, "rate_mbit": arguments.rate_mbit,
                "use": round(seen["link_mbit_s"] / arguments.rate_mbit, 3), **seen}
    finally:
        for daemon in daemons:
            daemon.stop()
        link.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shaper", choices=("router", "sender"), default="router")
    parser.add_argument("--rate-mbit", type=int, default=200)
    parser.add_argument("--queue-kb", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bench", required=True, help="overlay-bench")
    parser.add_argument("--daemon", required=True, help="overlayd")
    arguments = parser.parse_args()
    arguments.bench = str(pathlib.Path(arguments.bench).resolve())
    arguments.daemon = str(pathlib.Path(arguments.daemon).resolve())
    try:
        with tempfile.TemporaryDirectory(prefix="overlay-isolation-") as folder:
            result = measure(arguments, pathlib.Path(folder))
    except Failure as failure:
        print(f"isolation: {failure}", file=sys.stderr)
        return 1
    print(f"{result['shaper']}, {result['rate_mbit']} Mbit/s: envelopes p50 {result['p50_us']} us, "
          f"p99 {result['p99_us']} us, {result['lost']} lost; {result['sets']} sets, {100 * result['use']:.0f} % of "
          f"the link used; queue p50 {result['queue_bytes_p50']}, p99 {result['queue_bytes_p99']}, most "
          f"{result['queue_bytes_max']} bytes, {result['link_drops']} datagrams dropped")
    good = (result["valid"] and result["lost"] == 0 and result["p99_us"] < P99_US_MAX and result["use"] >= USE_MIN)
    result["ok"] = good
    if arguments.json:
        print(json.dumps(result))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
