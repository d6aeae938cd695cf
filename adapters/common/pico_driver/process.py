"""The resources that this process uses: the figures of Prometheus's own clients. Linux has all of them."""

import os
import time
from functools import cache

from pico_core.records import ProcessMeasured

_START, _VIRTUAL, _RESIDENT = 19, 20, 21
"""Fields of /proc/PID/stat behind the name of the program (proc_pid_stat(5) counts from 1 and has three before)."""


def measure(query: int, spans_dropped: int = -1) -> ProcessMeasured:
    """Return the resources that this process uses; 0 for a number that the system does not tell. Never raises."""
    virtual, resident = _memory_bytes()
    return ProcessMeasured(
        query,
        time.process_time(),
        resident,
        virtual,
        _open_files(),
        _max_open_files(),
        _started_at_s(),
        spans_dropped,
    )


def _stat() -> list[bytes]:
    with open("/proc/self/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def _memory_bytes() -> tuple[int, int]:
    """Return the address space and the resident memory."""
    try:
        fields = _stat()
        return int(fields[_VIRTUAL]), int(fields[_RESIDENT]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0, 0


@cache
def _started_at_s() -> float:
    """Return when this process started. It is worked out once, so that setting the wall clock does not change it."""
    try:
        began_s = int(_stat()[_START]) / os.sysconf("SC_CLK_TCK")
        return round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + began_s, 2)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def _open_files() -> int:
    """Return how many descriptors are open: Linux 6.2 and later tell the number, before them they are listed."""
    try:
        return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd")) - 1
    except OSError:
        return 0


def _max_open_files() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if soft == resource.RLIM_INFINITY else soft
