"""What the tools that run things have in common: to wait, and to say what did not come."""
import time


class Failure(Exception):
    """What went wrong, for people."""


def until(what, seconds, done):
    """What `done` returns once it is true; Failure with `what` if that takes longer."""
    end = time.monotonic() + seconds
    while True:
        found = done()
        if found:
            return found
        if time.monotonic() > end:
            raise Failure(f"not within {seconds} s: {what}")
        time.sleep(0.05)
