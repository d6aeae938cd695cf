"""Network namespaces with addresses of their own, a DNS server, cuts and CPU limits, like the pods of a cluster.

All namespaces hang on one bridge in a namespace of its own, so nothing of it is visible outside. All of it is
removed in the end, also after a failure.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.cluster.harness import Address, connect

SUBNET = "10.77.0"
DNS = f"{SUBNET}.1"
DOMAIN = "default.svc.cluster.local"
"""Where Kubernetes looks for a name without dots."""

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

CPU_PERIOD_US = 100_000


def run(*command: str) -> str:
    """Run a command that must succeed, and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def why_not() -> str:
    """Return why there can be no namespaces here; empty if there can be."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("ip", "nft", "dnsmasq"):
        if shutil.which(program) is None:
            return f"needs {program}"
    name = f"pico-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return "network namespaces are not allowed here"
    run("ip", "netns", "del", name)
    return ""


class Namespace:
    """One pod's network."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    @property
    def prefix(self) -> tuple[str, ...]:
        """The beginning of a command line that runs in this namespace."""
        return ("ip", "netns", "exec", self.name)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in here: sockets it makes stay here for ever."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def connect(self, address: Address) -> socket.socket:
        """Connect from in here."""
        with self.entered():
            return connect(address)

    def move(self, address: str) -> None:
        """Change the address, as when a pod comes back elsewhere."""
        run("ip", "-n", self.name, "address", "flush", "dev", "eth0")
        self.address = address
        run("ip", "-n", self.name, "address", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", self.name, "route", "add", "default", "via", DNS)

    @contextlib.contextmanager
    def deaf_to(self, *addresses: str) -> Iterator[None]:
        """Packets from these addresses are lost; packets to them are not."""
        run(*self.prefix, "nft", "add table ip cut; add chain ip cut in { type filter hook input priority 0; }")
        try:
            for address in addresses:
                run(*self.prefix, "nft", f"add rule ip cut in ip saddr {address} drop")
            yield
        finally:
            run(*self.prefix, "nft", "delete table ip cut")


def _enter(file: int) -> None:
    if LIBC.setns(file, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Network:
    """A bridge, a DNS server on it, and namespaces. Use as a context."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._label = f"pico-{os.getpid()}"
        self._hub = f"{self._label}-hub"
        self._namespaces = 0

    def __enter__(self) -> "Network":
        try:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pico-dns-")))
            self._add_namespace(self._hub)
            run("ip", "-n", self._hub, "link", "add", "br0", "type", "bridge")
            run("ip", "-n", self._hub, "address", "add", f"{DNS}/24", "dev", "br0")
            run("ip", "-n", self._hub, "link", "set", "br0", "up")
            self._hosts = self._folder / "hosts"
            self._hosts.write_text("")
            self._start_dns()
            self._stack.callback(self._stop_dns)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def namespace(self, name: str, number: int) -> Namespace:
        """Add a namespace with the address of that number."""
        self._namespaces += 1
        made = Namespace(f"{self._label}-{name}", f"{SUBNET}.{number}")
        settings = Path("/etc/netns") / made.name
        settings.mkdir(parents=True)
        self._stack.callback(_remove_settings, settings)
        (settings / "resolv.conf").write_text(
            f"search {DOMAIN}\nnameserver {DNS}\noptions ndots:5 timeout:1 attempts:2\n"
        )
        self._add_namespace(made.name)
        port = f"v{self._namespaces}"
        run("ip", "-n", self._hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        run("ip", "-n", self._hub, "link", "set", port, "master", "br0", "up")
        run("ip", "-n", made.name, "link", "set", "eth0", "up")
        made.move(made.address)
        return made

    def resolve(self, name: str, addresses: Sequence[str]) -> None:
        """Have the DNS answer with these addresses from now on; with none of them, that there is no such name."""
        self._hosts.write_text("".join(f"{address} {name}.{DOMAIN}\n" for address in addresses))
        if self._dns.poll() is None:
            self._dns.send_signal(signal.SIGHUP)

    @contextlib.contextmanager
    def without_dns(self, *, is_silent: bool) -> Iterator[None]:
        """The DNS answers nothing, or, where it is not silent, no process listens there."""
        if is_silent:
            self._dns.send_signal(signal.SIGSTOP)
        else:
            self._stop_dns()
        try:
            yield
        finally:
            if is_silent:
                self._dns.send_signal(signal.SIGCONT)
            else:
                self._start_dns()

    def _add_namespace(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self._stack.callback(run, "ip", "netns", "del", name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def _start_dns(self) -> None:
        self._dns = subprocess.Popen(
            [
                *("ip", "netns", "exec", self._hub, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null"),
                *("--user=root", "--pid-file", "--no-resolv", "--no-hosts", f"--addn-hosts={self._hosts}"),
                *(f"--listen-address={DNS}", "--bind-interfaces", "--local=/#/"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _stop_dns(self) -> None:
        self._dns.kill()
        self._dns.wait()


def _remove_settings(folder: Path) -> None:
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):  # others may have theirs in there
        folder.parent.rmdir()


@contextlib.contextmanager
def limits(name: str, cpu: float, memory_bytes: int) -> Iterator[tuple[str, ...]]:
    """The beginning of a command line with limits of cores and memory; empty where there can be no limits."""
    label = f"pico-{os.getpid()}-{name}"
    root = Path("/sys/fs/cgroup")
    quota_us = round(cpu * CPU_PERIOD_US)
    groups: list[tuple[Path, dict[str, object]]] = []
    if (root / "cgroup.controllers").exists():
        groups.append((root / label, {"cpu.max": f"{quota_us} {CPU_PERIOD_US}", "memory.max": memory_bytes}))
    else:
        cpu_values = {"cpu.cfs_period_us": CPU_PERIOD_US, "cpu.cfs_quota_us": quota_us}
        groups.append((root / "cpu" / label, dict(cpu_values)))
        groups.append((root / "memory" / label, {"memory.limit_in_bytes": memory_bytes}))
    with contextlib.ExitStack() as stack:
        try:
            for folder, values in groups:
                folder.mkdir()
                stack.callback(folder.rmdir)
                for key, value in values.items():
                    (folder / key).write_text(str(value))
        except OSError:
            yield ()
            return
        files = [str(folder / "cgroup.procs") for folder, _ in groups]
        script = f'for group in {" ".join(files)}; do echo $$ > "$group" || exit 1; done; exec "$@"'
        yield ("sh", "-c", script, "limited")


def throttled(name: str) -> str:
    """Return the kernel's figures of a limited group's CPU time."""
    label = f"pico-{os.getpid()}-{name}"
    for folder in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")):
        stat = folder / label / "cpu.stat"
        if stat.exists():
            return " ".join(stat.read_text().split())
    return "no limits to be had"
