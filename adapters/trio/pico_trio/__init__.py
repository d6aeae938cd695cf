"""Runs Pico machines on trio: ``run`` owns the process, ``drive`` lives inside a running trio program."""

from pico_core.records import Sink
from pico_trio.driver import drive, run

__all__ = ["Sink", "drive", "run"]
