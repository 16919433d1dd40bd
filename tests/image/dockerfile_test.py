"""What the Dockerfile names is there: paths of this tree, packages of the distribution, stages, targets of the build;
and it stays what it promises to be. Each check is shown to fail on a broken copy.
"""
import functools
import json
import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
USED_BY_CMAKE = re.compile(r"^ *add_subdirectory\(([\w-]+)\)|^include\((cmake)/|APPEND CMAKE_MODULE_PATH \S*/(cmake)\)",
                           re.MULTILINE)
LABELS = ("title", "description", "licenses", "version", "revision")

# (what it says, what it shall say instead, what the complaint names)
BROKEN = (
    ("COPY transport transport", "COPY transports transport", "transports"),
    ("COPY proto proto\n", "", "proto"),
    ("libzstd-dev", "libzstd-devel", "libzstd-devel"),
    ("libzstd-dev ", "", "libzstd-dev"),
    ("USER 65532:65532", "USER overlayd", "USER"),
    ("USER 65532:65532", "USER 0:0", "USER"),
    ("FROM runtime AS overlayd", "FROM runtim AS overlayd", "runtim"),
    ("--from=build /stage/overlayd", "--from=builder /stage/overlayd", "builder"),
    ("ENTRYPOINT [\"/usr/bin/overlayd\"]", "ENTRYPOINT /usr/bin/overlayd", "ENTRYPOINT"),
    ("CMD [\"run\"]", "CMD run", "CMD"),
    ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "STOPSIGNAL"),
    ("org.opencontainers.image.licenses", "licenses", "licenses"),
    ("--target overlayd overlayctl", "--target overlayds overlayctl", "overlayds"),
    ("--component demo ", "--component demos ", "demos"),
    ("\"$PRESET\" -B", "\"releases\" -B", "PRESET"),
    ("ARG PRESET=release", "ARG PRESET=fast", "fast"),
    ("scripts/image/runtime_packages.sh /stage", "scripts/image/packages.sh /stage", "packages.sh"),
    ("ARG BASE=debian:13-slim", "ARG BASE=registry.example.com/debian:13-slim", "BASE"),
)


def instructions(text):
    """(WORD, the rest) of each instruction, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def stages_of(found):
    """name -> (base, its instructions), in order."""
    stages = {}
    current = []
    for word, rest in found:
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
            current = []
            stages[name] = (base, current)
        else:
            current.append((word, rest))
    return stages


@functools.cache
def wanted_packages():
    return subprocess.run([ROOT / "scripts" / "setup.sh", "--list", "build"], capture_output=True, text=True,
                          check=True).stdout.split()


@functools.cache
def known_packages():
    """Those that are installed, or known to apt."""
    return set(subprocess.run(["apt-cache", "pkgnames"], capture_output=True, text=True, check=True).stdout.split())


def cmake_files():
    for folder in ("client-sdk", "flood", "packaging", "proto", "server", "transport"):
        for path in sorted((ROOT / folder).rglob("CMakeLists.txt")):
            yield path.read_text(encoding="utf-8")


def package_problems(text):
    wanted = wanted_packages()
    match = re.search(r"apt-get install -y --no-install-recommends ([^\n&]*)", text.replace("\\\n", " "))
    named = match[1].split() if match else []
    problems = [f"{name}: the Dockerfile and ./dev setup --list build do not agree"
                for name in sorted(set(wanted) ^ set(named))]
    return problems + [f"{name}: no such package"
                       for name in sorted(set(named) - known_packages())]


def path_problems(stages):
    problems = []
    copied = set()
    for base, steps in stages.values():
        if base not in ("${BASE}", *stages):
            problems.append(f"{base}: no such stage")
        for word, rest in steps:
            if word != "COPY":
                continue
            words = rest.split()
            if words[0].startswith("--from="):
                if words[0][7:] not in stages:
                    problems.append(f"{words[0][7:]}: no such stage")
                continue
            copied.update(words[:-1])
    problems += [f"{source}: no such path" for source in sorted(copied) if not (ROOT / source).exists()]
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for needed in USED_BY_CMAKE.findall(cmake):
        folder = "".join(needed)
        if folder not in copied | {"tests"}:
            problems.append(f"{folder}: CMakeLists.txt uses it and nothing copies it")
    return problems


def build_problems(stages):
    problems = []
    build = " ".join(rest for word, rest in stages["build"][1] if word == "RUN")
    cmake = "\n".join(cmake_files())
    for target in re.search(r"--target ((?:[\w-]+ )+)", build)[1].split():
        if not re.search(rf"add_executable\({target}\b", cmake):
            problems.append(f"{target}: no such target")
    for component in re.findall(r"--component (\S+)", build):
        if not re.search(rf"COMPONENT {component}\b", cmake):
            problems.append(f"{component}: no such component")
    for script in re.findall(r"(scripts/\S+)", build):
        if not (ROOT / script).exists():
            problems.append(f"{script}: no such path")
    if "--preset \"$PRESET\"" not in build:
        problems.append("PRESET is not used")
    presets = json.loads((ROOT / "CMakePresets.json").read_text(encoding="utf-8"))["configurePresets"]
    default = dict(rest.split("=", 1) for word, rest in stages["build"][1] if word == "ARG")["PRESET"]
    if default not in [preset["name"] for preset in presets]:
        problems.append(f"{default}: no such preset")
    return problems


def runtime_problems(found, stages):
    problems = []
    steps = dict(stages["runtime"][1])
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", steps.get("USER", "")):
        problems.append("USER must be numbers other than 0")
    if steps.get("STOPSIGNAL") != "SIGTERM":
        problems.append("STOPSIGNAL must be SIGTERM, on which the daemon drains")
    base = dict(rest.split("=", 1) for word, rest in found if word == "ARG")["BASE"]
    if "/" in base:
        problems.append(f"BASE must name no host: {base}")
    for name in ("overlayd", "demo-core"):
        for word, rest in stages[name][1]:
            if word in ("ENTRYPOINT", "CMD") and not rest.startswith("["):
                problems.append(f"{word} of {name} needs a shell: {rest}")
        labels = " ".join(rest for word, rest in stages[name][1] if word == "LABEL")
        problems += [f"{name} has no label {label}" for label in LABELS
                     if f"org.opencontainers.image.{label}=" not in labels]
    if list(stages)[-1] != "overlayd":
        problems.append("the last stage, which is built by default, must be overlayd")
    return problems


def problems_of(text):
    found = instructions(text)
    stages = stages_of(found)
    return package_problems(text) + path_problems(stages) + build_problems(stages) + runtime_problems(found, stages)


class Dockerfile(unittest.TestCase):
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    def test_all_that_it_names_is_there(self):
        self.assertEqual(problems_of(self.text), [])

    def test_what_is_broken_is_named(self):
        for old, new, named in BROKEN:
            with self.subTest(new):
                self.assertIn(old, self.text)
                self.assertTrue([p for p in problems_of(self.text.replace(old, new)) if named in p])

    def test_runtime_packages_are_those_of_the_libraries(self):
        script = ROOT / "scripts" / "image" / "runtime_packages.sh"
        found = subprocess.run([script, "/usr/bin/cmake"], capture_output=True, text=True, check=True).stdout.split()
        self.assertIn("libc6", found)
        self.assertEqual(found, sorted(set(found)))
        with tempfile.NamedTemporaryFile() as nothing:
            failed = subprocess.run([script, nothing.name], capture_output=True, text=True, check=False)
            self.assertEqual(failed.stdout, "")


if __name__ == "__main__":
    unittest.main()
