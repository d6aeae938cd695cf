"""``--reload``: the command runs in a process of its own, again whenever a Python file below this directory changes."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from pico_core.records import Log, Sink
from pico_driver.signals import STOP_SIGNALS, SignalPipe

SOURCES_CHECK_S = 0.5
"""How often the files of an application are looked at: a person has not yet turned to the browser."""
REST = 10
"""Looking through the files takes at most one part in ``REST`` of the time."""

MAX_WATCHED = 20_000
"""Files and folders that are looked at each time; what lies beyond is not watched."""

GRACE = "--grace-period=2s"
"""The time that the application's requests get at a restart, unless the command says otherwise."""

RESTART_GRACE_S = 15.0
"""How long a restart waits for the old process; then it is killed."""

BOOT = (
    "import json, sys; sys.argv = ['pico', *json.loads(open(int(sys.argv[1]), 'rb').read() or sys.exit(1))]; "
    "from pico_tunnel.cli import main; sys.exit(main())"
)
"""The program of the process. It reads its arguments from a pipe, since others may list those of a process, and a token
may be among them."""

NOT_WATCHED = ("__pycache__", "node_modules")

Snapshot: TypeAlias = dict[str, tuple[int, int]]
"""Each Python file with its time of change in nanoseconds and its size."""

_SIGNALS = (*STOP_SIGNALS, signal.SIGHUP, signal.SIGCHLD)


def supervise(arguments: Sequence[str], root: Path, sink: Sink) -> int:
    """Run ``pico`` with ``arguments`` until a signal ends it, and return its exit code.

    A Python file below ``root`` that changes, comes or goes ends the process and starts it again. One that ends by
    itself, because the application cannot be imported for instance, is started at the next change. SIGHUP is passed on.
    """
    if not any(each.partition("=")[0] == "--grace-period" for each in arguments):
        arguments = [*arguments, GRACE]
    with _signals() as received:
        return _Supervisor(arguments, root, sink, received).run()


class _Supervisor:
    def __init__(
        self, arguments: Sequence[str], root: Path, sink: Sink, received: Callable[[float], list[signal.Signals]]
    ) -> None:
        self._arguments = json.dumps(list(arguments)).encode()
        self._root = root
        self._sink = sink
        self._received = received
        self._files, is_whole = snapshot(root)
        self._log("info", "watching for changes", directory=str(root), files=len(self._files))
        if not is_whole:
            self._log("warning", "this directory has too many files: not all are watched", limit=MAX_WATCHED)
        self._process = self._start()
        self._told = False
        """Whether the end of this process has been logged."""

    def run(self) -> int:
        pause_s = SOURCES_CHECK_S
        while True:
            for number in self._received(pause_s):
                if number in STOP_SIGNALS:
                    return self._end()
                if number == signal.SIGHUP:
                    self._process.send_signal(number)
            code = self._process.poll()
            if code == 0:
                return 0
            if code is not None and not self._told:
                self._told = True
                self._log("warning", "the application has ended; the next change starts it again", code=code)
            began = time.monotonic()
            self._look()
            pause_s = max(SOURCES_CHECK_S, REST * (time.monotonic() - began))

    def _look(self) -> None:
        """Restart the process if a file has changed."""
        now, _ = snapshot(self._root)
        changed = sorted(path for path, _ in now.items() ^ self._files.items())
        self._files = now
        if changed:
            self._log("info", "restarting: a file has changed", file=os.path.relpath(changed[0], self._root))
            self._stop()
            self._process, self._told = self._start(), False

    def _start(self) -> subprocess.Popen[bytes]:
        reading, writing = os.pipe()
        try:
            # In a group of its own: Ctrl-C reaches this process, which passes it on once.
            process = subprocess.Popen(  # noqa: S603 - this command again
                [sys.executable, "-c", BOOT, str(reading)], pass_fds=[reading], process_group=0
            )
        finally:
            os.close(reading)
        with suppress(BrokenPipeError), open(writing, "wb") as pipe:  # it may have ended already
            pipe.write(self._arguments)
        return process

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(RESTART_GRACE_S)
        except subprocess.TimeoutExpired:
            self._log("warning", "the application does not end; it is killed", after_s=RESTART_GRACE_S)
            self._process.kill()
            self._process.wait()

    def _end(self) -> int:
        """Pass on a signal, and those that follow it, until the process has ended."""
        if self._process.poll() is not None:
            return 0
        self._process.terminate()
        while (code := self._process.poll()) is None:
            if set(STOP_SIGNALS) & set(self._received(SOURCES_CHECK_S)):
                self._process.terminate()
        return code if code >= 0 else 128 - code

    def _log(self, level: str, message: str, **fields: str | float) -> None:
        self._sink(Log(level, "reload", message, dict(fields)))


def snapshot(root: Path) -> tuple[Snapshot, bool]:
    """Return the Python files below ``root``, and whether all were looked at.

    Hidden folders, virtual environments and ``NOT_WATCHED`` are left out; links to folders are not followed.
    """
    files: Snapshot = {}
    left = MAX_WATCHED
    waiting = [str(root)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:  # a file may go while it is looked at
            found = list(entries)
            if any(entry.name == "pyvenv.cfg" for entry in found):
                continue
            for entry in found:
                left -= 1
                if left < 0:
                    return files, False
                if entry.name.startswith(".") or entry.name in NOT_WATCHED:
                    continue
                if entry.name.endswith(".py"):
                    state = entry.stat()
                    files[entry.path] = (state.st_mtime_ns, state.st_size)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return files, True


@contextmanager
def _signals() -> Iterator[Callable[[float], list[signal.Signals]]]:
    """Take the signals of this process meanwhile: give a function that waits so many seconds, and returns those."""
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    pipe = SignalPipe()

    def received(timeout_s: float) -> list[signal.Signals]:
        select.select([pipe.reading], [], [], timeout_s)
        return [signal.Signals(number) for number in pipe.take()]

    try:
        yield received
    finally:
        pipe.close()
        for number, handler in before.items():
            signal.signal(number, handler)
