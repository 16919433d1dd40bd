"""Listeners with mutual TLS: who has a certificate of the operator's authority comes in, nobody else; and what a
daemon says to files that cannot serve. Certificates are made here, with the openssl command."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import daemon as d

CTL = os.environ["TEST_OVERLAYCTL"]
PATIENCE = 60  # seconds, on a busy machine


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Authority:
    def __init__(self, folder, name):
        self.folder, self.name = pathlib.Path(folder), name
        self.certificate = self.folder / f"{name}.crt"
        self.key = self.folder / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                "-out", self.certificate, "-subj", f"/CN={name}", "-days", "2")

    def issue(self, name):
        """Paths of certificate and key for a host of that name."""
        key, request, certificate = (self.folder / f"{self.name}-{name}.{end}" for end in ("pem", "csr", "crt"))
        extensions = self.folder / "extensions"
        extensions.write_text(f"subjectAltName=DNS:{name}\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-out", certificate, "-days", "2", "-extfile", extensions)
        return certificate, key


def settings(prefix, certificate, key, authority):
    return [f"--{prefix}.tls_cert", str(certificate), f"--{prefix}.tls_key", str(key),
            f"--{prefix}.tls_client_ca", str(authority)]


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = cls.temporary.name
        cls.ours = Authority(cls.folder, "ours")
        cls.theirs = Authority(cls.folder, "theirs")
        cls.host = cls.ours.issue("overlay.test")
        cls.core = cls.ours.issue("core.test")
        cls.stranger = cls.theirs.issue("core.test")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def ctl(self, ready, *words, identity=None, authority=None, name="overlay.test"):
        certificate, key = identity or self.core
        authority = authority or self.ours.certificate
        return subprocess.run(
            [CTL, "--daemon", ready["api"], "--operator", ready["operator"], "--passphrase", d.PASSPHRASE,
             "--tls-ca", str(authority), "--tls-cert", str(certificate), "--tls-key", str(key),
             "--tls-server-name", name, *words],
            capture_output=True, text=True, timeout=2 * PATIENCE, env=d.clean_environment())

    def test_only_a_certificate_of_the_authority_comes_in(self):
        # All addresses of the machine: not loopback.
        overlayd = d.Daemon(self.folder, "tls", "--api.listen", "0.0.0.0:0", "--operator.listen", "0.0.0.0:0",
                            *settings("api", *self.host, self.ours.certificate),
                            *settings("operator", *self.host, self.ours.certificate))
        try:
            ready = {name: overlayd.ready[name].replace("0.0.0.0", "127.0.0.1") for name in ("api", "operator")}
            # Through the operator's listener, and through the core's with the SDK.
            status = self.ctl(ready, "status", "--json", "--timeout", str(PATIENCE))
            self.assertEqual(status.returncode, 0, status.stderr)
            self.assertIsNone(json.loads(status.stdout)["core"])
            top = self.ctl(ready, "top", "--json", "--timeout", str(PATIENCE))
            self.assertEqual(top.returncode, 0, top.stderr)
            # A certificate of another authority; a daemon that is not who it should be; none at all.
            for refused in (self.ctl(ready, "status", "--timeout", "2", identity=self.stranger),
                            self.ctl(ready, "top", "--timeout", "2", identity=self.stranger),
                            self.ctl(ready, "status", "--timeout", "2", authority=self.theirs.certificate),
                            self.ctl(ready, "status", "--timeout", "2", name="other.test"),
                            subprocess.run([CTL, "--operator", ready["operator"], "--timeout", "2", "status"],
                                           capture_output=True, text=True, timeout=2 * PATIENCE,
                                           env=d.clean_environment())):
                self.assertEqual(refused.returncode, 1, refused.stdout)
            self.assertEqual(self.ctl(ready, "status").returncode, 0)  # nobody else is hurt
        finally:
            self.assertEqual(overlayd.stop(), 0)

    def test_files_that_cannot_serve_are_named(self):
        certificate, key = self.host
        empty = pathlib.Path(self.folder, "empty")
        empty.write_text("")
        node_key = pathlib.Path(self.folder, "node.key")
        d.run("keygen", "--out", str(node_key))
        cases = {
            "api.tls_cert": (["/none", key, self.ours.certificate], "a readable PEM file (No such file"),
            "api.tls_cert ": ([empty, key, self.ours.certificate], "certificates in PEM"),
            "api.tls_key": ([certificate, self.core[1], self.ours.certificate], "the private key of api.tls_cert"),
            "api.tls_key ": ([certificate, certificate, self.ours.certificate], "the private key of api.tls_cert"),
            "api.tls_client_ca": ([certificate, key, key], "certificates in PEM"),
        }
        for setting, (files, expected) in cases.items():
            for command in ("check-config", "run"):
                done = d.run(command, "--node.key_file", str(node_key), "--network.passphrase", d.PASSPHRASE,
                             "--peer.listen", "127.0.0.1:0", "--api.listen", "192.0.2.1:1", *settings("api", *files))
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                for part in (setting.strip() + ": ", "is not legal", expected):
                    self.assertIn(part, done.stderr)

    def test_options_go_together(self):
        done = subprocess.run([CTL, "--daemon", "127.0.0.1:1", "--tls-ca", str(self.ours.certificate), "status"],
                              capture_output=True, text=True, env=d.clean_environment())
        self.assertEqual(done.returncode, 2)
        self.assertIn("all three, or none", done.stderr)


if __name__ == "__main__":
    unittest.main()
