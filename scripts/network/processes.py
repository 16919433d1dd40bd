"""Starts and ends the daemons and cores of a network on this machine.

No process outlives this one, however it ends: a daemon runs with --exit-with-parent, a core ends when its
standard input does, and that is a pipe from here.
"""
import json
import os
import re
import secrets
import select
import signal
import subprocess
import tempfile
import time
import urllib.request

READY_WITHIN_S = 15.0
DRAIN_WITHIN_S = 5.0
# A unix socket's path has 107 bytes at most.
SOCKET_PATH_MAX = 100


class Failure(Exception):
    """Something did not start; the text says what and where its log is."""


def monotonic_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def tail(path, lines=5):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:]).strip()
    except OSError:
        return ""


class Programs:
    def __init__(self, build):
        self.daemon = self.find(build, "overlayd")
        self.core = self.find(build, "overlay-demo-core")

    @staticmethod
    def find(build, name):
        for folder, _, files in os.walk(build):
            path = os.path.join(folder, name)
            if name in files and os.access(path, os.X_OK):
                return path
        raise Failure(f"{build} has no {name}: ./dev build")

    def keygen(self, *arguments):
        made = subprocess.run([self.daemon, "keygen", *arguments], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise Failure(f"overlayd keygen: {made.stderr.strip()}")
        return made.stdout.split()


def quorum_set(validators, i):
    """A majority that tolerates a third, said differently by each node: in another order, and by every other
    node with itself beside the others. So each has a quorum set of its own that the others must fetch."""
    count = len(validators)
    threshold = count * 2 // 3 + 1
    turned = validators[i:] + validators[:i]
    if i % 2 == 0 or count == 1:
        return ",".join([str(threshold), *turned])
    return f"2,{turned[0]},({threshold - 1},{','.join(turned[1:])})"


class NetworkNode:
    """One daemon and its core."""

    def __init__(self, index, folder, programs, pod=None):
        """`pod`: its machine; without one, this one."""
        self.index = index
        self.pod = pod
        self.folder = os.path.join(folder, f"node-{index}")
        os.makedirs(self.folder)
        self.programs = programs
        self.daemon_program = programs.daemon
        self.daemon = None
        self.core = None
        self.ready = {}
        self.seed, self.validator = programs.keygen()
        self.report_path = os.path.join(self.folder, "core.jsonl")
        self.report_offset = 0
        self.report_rest = b""
        self.core_log = os.path.join(self.folder, "core.log")
        self.daemon_log = os.path.join(self.folder, "overlayd.log")
        self.rss_mb = 0.0
        self.rss_mb_max = 0.0
        self.lives = 0
        self.socket_folder = None
        self.socket = os.path.join(self.folder, "core.sock")
        if len(os.fsencode(self.socket)) > SOCKET_PATH_MAX:
            self.socket_folder = tempfile.TemporaryDirectory(prefix="overlay-")
            self.socket = os.path.join(self.socket_folder.name, "core.sock")

    def start_daemon(self, passphrase):
        """The first time with a new key on free ports, later with the same ones."""
        if self.pod is not None:
            self.pod.begin_life()
        key = os.path.join(self.folder, "node.key")
        if not self.ready:
            self.programs.keygen("--out", key)
        settings = {"node": {"key_file": key}, "network": {"passphrase": passphrase},
                    "peer": {"listen": self.ready.get("peer", "127.0.0.1:0")}, "api": {"listen": "unix:" + self.socket},
                    "metrics": {"listen": self.ready.get("metrics", "127.0.0.1:0")}}
        if self.pod is not None:
            settings |= self.pod.settings(self.folder)
        config = os.path.join(self.folder, "overlayd.toml")
        with open(config, "w", encoding="utf-8") as file:
            for section, values in settings.items():
                file.write(f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OVERLAY_")}
        with open(self.daemon_log, "ab") as log:
            command = [self.daemon_program, "run", "--config", config, "--exit-with-parent"]
            self.daemon = subprocess.Popen(
                command if self.pod is None else self.pod.command(*command),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment,
                start_new_session=True)

    def await_ready(self):
        deadline = time.monotonic() + READY_WITHIN_S
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            readable = left > 0 and select.select([self.daemon.stdout], [], [], left)[0]
            got = os.read(self.daemon.stdout.fileno(), 4096) if readable else b""
            if not got:
                raise Failure(f"node {self.index}: overlayd did not become ready: {tail(self.daemon_log)} "
                              f"({self.daemon_log})")
            line += got
        self.ready = json.loads(line)

    @property
    def peer_address(self):
        return self.ready["peer"]

    def start_core(self, arguments, rejoin=False):
        self.lives += 1
        # A later life must not repeat the numbers of an earlier one.
        base = (int(time.time()) << 24) + (self.lives << 20)
        command = [self.programs.core, "--daemon", "unix:" + self.socket, "--seed", self.seed,
                   "--report", self.report_path, "--sequence-base", str(base), "--control", *arguments]
        if rejoin:
            command.append("--rejoin")
        with open(self.core_log, "ab") as log:
            self.core = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log,
                                         start_new_session=True)

    def tell_core(self, command):
        if self.core is None:
            return
        try:
            self.core.stdin.write(command.encode() + b"\n")
            self.core.stdin.flush()
        except OSError:
            pass  # it has gone, which is found out elsewhere

    def kill_core(self):
        self.core.kill()
        self.core.wait()
        self.core.stdin.close()
        self.core = None

    def end_daemon(self, number):
        """Ends it by this signal; its exit code, and how long it took in ms."""
        began_ns = monotonic_ns()
        self.daemon.send_signal(number)
        try:
            code = self.daemon.wait(DRAIN_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            code = self.daemon.wait()
        took_ms = (monotonic_ns() - began_ns) / 1e6
        self.daemon.stdout.close()
        self.daemon = None
        return code, took_ms

    def pause_core(self):
        self.core.send_signal(signal.SIGSTOP)

    def resume_core(self):
        self.core.send_signal(signal.SIGCONT)

    def new_events(self):
        """What the core has reported since the last call."""
        try:
            with open(self.report_path, "rb") as file:
                file.seek(self.report_offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self.report_offset += len(data)
        lines = (self.report_rest + data).split(b"\n")
        self.report_rest = lines.pop()
        return [json.loads(line) for line in lines]

    def measure(self):
        if self.daemon is None:
            return
        try:
            with open(f"/proc/{self.daemon.pid}/status", encoding="ascii") as file:
                for line in file:
                    if line.startswith("VmRSS:"):
                        self.rss_mb = int(line.split()[1]) / 1024
        except OSError:
            return
        self.rss_mb_max = max(self.rss_mb_max, self.rss_mb)

    def metrics(self):
        """The daemon's metrics by name, the labelled ones summed up; nothing when it does not answer at once."""
        def read():
            with urllib.request.urlopen(f"http://{self.ready['metrics']}/metrics", timeout=0.5) as page:
                return page.read().decode()

        values = {}
        try:
            for line in (read() if self.pod is None else self.pod.inside(read)).split("\n"):
                if line and not line.startswith("#"):
                    name = re.split(r"[{ ]", line, maxsplit=1)[0]
                    values[name] = values.get(name, 0.0) + float(line.split()[-1])
        except (OSError, ValueError, KeyError):
            return {}
        return values

    def ended(self):
        """(which, code) of a process that ended by itself; what was ended on purpose is not there."""
        for what, process in (("overlayd", self.daemon), ("core", self.core)):
            if process is not None and process.poll() is not None:
                return what, process.returncode
        return None

    def stop_core(self):
        if self.core is not None and self.core.poll() is None:
            self.resume_core()  # a stopped process hears nothing
            self.core.stdin.close()  # it ends

    def wait_core(self):
        if self.core is None:
            return
        try:
            self.core.wait(DRAIN_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.core.kill()
            self.core.wait()

    def stop_daemon(self):
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)

    def wait(self):
        self.wait_core()
        if self.daemon is not None:
            try:
                self.daemon.wait(DRAIN_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon.stdout.close()
        if self.socket_folder is not None:
            self.socket_folder.cleanup()


def new_folder(root):
    os.makedirs(root, exist_ok=True)
    return os.path.abspath(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=root))


def new_passphrase():
    return "overlayd run ; " + secrets.token_hex(8)
