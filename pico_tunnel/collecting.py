"""The garbage collector during a start: it would look through all imported code again and again, and free nothing.

That is a sixth of the processor time of a start.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Leave the collector off until ``resume``, or until the end of the block at the latest."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def resume() -> None:
    """Turn the collector on, and have it pass over what there is now: code, which stays for ever."""
    gc.freeze()
    gc.enable()
