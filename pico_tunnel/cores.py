"""How many cores a process may use: ``--workers auto``."""

from __future__ import annotations

import os
from collections.abc import Iterator

GROUPS_OF_PROCESS = "/proc/self/cgroup"
GROUPS = "/sys/fs/cgroup"


def usable_cores(groups_of_process: str = GROUPS_OF_PROCESS, groups: str = GROUPS) -> int:
    """Return how many cores this process may use: those of its affinity, within the CPU quotas of its control groups.

    A part of a core counts as one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (_quota(folder, version) for folder, version in _folders(groups_of_process, groups))
    return max(1, min([cores, *(each for each in quotas if each is not None)]))


def _folders(groups_of_process: str, groups: str) -> Iterator[tuple[str, int]]:
    """Yield the folders of the process's groups and of all above them, with the version of control groups.

    In a container the group is the mounted root, whatever path the kernel tells: folders that are missing do no harm.
    """
    try:
        with open(groups_of_process) as file:
            lines = file.read().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root, version = (f"{groups}/cpu", 1) if controllers else (groups, 2)
        while path.strip("/"):
            yield f"{root}{path}", version
            path = path.rpartition("/")[0]
        yield root, version


def _quota(folder: str, version: int) -> int | None:
    """Return how many cores a group may use, rounded up; ``None`` for any number."""
    try:
        if version == 2:
            with open(f"{folder}/cpu.max") as file:
                quota, period = file.read().split()
        else:
            with open(f"{folder}/cpu.cfs_quota_us") as quotas, open(f"{folder}/cpu.cfs_period_us") as periods:
                quota, period = quotas.read(), periods.read()
        allowed, every = int(quota), int(period)
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return -(-allowed // every) if allowed > 0 else None
