#!/usr/bin/python3
"""Runs Python with what these tests need: environment.py FOLDER ARGUMENTS OF PYTHON...

FOLDER/venv gets PyPI's kubernetes-validate the first time. FOLDER/kubectl is the distribution's program, unpacked from
its package where another one is installed: Debian 12's is old, and must do, too.
"""
import glob
import os
import shutil
import subprocess
import sys

WANTED = "kubernetes-validate==1.37.0"
# Of the distribution's program: Debian 13's, and Debian 12's.
PACKAGES = ("kubectl", "kubernetes-client")


def make_venv(folder):
    venv = os.path.join(folder, "venv")
    stamp = os.path.join(venv, "made-for")
    if not os.path.exists(stamp) or open(stamp, encoding="ascii").read() != WANTED:
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([os.path.join(venv, "bin", "pip"), "install", "--quiet", WANTED], check=True)
        with open(stamp, "w", encoding="ascii") as file:
            file.write(WANTED)
    return os.path.join(venv, "bin", "python")


def download(scratch):
    return any(subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package], cwd=scratch,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0 for package in PACKAGES)


def find_kubectl(folder):
    target = os.path.join(folder, "kubectl")
    if os.path.exists(target):
        return target
    owner = subprocess.run(["dpkg-query", "-S", "/usr/bin/kubectl"], capture_output=True, text=True, check=False)
    if owner.stdout.split(":")[0] in PACKAGES:
        return "/usr/bin/kubectl"
    scratch = os.path.join(folder, "unpacked")
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch)
    if not download(scratch):
        subprocess.run(["apt-get", "update", "-qq"], check=True)  # a new machine may have no lists yet
        if not download(scratch):
            sys.exit(f"environment: apt-get has none of the packages {', '.join(PACKAGES)}")
    subprocess.run(["dpkg-deb", "-x", *glob.glob(os.path.join(scratch, "*.deb")), scratch], check=True)
    os.rename(os.path.join(scratch, "usr", "bin", "kubectl"), target)
    shutil.rmtree(scratch)
    return target


def main():
    folder = os.path.abspath(sys.argv[1])
    os.makedirs(folder, exist_ok=True)
    python = make_venv(folder)
    os.environ["TEST_KUBECTL"] = find_kubectl(folder)
    os.execv(python, [python, *sys.argv[2:]])


if __name__ == "__main__":
    main()
