#!/usr/bin/python3
"""Networks of real daemons and demo cores, run by scripts/run as a user would.

usage: tests/run/network_test.py BUILD STORY
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUN = os.path.join(ROOT, "scripts", "run")
FIELDS = {"ok", "nodes", "ledgers_closed", "chains_equal", "submitted", "included", "scp_sent", "scp_lost",
          "scp_hop_us", "tx_set_fetch_us", "rss_mb_max", "pause", "restarts", "why"}


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Network:
    """One run; its processes are known by the run folder in their command lines."""

    def __init__(self, build, folder):
        self.build = build
        self.folder = folder

    def command(self, *arguments):
        return [RUN, "--build", self.build, "--dir", self.folder, *arguments]

    def finish(self, *arguments):
        began = time.monotonic()
        process = subprocess.Popen(self.command("--json", *arguments), stdout=subprocess.PIPE, text=True)
        self.pid = process.pid
        text = process.communicate()[0]
        self.took_s = time.monotonic() - began
        print(text)
        last = json.loads(text.rstrip().split("\n")[-1])
        expect(set(last) - {"mesh_ms"} == FIELDS, f"fields: {sorted(last)}")
        expect(self.processes() == [], f"left behind: {self.processes()}")
        return process.returncode, last

    def processes(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if any(self.folder.encode() in word for word in words) and int(pid) != os.getpid():
                if not words[0].endswith(b"python3"):
                    found.append(int(pid))
        return found

    def start(self, *arguments):
        """A run in the background that has printed its first table."""
        process = subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if line.split()[:2] == ["node", "ledger"]:
                break
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        expect(len(self.processes()) == 8, f"4 daemons and 4 cores: {self.processes()}")
        return process

    def gone_within(self, seconds):
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while self.processes() and time.monotonic() < deadline:
            pause.wait(0.05)
        return not self.processes()


def consensus(network):
    code, last = network.finish("--nodes", "4", "--seconds", "10", "--tps", "100")
    expect(code == 0 and last["ok"] and last["why"] == [], "ok")
    expect(last["nodes"] == 4 and last["chains_equal"], "equal chains")
    expect(last["ledgers_closed"] >= 6, "6 ledgers")
    expect(last["submitted"] >= 200 and last["included"] == last["submitted"], "all included")
    expect(last["scp_sent"] >= 4 * last["ledgers_closed"] and last["scp_lost"] == 0, "no vote lost")
    expect(0 < last["scp_hop_us"]["p50"] <= last["scp_hop_us"]["p99"], "hops")
    expect(0 < last["tx_set_fetch_us"]["p50"] <= last["tx_set_fetch_us"]["p99"], "fetches")
    expect(last["rss_mb_max"] > 1, "memory")


def small_network(network):
    code, last = network.finish("--nodes", "2", "--seconds", "6", "--tps", "20", "--ledger-ms", "500")
    expect(code == 0 and last["ok"], "ok")
    expect(last["nodes"] == 2 and last["ledgers_closed"] >= 5, "ledgers")


def sabotaged(network, kind, cause):
    code, last = network.finish("--sabotage", kind)
    expect(code == 1 and not last["ok"], "it fails")
    expect(network.took_s < 20, f"within 20 s, took {network.took_s:.1f}")
    expect(any("node 2" in why and cause in why for why in last["why"]), f"node 2 and \"{cause}\"")
    expect(not any(why.startswith("node ") and not why.startswith("node 2:") for why in last["why"]),
           "nobody else is blamed")


def drop_scp(network):
    sabotaged(network, "drop-scp", "were not seen by nodes 0,1,3")


def drop_tx(network):
    sabotaged(network, "drop-tx", "transactions were not included")


def corrupt_set(network):
    sabotaged(network, "corrupt-set", "hash")


def no_vote(network):
    sabotaged(network, "no-vote", "sent no vote in ledger")


# The others go on, the daemon keeps its peers, and the core closes what it missed.
def killed_core(network):
    code, last = network.finish("--seconds", "16", "--tps", "50", "--kill-core", "1@3:5")
    expect(code == 0 and last["ok"], "ok")
    expect(last["ledgers_closed"] >= 9 and last["chains_equal"], "the same ledgers on all four")


# A core that reads nothing for five seconds hears all of it then; its daemon holds nothing back.
def paused_core(network):
    code, last = network.finish("--seconds", "16", "--tps", "100", "--pause-core", "1@3:5")
    expect(code == 0 and last["ok"] and last["scp_lost"] == 0, "ok, and no envelope lost")
    expect(last["pause"]["waiting_most"] > 20, "something waited")
    expect(last["pause"]["waiting_end"] == 0, "nothing waits any more")


# Silent for more than 15 s: its daemon ends its session, keeps its peers and what is said, and hands it all over
# when the core goes on.
def hung_core(network):
    code, last = network.finish("--seconds", "34", "--tps", "50", "--ledger-ms", "2000", "--pause-core", "1@3:20")
    expect(code == 0 and last["ok"] and last["scp_lost"] == 0, "ok, and no envelope lost")
    expect(last["chains_equal"] and last["ledgers_closed"] >= 12, "the same ledgers on all four")
    with open(os.path.join(network.folder, "node-1", "core.jsonl"), encoding="utf-8") as file:
        events = [json.loads(line)["e"] for line in file]
    expect(events.count("attached") == 2 and events.count("detached") >= 1, "it was detached, and came back")


# Eight seconds at ledgers of 600 ms are more than twelve slots: they are still there.
def slow_core(network):
    code, last = network.finish("--seconds", "20", "--tps", "100", "--ledger-ms", "600", "--pause-core", "1@3:8")
    expect(code == 0 and last["ok"] and last["scp_lost"] == 0, "ok, and no envelope lost, no ledger missed")
    expect(last["chains_equal"] and last["ledgers_closed"] >= 22, "the same ledgers on all four")


# Back before its daemon may have noticed the end of the one before.
def core_back_at_once(network):
    code, last = network.finish("--seconds", "12", "--tps", "50", "--kill-core", "1@3:0")
    expect(code == 0 and last["ok"], "ok")


# Every node in turn, under load: nothing that was submitted to a living one is lost, and no ledger is missed.
def restarted(network, what, *words):
    code, last = network.finish("--nodes", "4", "--seconds", "45", "--tps", "100", "--restart", what, *words)
    expect(code == 0 and last["ok"], "ok")
    expect(last["chains_equal"] and last["scp_lost"] == 0, "the same ledgers, and no envelope lost")
    expect(last["submitted"] >= 2000 and last["included"] >= last["submitted"] - 100, "included")
    done = last["restarts"]
    expect([(r["node"], r["what"]) for r in done] == [(i, what) for i in range(4)], f"each node once: {done}")
    for r in done:
        graceful = what != "cores" and r["node"] % 2 == 0
        expect(r["signal"] == ("SIGTERM" if graceful else "SIGKILL"), f"signal: {r}")
        expect(r["exit_code"] == (None if what == "cores" else 0 if graceful else -9), f"exit code: {r}")
        expect(r["drain_ms"] is None if not graceful else 250 < r["drain_ms"] <= 10_000, f"drain: {r}")
        expect(0 < r["back_ms"] < 20_000, f"back: {r}")
    return last


def restarted_daemons(network):
    last = restarted(network, "daemons")
    expect(last["included"] == last["submitted"], "no core was killed: all included")


def restarted_cores(network):
    restarted(network, "cores")


# The same as a StatefulSet's pods live: names that come 30 s late, and another address after each restart.
def pods(network):
    last = restarted(network, "both", "--pods")
    expect(30_000 < last["mesh_ms"] < 65_000, f"a mesh only when there are names: {last['mesh_ms']}")
    namespaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    expect(f"overlay-lab-{network.pid}-" not in namespaces, f"left behind: {namespaces}")


def interrupted(network):
    process = network.start("--seconds", "60")
    process.send_signal(signal.SIGINT)
    expect(process.wait(20) == 130, "exit code 130")
    expect(network.processes() == [], f"left behind: {network.processes()}")


def killed_run(network):
    process = network.start()
    process.kill()
    process.wait()
    expect(network.gone_within(15), f"left behind: {network.processes()}")


def bad_arguments(network):
    for words, said in ((["--nodes", "1"], '--nodes: "1", expected 2 to 32'),
                        (["--sabotage", "all"], "invalid choice: 'all'"),
                        (["--kill-core", "1"], '--kill-core: "1", expected NODE@SECOND:SECONDS'),
                        (["--kill-core", "7@1:1"], "node 7, expected 0 to 3"),
                        (["--pause-core", "1@1:61"], "expected 60 seconds at most"),
                        (["--restart", "all"], "invalid choice: 'all'"),
                        (["--restart", "cores", "--nodes", "3"], "3 nodes, expected 4 at least"),
                        (["--restart", "cores", "--kill-core", "2@1:2"], "--restart: not together with --kill-core"),
                        (["--pause-core", "1@1:2", "--kill-core", "2@1:2"], "not together with --kill-core"),
                        (["--seconds", "9", "--kill-core", "1@5:5"], "expected less than --seconds 9")):
        done = subprocess.run(network.command(*words), capture_output=True, text=True, check=False)
        expect(done.returncode == 2 and said in done.stderr, f"{words}: {done.returncode} {done.stderr}")
    done = subprocess.run([RUN, "--build", network.folder, "--json"], capture_output=True, text=True, check=False)
    expect(done.returncode == 1 and "has no overlayd" in done.stderr, done.stderr)


STORIES = {story.__name__: story for story in (consensus, small_network, drop_scp, drop_tx, corrupt_set, no_vote,
                                               killed_core, paused_core, hung_core, slow_core,
                                               core_back_at_once, restarted_daemons, restarted_cores,
                                               pods, interrupted, killed_run, bad_arguments)}


def main():
    build, story = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="overlay-run-") as folder:
        network = Network(build, folder)
        try:
            STORIES[story](network)
        except AssertionError as failure:
            print(f"{story}: {failure}", file=sys.stderr)
            for name in sorted(os.listdir(folder)):
                log = os.path.join(folder, name, "core.log")
                if os.path.exists(log):
                    with open(log, encoding="utf-8", errors="replace") as file:
                        print(f"--- {log}\n{file.read()[-2000:]}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
