"""Keeps the collector of garbage out of what a test measures: a run over all that other tests left takes long."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect nothing within the block."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
