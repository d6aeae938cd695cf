"""``--watch``: a document is asked for and printed again and again, until Ctrl-C."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pico_tunnel.answer import Unanswered, write
from pico_tunnel.complaints import complain

if TYPE_CHECKING:
    from pico_core.boundary import Exit, Machine
    from pico_core.records import Sink
    from pico_driver.tls_profiles import Profiles

HOME = "\x1b[H"
CLEAR_LINE = "\x1b[K"
CLEAR_BELOW = "\x1b[J"
CLEAR = "\x1b[2J"


def watch(text: Callable[[], str], every_s: float, *, separator: str) -> int:
    """Print ``text()`` every so many seconds; return the exit code, which is 0 once a person ends it.

    On a terminal each text takes the place of the last one, cut to what fits. Elsewhere texts follow each other, with
    ``separator`` between them. Only the first question has to be answered: a server may be restarted meanwhile.
    """
    terminal = sys.stdout is not None and sys.stdout.isatty()
    try:
        began = time.monotonic()
        shown = text()
        if terminal:
            write(HOME + CLEAR)
        while _show(shown, every_s, terminal=terminal):
            time.sleep(max(0.0, began + every_s - time.monotonic()))
            began = time.monotonic()
            try:
                shown = text() if terminal else separator + text()
            except Unanswered as error:
                if terminal:
                    shown = f"{error}\n"
                else:
                    shown = ""
                    complain(str(error))
    except KeyboardInterrupt:
        if terminal:
            write("\n")
    return 0


def drive_aside(machine: Machine, sink: Sink, profiles: Profiles | None) -> Exit:
    """Run a machine in a thread: what ends the command would be lost in the moment in which a machine ends."""
    ends: list[Exit] = []

    def work() -> None:
        import asyncio

        import pico_asyncio

        ends.append(asyncio.run(pico_asyncio.drive(machine, sink, profiles=profiles)))

    thread = threading.Thread(target=work, name="pico-question", daemon=True)
    thread.start()
    thread.join()
    return ends[0]


def _show(text: str, every_s: float, *, terminal: bool) -> bool:
    """Write one text; return whether somebody still reads."""
    if not terminal:
        return not text or write(text)
    size = shutil.get_terminal_size()
    lines = [f"{time.strftime('%H:%M:%S')}, every {every_s:g} s, Ctrl-C to stop", "", *text.splitlines()]
    room = max(size.lines - 1, 1)
    if len(lines) > room:
        lines[room - 1 :] = [f"... {len(lines) - room + 1} lines more"]
    return write(HOME + "\n".join(line[: size.columns] + CLEAR_LINE for line in lines) + CLEAR_BELOW)
