"""Runs a command on a kernel that seems to lack something: `without.py ipv6|gso COMMAND...`.

A filter of system calls (seccomp) answers what a kernel without it answers. It is inherited and cannot be taken off."""

import ctypes
import errno
import os
import platform
import socket
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
ALLOW, REFUSE = 0x7fff0000, 0x00050000
LOAD, EQUALS, GIVE = 0x20, 0x15, 0x06
UDP_SEGMENT = 103
NUMBERS = {"x86_64": {"socket": 41, "setsockopt": 54, "getsockopt": 55},
           "aarch64": {"socket": 198, "setsockopt": 208, "getsockopt": 209}}[platform.machine()]


class Step(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("steps", ctypes.POINTER(Step))]


def refuse(call, error, arguments):
    """Of one call, where each argument (its number and value) is that."""
    steps = [(LOAD, None, 0), (EQUALS, NUMBERS[call], None)]
    for number, value in arguments.items():
        steps += [(LOAD, None, 16 + 8 * number), (EQUALS, value, None)]
    steps.append((GIVE, None, REFUSE | error))
    # Whatever differs goes behind the end of these.
    return [Step(code, 0, len(steps) - 1 - at, value) if code == EQUALS else Step(code, 0, 0, k)
            for at, (code, value, k) in enumerate(steps)]


LACKS = {
    "ipv6": refuse("socket", errno.EAFNOSUPPORT, {0: socket.AF_INET6}),
    "gso": refuse("getsockopt", errno.ENOPROTOOPT, {1: socket.IPPROTO_UDP, 2: UDP_SEGMENT})
    + refuse("setsockopt", errno.ENOPROTOOPT, {1: socket.IPPROTO_UDP, 2: UDP_SEGMENT}),
}


def main(lacking, *command):
    steps = [*LACKS[lacking], Step(GIVE, 0, 0, ALLOW)]
    program = Program(len(steps), (Step * len(steps))(*steps))
    libc = ctypes.CDLL(None, use_errno=True)
    for words in ((PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program))):
        if libc.prctl(*words, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
