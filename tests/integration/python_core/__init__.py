"""A core in Python, from the proto files alone: an example for whoever writes one in another language."""

from .core import Core, FetchFailed, Scp, Transactions, TxSets, sha256  # noqa: F401
from .streams import Ended, Refused  # noqa: F401
from .stubs import core_pb2  # noqa: F401
