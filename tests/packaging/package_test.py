"""The Debian package, from `cpack`: what is in it, what it needs, and what it does to a system; and the unit."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import tomllib
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ["TEST_BUILD"]
OVERLAYD = os.environ["TEST_OVERLAYD"]
UNIT = ROOT / "packaging" / "overlayd.service"

# In the package: path, mode, owner.
FILES = {
    "./usr/bin/overlayd": "-rwxr-xr-x",
    "./usr/bin/overlayctl": "-rwxr-xr-x",
    "./usr/lib/systemd/system/overlayd.service": "-rw-r--r--",
    "./etc/overlayd/overlayd.toml": "-rw-r--r--",
    "./usr/share/doc/overlayd/copyright": "-rw-r--r--",
    "./usr/share/doc/overlayd/examples/overlayd.toml": "-rw-r--r--",
}
# Libraries that the programs cannot do without; dpkg-shlibdeps knows their packages, whose names are each suite's own.
LIBRARIES = ("libc6", "libgrpc++1", "libngtcp2-", "libngtcp2-crypto-gnutls", "libgnutls30", "libprotobuf", "libzstd1",
             "libcivetweb", "libspdlog", "libprometheus-cpp-core", ("libc-ares2", "libcares2"), "adduser")


def said(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="overlay-package-")
        said("cpack", "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-G", "DEB", "-B", cls.folder.name)
        found = sorted(pathlib.Path(cls.folder.name).glob("*.deb"))
        assert len(found) == 1, found
        cls.package = str(found[0])

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def field(self, name):
        return said("dpkg-deb", "--field", self.package, name).strip()

    def test_its_fields(self):
        version = re.search(r"project\(overlayd VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
        self.assertEqual(self.field("Package"), "overlayd")
        self.assertEqual(self.field("Version"), version)
        self.assertEqual(os.path.basename(self.package), f"overlayd_{version}_{self.field('Architecture')}.deb")
        depends = [name.split()[0] for name in self.field("Depends").split(", ")]
        for library in LIBRARIES:
            self.assertTrue(any(name.startswith(library) for name in depends), f"{library} in {depends}")
        self.assertFalse([name for name in depends if name.endswith("-dev")])
        self.assertLess(int(self.field("Installed-Size")), 40_000)

    def test_its_files(self):
        lines = [line.split() for line in said("dpkg-deb", "--contents", self.package).splitlines()]
        files = {words[5]: words for words in lines if not words[5].endswith("/")}
        for path, mode in FILES.items():
            self.assertIn(path, files)
            self.assertEqual(files[path][:2], [mode, "root/root"])
        self.assertEqual({pathlib.PurePath(path).name for path in files if "/man/" in path},
                         {"overlayd.1", "overlayctl.1"})
        for path in files:
            # The library is for those who build with it: not here.
            self.assertFalse(re.search(r"\.(a|h|pc|cmake|proto)$", path), path)

    def test_its_manual_is_what_help_says(self):
        with tempfile.TemporaryDirectory() as folder:
            said("dpkg-deb", "--extract", self.package, folder)
            for name in ("overlayd", "overlayctl"):
                page = pathlib.Path(folder, "usr", "share", "man", "man1", f"{name}.1").read_text(encoding="utf-8")
                plain = page.replace("\\&", "").replace("\\-", "-").replace("\\e", "\\")
                self.assertIn(said(os.path.join(folder, "usr", "bin", name), "--help"), plain)
                self.assertRegex(page, rf"^\.TH {name.upper()} 1 ")
                self.assertFalse([line for line in page.split("\n") if re.match(r"[.'](?![A-Z]|nf$|fi$)", line)])

    def test_it_keeps_what_is_configured(self):
        with tempfile.TemporaryDirectory() as folder:
            said("dpkg-deb", "--control", self.package, folder)
            control = pathlib.Path(folder)
            conffiles = (control / "conffiles").read_text(encoding="utf-8").split()
            self.assertEqual(conffiles, [path[1:] for path in FILES if path.startswith("./etc/")])
            for script in ("postinst", "prerm", "postrm"):
                self.assertEqual((control / script).stat().st_mode & 0o777, 0o755)
                said("sh", "-n", str(control / script))

    def test_its_programs_run_and_are_stripped(self):
        with tempfile.TemporaryDirectory() as folder:
            said("dpkg-deb", "--extract", self.package, folder)
            program = os.path.join(folder, "usr", "bin", "overlayd")
            self.assertIn(self.field("Version"), said(program, "version"))
            self.assertNotIn(".debug_info", said("readelf", "--section-headers", "--wide", program))
            key = os.path.join(folder, "key")
            said(program, "keygen", "--out", key)
            config = os.path.join(folder, "etc", "overlayd", "overlayd.toml")
            self.assertIn("ok, this node is G", said(program, "check-config", "--config", config, "--node.key_file", key))


class Unit(unittest.TestCase):
    def test_it_agrees_with_the_daemon(self):
        text = UNIT.read_text(encoding="utf-8")
        drain_ms = int(re.search(r"kDrainMax = std::chrono::milliseconds\((\d+)\)",
                                 (ROOT / "server" / "drain.h").read_text(encoding="utf-8"))[1])
        stop_s = int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[1])
        self.assertGreater(stop_s * 1000, 2 * drain_ms)
        with open(ROOT / "docs" / "overlayd.example.toml", "rb") as file:
            settings = tomllib.load(file)
        self.assertEqual(re.search(r"^RuntimeDirectory=(.*)$", text, re.MULTILINE)[1], "overlayd")
        self.assertEqual(os.path.dirname(settings["api"]["listen"]), "unix:/run/overlayd")
        self.assertEqual(re.search(r"^StateDirectory=(.*)$", text, re.MULTILINE)[1], "overlayd")
        self.assertEqual(os.path.dirname(settings["peers"]["file"]), "/var/lib/overlayd")

    def test_systemd_takes_it(self):
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            return  # `./dev package` asks one in a fresh system
        with tempfile.TemporaryDirectory() as folder:
            # Its program is to be found where it will be installed.
            unit = os.path.join(folder, UNIT.name)
            text = UNIT.read_text(encoding="utf-8")
            for name, change in (("good", lambda t: t), ("bad", lambda t: t.replace("ProtectSystem=", "ProtectSytem="))):
                with open(unit, "w", encoding="utf-8") as file:
                    file.write(change(text).replace("ExecStart=overlayd", f"ExecStart={OVERLAYD}"))
                checked = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True,
                                         check=False)
                about = [line for line in checked.stderr.splitlines() if "overlayd" in line]
                self.assertEqual(bool(about), name == "bad", checked.stderr)


if __name__ == "__main__":
    unittest.main()
