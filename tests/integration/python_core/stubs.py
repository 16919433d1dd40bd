"""The protocol as Python modules: what protoc makes of the proto files, in a folder that goes with the process."""

import importlib
import pathlib
import subprocess
import sys
import tempfile

PROTO = pathlib.Path(__file__).resolve().parents[3] / "proto"
PLUGIN = "/usr/bin/grpc_python_plugin"  # Debian's protobuf-compiler-grpc

_generated = tempfile.TemporaryDirectory(prefix="overlay-proto-")
sys.path.insert(0, _generated.name)


def generate(root, *files):
    """Makes the modules of `files`, paths below the folder `root`; they can be imported afterwards."""
    subprocess.run(["protoc", "-I", str(root), "--python_out=" + _generated.name,
                    "--grpc_python_out=" + _generated.name, "--plugin=protoc-gen-grpc_python=" + PLUGIN, *files],
                   check=True)
    importlib.invalidate_caches()


generate(PROTO, "overlay/v1/core.proto")
from overlay.v1 import core_pb2, core_pb2_grpc  # noqa: E402,F401
