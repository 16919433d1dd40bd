"""Machines on one network, made of the kernel's network namespaces: a bridge each half, a trunk between the halves.

    with Lab(4) as lab:
        lab.machines[0].start([...])       # a process inside
        lab.set_trunk(up=False)            # even and odd machines no longer see each other
        lab.machines[1].set_link(up=False)

Machine i has 10.77.0.(i+1)/16 and fd77::(i+1)/64. Needs root and iproute2. Everything is removed at the end of the
`with`, processes first.
"""

import ctypes
import os
import signal
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000  # linux/sched.h; os.setns comes with Python 3.12


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def in_namespace(namespace, work):
    """Does `work` in a thread that is in the namespace; a socket made there stays there. Gives what waits for it and
    gives its result."""
    outcome = {}

    def run():
        try:
            with open(f"/run/netns/{namespace}", "rb") as handle:
                if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            outcome["result"] = work()
        except Exception as error:  # told by join()
            outcome["error"] = error

    thread = threading.Thread(target=run)
    thread.start()

    def join():
        thread.join()
        if "error" in outcome:
            raise outcome["error"]
        return outcome["result"]
    return join


class Machine:
    def __init__(self, lab, number):
        self.number = number
        self.namespace = f"{lab.prefix}-{number}"
        self.address = f"10.77.0.{number + 1}"
        self.address6 = f"fd77::{number + 1:x}"
        self.lab = lab
        self.processes = []

    def inside(self, *words):
        return ["ip", "netns", "exec", self.namespace, *words]

    def run(self, *words):
        return command(*self.inside(*words))

    def start(self, words, **options):
        process = subprocess.Popen(self.inside(*words), **options)
        self.processes.append(process)
        return process

    def set_link(self, up):
        """At the switch's side: the machine's own addresses and routes stay."""
        self.lab.switch("ip", "link", "set", f"port{self.number}", "up" if up else "down")

    def make(self):
        command("ip", "netns", "add", self.namespace)
        port = f"port{self.number}"
        command("ip", "link", "add", "wire", "netns", self.namespace, "type", "veth", "peer", "name", port, "netns",
                self.lab.switch_name)
        self.lab.switch("ip", "link", "set", port, "master", f"half{self.number % 2}", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.address}/16", "dev", "wire")
        self.run("ip", "address", "add", f"{self.address6}/64", "dev", "wire", "nodad")
        self.run("ip", "link", "set", "wire", "up")

    def kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
        for process in self.processes:
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


class Lab:
    def __init__(self, count):
        self.prefix = f"overlay-lab-{os.getpid()}"
        self.switch_name = f"{self.prefix}-switch"
        self.machines = [Machine(self, number) for number in range(count)]

    def switch(self, *words):
        return command("ip", "netns", "exec", self.switch_name, *words)

    def __enter__(self):
        try:
            command("ip", "netns", "add", self.switch_name)
            for half in ("half0", "half1"):
                self.switch("ip", "link", "add", half, "type", "bridge")
                self.switch("ip", "link", "set", half, "up")
            self.switch("ip", "link", "add", "trunk0", "type", "veth", "peer", "name", "trunk1")
            for half in ("0", "1"):
                self.switch("ip", "link", "set", "trunk" + half, "master", "half" + half, "up")
            for machine in self.machines:
                machine.make()
        except Exception:
            self.__exit__()
            raise
        return self

    def set_trunk(self, up):
        self.switch("ip", "link", "set", "trunk0", "up" if up else "down")

    def __exit__(self, *_):
        for machine in self.machines:
            machine.kill()
        for namespace in (*(machine.namespace for machine in self.machines), self.switch_name):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def wait_until(what, seconds, condition, every=0.1):
    """The time it took; fails with `what` and what the condition last gave."""
    began = time.monotonic()
    while True:
        seen = condition()
        if seen is True:
            return time.monotonic() - began
        if time.monotonic() - began > seconds:
            raise AssertionError(f"{what}: not within {seconds} s, last seen {seen}")
        time.sleep(every)
