"""Calls that go on for the whole session, read by a thread of their own and taken from by whoever wants to."""

import collections
import queue
import threading
import time

import grpc

PATIENCE = 20  # seconds


class Ended(Exception):
    """The call is over; `code` is its status."""

    def __init__(self, name, code, details):
        super().__init__(f"{name}: {code.name}: {details}")
        self.code = code
        self.details = details


class Refused(Exception):
    """The daemon answered a value of ours by `error`: that message had no effect, the stream lives."""

    def __init__(self, error):
        super().__init__(f"{error.field}: {error.value} is not legal, expected {error.expected}")
        self.error = error


class Reader:
    """What one call says. Its messages wait in a box for each kind (the name of the field that is set).

    The thread reads always, because the daemon ends the session of a core that does not. The boxes have no bound:
    what is never taken stays. That is fit for a test; a core that lives for days must drop or keep by its own rules.
    """

    def __init__(self, name, call, oneof):
        self.name = name
        self.call = call
        self._oneof = oneof
        self._boxes = collections.defaultdict(collections.deque)
        self._arrived = 0
        self._over = False
        self._changed = threading.Condition()
        self._may_read = threading.Event()
        self._may_read.set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            # A message is asked for only when the one before has been put away, so a pause is felt by the daemon.
            for message in self.call:
                kind = message.WhichOneof(self._oneof)
                if kind is not None:  # else something newer than our proto file, to be ignored (G9)
                    with self._changed:
                        self._arrived += 1
                        self._boxes[kind].append((self._arrived, getattr(message, kind)))
                        self._changed.notify_all()
                self._may_read.wait()
        except grpc.RpcError:
            pass  # the call has the status
        with self._changed:
            self._over = True
            self._changed.notify_all()

    # For tests only: this is what a core must never do.
    def stop_reading(self):
        self._may_read.clear()

    def go_on_reading(self):
        self._may_read.set()

    def take(self, *kinds, timeout=PATIENCE):
        """The next message of one of these kinds. Raises Ended, Refused or TimeoutError."""
        return self.take_any(*kinds, timeout=timeout)[1]

    def take_any(self, *kinds, timeout=PATIENCE):
        """The same, as (kind, message)."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                full = [kind for kind in kinds if self._boxes[kind]]
                if full:
                    kind = min(full, key=lambda one: self._boxes[one][0][0])
                    return kind, self._boxes[kind].popleft()[1]
                if self._boxes["error"]:
                    raise Refused(self._boxes["error"].popleft()[1])
                if self._over:
                    raise Ended(self.name, self.call.code(), self.call.details())
                if not self._changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    raise TimeoutError(f"{self.name}: no {' or '.join(kinds)} within {timeout} s")

    def take_here(self, kind):
        """All messages of this kind that have come by now."""
        with self._changed:
            here = [message for _, message in self._boxes[kind]]
            self._boxes[kind].clear()
            return here

    def is_over(self):
        with self._changed:
            return self._over

    def end(self, timeout=PATIENCE):
        """Waits for the end of the call, and gives its status code."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._over, timeout):
                raise TimeoutError(f"{self.name}: goes on after {timeout} s")
        return self.call.code()


class Stream(Reader):
    """A call that is spoken in both directions. What is said goes up in order."""

    def __init__(self, method, up, metadata, name):
        self._up = queue.SimpleQueue()
        self._up_type = up
        super().__init__(name, method(iter(self._up.get, None), metadata=metadata), "message")

    def say(self, **message):
        """One message, given by its field: say(broadcast=ScpBroadcast(...))."""
        self._up.put(self._up_type(**message))

    def say_no_more(self):
        self._up.put(None)

    def _read(self):
        super()._read()
        self.say_no_more()  # or gRPC's thread, which waits for more to send, would stay
