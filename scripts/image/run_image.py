#!/usr/bin/python3
"""Runs an image once, as a strict runtime would: scripts/image/run_image.py CONFIG.json ROOT CORE_ROOT

Two daemons of the image, each the first process of its own process namespace, in one network namespace that reaches
nothing else; as the image's user, without a capability, on its root file system mounted read-only, with a tmpfs where
the image has a volume, and with the image's own entry point. They must find each other, a program of the demo core's
image must start, nothing of the root may be written, and the image's stop signal must end them with exit code 0 in
the time of a drain. Needs root.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from waiting import Failure, until  # noqa: E402

READY_WITHIN_S = 10
CONNECTED_WITHIN_S = 20
STOPPED_WITHIN_S = 2.5
PASSPHRASE = "run of an image"
METRICS_PORT = 9464
PEERS = re.compile(r"^overlay_peers_connected_count(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
# What a strict runtime does before it starts the program. It is handed the root, the user, and folders to mount.
ENTER = r"""
set -eu
root=$1 uid=$2 gid=$3 network=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null urandom random zero; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
while [ "$1" != -- ]; do
  case "$1" in
    volume=*) mount -t tmpfs -o "mode=0750,uid=$uid,gid=$gid" tmpfs "$root/${1#volume=}" ;;
    secret=*) mount -t tmpfs -o "mode=0755" tmpfs "$root/etc/overlayd"
              install -m 0400 -o "$uid" -g "$gid" "${1#secret=}" "$root/etc/overlayd/node.key"
              mount -o remount,ro "$root/etc/overlayd" ;;
  esac
  shift
done
shift
exec nsenter --net="/run/netns/$network" setpriv --no-new-privs chroot --userspec="$uid:$gid" --groups= "$root" "$@"
"""


class Container:
    """One run of the image; it ends with this process."""

    def __init__(self, image, network, name, words, key=None):
        self.name = name
        self.log = tempfile.TemporaryFile()
        mounts = [f"volume={path}" for path in image.volumes] + ([f"secret={key}"] if key else [])
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", image.root, image.uid,
             image.gid, network, *mounts, "--", *words],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"]})

    def output(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def ready(self):
        """The line that the daemon prints when it is ready."""
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended with {self.process.returncode}: {self.output()}")
        lines = [line for line in self.output().split("\n") if line.startswith("{")]
        return json.loads(lines[0]) if lines else None

    def first_process(self):
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(children, encoding="ascii") as file:
            return int(file.read().split()[0])

    def status(self, field):
        with open(f"/proc/{self.first_process()}/status", encoding="ascii") as file:
            return next(line.split()[1:] for line in file if line.startswith(field + ":"))

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Image:
    def __init__(self, config, root):
        self.root = root
        self.uid, self.gid = config["User"].split(":")
        if not (self.uid.isdigit() and self.gid.isdigit() and int(self.uid) > 0):
            raise Failure(f"the user is {config['User']}, expected numbers other than 0")
        self.entry = config["Entrypoint"]
        self.command = config["Cmd"]
        self.stop = signal.Signals[config["StopSignal"]]
        self.volumes = sorted(config["Volumes"])
        missing = [f"org.opencontainers.image.{name}" for name in ("title", "description", "licenses", "version",
                                                                  "revision")
                   if not config["Labels"].get(f"org.opencontainers.image.{name}")]
        if missing:
            raise Failure(f"labels that are missing: {missing}")


def in_network(network, *words):
    return subprocess.run(["ip", "netns", "exec", network, *words], capture_output=True, text=True, check=False)


def peers_of(network, address):
    got = in_network(network, "/usr/bin/python3", "-c",
                     "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=2).read().decode())",
                     f"http://{address}/metrics")
    found = PEERS.findall(got.stdout)
    return sum(float(count) for count in found)


def run(image, core_root, network, folder):
    print_row = lambda *words: print("image:", *words, flush=True)
    containers = []
    try:
        for i, other in ((1, 2), (2, 1)):
            key = os.path.join(folder, f"{i}.key")
            made = subprocess.run(["chroot", image.root, image.entry[0], "keygen"], capture_output=True, text=True,
                                  check=True)
            with open(key, "w", encoding="ascii") as file:
                file.write(made.stdout.split()[0] + "\n")
            words = [*image.entry, *image.command, "--node.key_file", "/etc/overlayd/node.key",
                     "--network.passphrase", PASSPHRASE, "--peer.listen", f"127.0.0.{i}:11625",
                     "--peers.known", f"127.0.0.{other}:11625", "--peers.file", "/var/lib/overlayd/peers",
                     "--metrics.listen", f"127.0.0.{i}:{METRICS_PORT}"]
            began = time.monotonic()
            containers.append(Container(image, network, f"daemon {i}", words, key))
            until(f"daemon {i} is ready: {containers[-1].output()}", READY_WITHIN_S, containers[-1].ready)
            ready_ms = (time.monotonic() - began) * 1e3
        until("the daemons find each other", CONNECTED_WITHIN_S,
              lambda: all(peers_of(network, f"127.0.0.{i}:{METRICS_PORT}") == 1 for i in (1, 2)))
        print_row(f"two daemons found each other; ready after {ready_ms:.0f} ms, "
                  f"{int(containers[0].status('VmRSS')[0]) / 1024:.0f} MB resident each")
        for container in containers:
            if container.status("Uid") != [image.uid] * 4 or int(container.status("CapEff")[0], 16) != 0:
                raise Failure(f"{container.name} runs with {container.status('Uid')}, {container.status('CapEff')}")
            pid = container.first_process()
            probe = subprocess.run(["nsenter", f"--target={pid}", "--mount", f"--root=/proc/{pid}/root", "/usr/bin/touch",
                                    "/usr/bin/probe"], capture_output=True, text=True, check=False)
            if "Read-only file system" not in probe.stderr:
                raise Failure(f"the root of {container.name} can be written to: {probe.stderr}")
        core = subprocess.run(["chroot", core_root, "/usr/bin/overlay-demo-core", "--help"], capture_output=True,
                              text=True, check=False)
        if core.returncode != 0 or "--quorum-set" not in core.stdout:
            raise Failure(f"the demo core's image does not start: {core.stderr}")
        for container in containers:
            began = time.monotonic()
            os.kill(container.first_process(), image.stop)
            code = container.process.wait(STOPPED_WITHIN_S)
            if code != 0:
                raise Failure(f"{container.name} ended with {code} on {image.stop.name}: {container.output()}")
            print_row(f"{container.name}: {image.stop.name}, exit 0 after {(time.monotonic() - began) * 1e3:.0f} ms")
    finally:
        for container in containers:
            container.kill()


def main():
    config_path, root, core_root = sys.argv[1:]
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)["OCIv1"]["config"]
    network = f"overlay-image-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", network], check=True)
    try:
        in_network(network, "ip", "link", "set", "lo", "up")
        with tempfile.TemporaryDirectory(prefix="overlay-image-") as folder:
            run(Image(config, root), core_root, network, folder)
    except (Failure, subprocess.TimeoutExpired, subprocess.CalledProcessError) as failure:
        print(f"image: {failure}", file=sys.stderr)
        return 1
    finally:
        subprocess.run(["ip", "netns", "del", network], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
