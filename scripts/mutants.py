#!/usr/bin/python3
"""Breaks each rule on purpose and demands that a test notices. tests/mutants/README.md has the format.

usage: scripts/mutants.py --check      every rule has a mutant or a reason not to; every patch applies
       scripts/mutants.py [GLOB...]    build and run the mutants (of matching names) in a copy of the tree
"""
import collections
import fnmatch
import glob
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATCHES = os.path.join(ROOT, "tests", "mutants")
# The copy is built as the release preset builds, in a folder at the same place inside the tree: so the
# compiler cache has everything that no mutant touches.
COPY = os.path.join(ROOT, "build", "mutants", "tree")
BUILD = os.path.join(COPY, "build", "release")
TEST_SECONDS_MAX = 300  # a mutant that hangs its test is caught, but only if the test ends by itself before

RULE_LINE = re.compile(r"^//\s{1,4}(R\d+)\s+\S")
RULE_FOLDERS = ("flood", "transport")

Mutant = collections.namedtuple("Mutant", "name path header rules target tests what")


def rules_of_tree():
    """Every (header, rule) that a header comment of the rule folders states."""
    rules = []
    for folder in RULE_FOLDERS:
        for path in sorted(glob.glob(os.path.join(ROOT, folder, "**", "*.h"), recursive=True)):
            with open(path, encoding="utf-8") as file:
                for line in file:
                    if line.startswith("#"):
                        break  # the include guard ends the header comment
                    match = RULE_LINE.match(line)
                    if match:
                        rules.append((os.path.relpath(path, ROOT), match.group(1)))
    return rules


def read_mutant(path):
    """A Mutant, or the text of what is wrong with the file."""
    fields, what = {}, []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                break
            match = re.match(r"# (Rule|Expect): (.+)", line)
            if match:
                fields[match.group(1)] = match.group(2).split()
            else:
                what.append(line[1:].strip())
    rule, expect = fields.get("Rule", []), fields.get("Expect", [])
    if len(rule) < 2 or not all(re.fullmatch(r"R\d+", name) for name in rule[1:]):
        return "wants a line '# Rule: HEADER R<number>'"
    if len(expect) != 2:
        return "wants a line '# Expect: TARGET FILTER'"
    return Mutant(os.path.basename(path)[:-len(".patch")], path, rule[0], rule[1:], expect[0],
                  expect[1], " ".join(what))


def read_mutants():
    mutants, problems = [], []
    for path in sorted(glob.glob(os.path.join(PATCHES, "*.patch"))):
        mutant = read_mutant(path)
        if isinstance(mutant, str):
            problems.append(f"{os.path.relpath(path, ROOT)}: {mutant}")
        else:
            mutants.append(mutant)
    return mutants, problems


def read_list(name, columns):
    """The (header, rule) of each line of a list, and lines with fewer than `columns` words as problems."""
    rules, problems = [], []
    with open(os.path.join(PATCHES, name), encoding="utf-8") as file:
        for line in file:
            if not line.strip() or line.startswith("#"):
                continue
            words = line.split(None, 2)
            if len(words) < columns:
                problems.append(f"tests/mutants/{name}: not enough in '{line.strip()}'")
            else:
                rules.append((words[0], words[1]))
    return rules, problems


def git_apply(folder, path, *arguments):
    # Without the repository's own settings and index: the copy is no checkout.
    return subprocess.run(["git", "apply", *arguments, path], cwd=folder, capture_output=True,
                          text=True, env={**os.environ, "GIT_CEILING_DIRECTORIES":
                                          os.path.dirname(folder)})


def check():
    rules = rules_of_tree()
    known = set(rules)
    mutants, problems = read_mutants()
    for mutant in mutants:
        for rule in mutant.rules:
            if (mutant.header, rule) not in known:
                problems.append(f"{mutant.name}: {mutant.header} has no rule {rule}")
        applied = git_apply(ROOT, mutant.path, "--check")
        if applied.returncode != 0:
            problems.append(f"{mutant.name}: does not apply: {applied.stderr.strip()}")
    covered = {(mutant.header, rule) for mutant in mutants for rule in mutant.rules}
    exempt, exempt_problems = read_list("EXEMPT", 3)
    problems += exempt_problems
    for rule in exempt:
        if rule not in known:
            problems.append(f"EXEMPT: {rule[0]} has no rule {rule[1]}: remove the line")
        elif rule in covered:
            problems.append(f"EXEMPT: {rule[0]} {rule[1]} has a mutant: remove the line")
    for header, rule in rules:
        if (header, rule) not in covered and (header, rule) not in exempt:
            problems.append(f"{header} {rule}: no mutant, and no reason in tests/mutants/EXEMPT")
    for problem in problems:
        print(problem)
    if not rules or not mutants:
        print("no rules or no mutants were found")
        return 1
    print(f"{len(rules)} rules, {len(mutants)} mutants of {len(covered)} of them, "
          f"{len(exempt)} exempt, {len(problems)} problems")
    return 1 if problems else 0


def refresh_copy():
    """Brings the copy to the checkout's state, touching only files that differ, so that builds stay small."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others",
                             "--exclude-standard"], check=True, capture_output=True).stdout
    wanted = {path for path in listed.decode().split("\0")
              if path and os.path.isfile(os.path.join(ROOT, path))}
    for folder, folders, names in os.walk(COPY):
        if folder == COPY and "build" in folders:
            folders.remove("build")
        for name in names:
            if os.path.relpath(os.path.join(folder, name), COPY) not in wanted:
                os.remove(os.path.join(folder, name))
    for path in wanted:
        source, target = os.path.join(ROOT, path), os.path.join(COPY, path)
        with open(source, "rb") as file:
            data = file.read()
        if os.path.isfile(target):
            with open(target, "rb") as file:
                if file.read() == data:
                    continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)
        shutil.copymode(source, target)


def environment():
    env = {**os.environ, "CCACHE_BASEDIR": COPY, "CCACHE_NOHASHDIR": "1"}
    env.setdefault("OVERLAY_CORPUS", os.path.join(ROOT, "..", "shared", "corpus"))
    return env


def build(targets):
    jobs = os.environ.get("JOBS", str(os.cpu_count()))
    return subprocess.run(["cmake", "--build", BUILD, "-j", jobs, "--target", *targets],
                          capture_output=True, text=True, env=environment())


def run_tests(target, tests):
    """(exit code or None after the time limit, number of tests run)."""
    program = None
    for folder, _, names in os.walk(BUILD):
        if target in names and os.access(os.path.join(folder, target), os.X_OK):
            program = os.path.join(folder, target)
    if program is None:
        return 1, 0
    try:
        done = subprocess.run([program, f"--gtest_filter={tests}"], cwd=COPY, env=environment(),
                              capture_output=True, text=True, timeout=TEST_SECONDS_MAX,
                              errors="replace")
    except subprocess.TimeoutExpired:
        return None, 0
    ran = re.search(r"\[==========\] (\d+) tests? from", done.stdout)
    return done.returncode, int(ran.group(1)) if ran else 0


def prepare(mutants):
    """Builds the copy without any mutant; returns what is wrong with the tests that the mutants name."""
    os.makedirs(COPY, exist_ok=True)
    refresh_copy()
    configured = subprocess.run(["cmake", "--preset", "release"], cwd=COPY, capture_output=True,
                                text=True, env=environment())
    if configured.returncode != 0:
        return [configured.stdout + configured.stderr]
    built = build(sorted({mutant.target for mutant in mutants}))
    if built.returncode != 0:
        return [built.stdout[-4000:]]
    problems = []
    for target, tests in sorted({(mutant.target, mutant.tests) for mutant in mutants}):
        code, ran = run_tests(target, tests)
        if code != 0:
            problems.append(f"{target} {tests} fails without any mutant")
        elif ran == 0:
            problems.append(f"{target} {tests} matches no test")
    return problems


def run_mutant(mutant):
    """One of 'caught' and what went wrong instead."""
    applied = git_apply(COPY, mutant.path)
    if applied.returncode != 0:
        return "does not apply"
    try:
        if build([mutant.target]).returncode != 0:
            return "does not compile"
        code, _ = run_tests(mutant.target, mutant.tests)
        return "SURVIVED" if code == 0 else "caught"
    finally:
        git_apply(COPY, mutant.path, "--reverse")


def run(patterns):
    mutants, problems = read_mutants()
    if patterns:
        mutants = [mutant for mutant in mutants
                   if any(fnmatch.fnmatch(mutant.name, pattern) for pattern in patterns)]
    if not mutants:
        problems.append("no mutant matches")
    else:
        print(f"building the copy for {len(mutants)} mutants", flush=True)
        problems += prepare(mutants)
    if problems:
        print("\n".join(problems))
        return 1
    caught = 0
    for mutant in mutants:
        begin = time.monotonic()
        result = run_mutant(mutant)
        caught += result == "caught"
        print(f"{result:16} {mutant.name:40} {mutant.header} {' '.join(mutant.rules)}  "
              f"({time.monotonic() - begin:.0f} s)", flush=True)
    print(f"{caught} of {len(mutants)} mutants caught")
    return 0 if caught == len(mutants) else 1


def main():
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    if arguments == ["--check"]:
        return check()
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
