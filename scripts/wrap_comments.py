#!/usr/bin/python3
"""Wraps comment lines of C++ files that are longer than 100 columns; changes nothing else.

Words that do not fit move to the front of the next line when that line continues the same text, else
to a new line with the indentation that the text's continuation lines have.

usage: wrap_comments.py FILE...
"""
import re
import sys

COLUMNS = 100
# A whole-line comment: its indentation, the slashes, the spaces of the text, the text.
COMMENT = re.compile(r"^(\s*)(///?)( +)(\S.*)$")
# What starts an item of a list: R1, 1., (a), -, *, a term with a colon and two spaces.
ITEM = re.compile(r"^(R\d+\b|\d+[.)]|\([a-z0-9]+\)|[-*] |\S+  )")


def wrap(lines):
    out = list(lines)
    i = 0
    while i < len(out):
        match = COMMENT.match(out[i])
        if len(out[i]) <= COLUMNS or not match:
            i += 1
            continue
        cut = out[i].rfind(" ", 0, COLUMNS + 1)
        if cut <= match.start(4):
            i += 1  # one word longer than a line
            continue
        rest = out[i][cut + 1:]
        out[i] = out[i][:cut].rstrip()
        following = COMMENT.match(out[i + 1]) if i + 1 < len(out) else None
        if (following and following.group(1) == match.group(1)
                and len(following.group(3)) >= len(match.group(3))
                and not ITEM.match(following.group(4))):
            head = following.group(1) + following.group(2) + following.group(3)
            out[i + 1] = head + rest + " " + following.group(4)
        else:
            item = ITEM.match(match.group(4))
            indent = match.group(3) + ("    " if item else "")
            out.insert(i + 1, match.group(1) + match.group(2) + indent + rest)
        i += 1
    return out


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0 if len(sys.argv) > 1 else 2
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            before = file.read()
        after = "\n".join(wrap(before.split("\n")))
        if after != before:
            with open(path, "w", encoding="utf-8") as file:
                file.write(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
