"""Runs Pico machines on asyncio and uvloop: ``run`` owns the process, ``drive`` lives inside a running loop."""

from pico_asyncio.driver import drive
from pico_asyncio.running import run
from pico_core.records import Sink

__all__ = ["Sink", "drive", "run"]
