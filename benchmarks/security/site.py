"""The common part of the figures: certificates, CPU time of a process, and how a figure is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trustme

NAME = "localhost"
ENDPOINT = ("x-pico-endpoint: e1",)


@dataclass(frozen=True)
class Figure:
    """One line of the report. ``budget`` is empty where nothing was promised."""

    name: str
    value: str
    budget: str = ""
    holds: bool = True

    def __str__(self) -> str:
        verdict = ("ok" if self.holds else "BROKEN") if self.budget else ""
        return f"{self.name:58} {self.value:52} {self.budget:16} {verdict}".rstrip()


def at_most(name: str, value: float, limit: float, unit: str = "", detail: str = "") -> Figure:
    """Return a figure that holds up to a limit."""
    shown = f"{value:.2f}{unit}" + (f" ({detail})" if detail else "")
    return Figure(name, shown, f"at most {limit:g}{unit}", value <= limit)


def exactly(name: str, value: int, wanted: int, detail: str = "") -> Figure:
    """Return a figure that holds for one value alone."""
    return Figure(name, f"{value}" + (f" ({detail})" if detail else ""), f"{wanted}", value == wanted)


class Certificates:
    """A certificate for loopback, its key and its authority, as files in a folder."""

    def __init__(self, folder: Path, kind: str) -> None:
        """``kind`` is ``ecdsa`` (P-256) or ``rsa`` (2,048 bits)."""
        key_type = {"ecdsa": trustme.KeyType.ECDSA, "rsa": trustme.KeyType.RSA}[kind]
        authority = trustme.CA(key_type=key_type)
        issued = authority.issue_cert(NAME, "127.0.0.1", key_type=key_type)
        self.cert, self.key = (str(folder / f"{kind}.{end}") for end in ("pem", "key"))
        issued.private_key_pem.write_to_path(self.key)
        Path(self.cert).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    def flags(self, port: str) -> tuple[str, str]:
        """Return the flags that put a server's port behind TLS."""
        return f"--{port}.tls.cert={self.cert}", f"--{port}.tls.key={self.key}"


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of all threads of a process, finer than the ticks of ``/proc/PID/stat``."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def spent_s(pid: int, work: Callable[[], int]) -> float:
    """Return the CPU seconds that a process spends for one unit of a work, which returns how many units it did."""
    before = cpu_s(pid)
    units = work()
    return (cpu_s(pid) - before) / units
