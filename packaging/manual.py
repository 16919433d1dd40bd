#!/usr/bin/python3
"""Writes a program's manual page from what its --help says, so that the two never differ.

usage: manual.py PROGRAM VERSION "WHAT IT IS" OUT.1
"""
import os
import subprocess
import sys

MORE = {
    "overlayd": """.SH EXIT STATUS
0: it ran, and was drained by SIGTERM or SIGINT. 1: the machine will not have it (an address in use, say).
2: a setting is wrong. In both cases one line on standard error says what and where.
.SH FILES
.TP
.I /etc/overlayd/overlayd.toml
the settings, of the packaged unit
.TP
.I /run/overlayd/core.sock
where the core attaches, unless \\fBapi.listen\\fR says otherwise
.SH SEE ALSO
.BR overlayctl (1),
.I docs/operations.md
in the sources
""",
    "overlayctl": """.SH SEE ALSO
.BR overlayd (1)
""",
}


def escape(line):
    line = line.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + line if line[:1] in (".", "'") else line


def main():
    program, version, what, out = sys.argv[1:]
    name = os.path.basename(program)
    text = subprocess.run([program, "--help"], check=True, capture_output=True, text=True).stdout
    lines = [f'.TH {name.upper()} 1 "" "overlayd {version}" "overlayd"', ".SH NAME", f"{name} \\- {escape(what)}",
             ".SH DESCRIPTION", ".nf", *(escape(line) for line in text.rstrip().split("\n")), ".fi"]
    with open(out, "w", encoding="utf-8") as page:
        page.write("\n".join(lines) + "\n" + MORE.get(name, ""))


if __name__ == "__main__":
    main()
