"""A user of channels that notes what it hears, and a TCP channel whose commands a test can read."""

from pico_core.boundary import Command
from pico_core.machine.channel import TcpChannel
from pico_core.machine.turns import Turns
from pico_core.pieces import Piece
from pico_core.timers import Timers


class User:
    """Notes what a channel reports."""

    def __init__(self) -> None:
        self.heard: list[bytes | str] = []

    def on_data(self, data: Piece, now: float) -> None:
        self.heard.append(bytes(data))

    def on_eof(self, now: float) -> None:
        self.heard.append("eof")

    def on_lost(self, now: float) -> None:
        self.heard.append("lost")

    def on_writable(self, now: float) -> None:
        self.heard.append("writable")


def no_turns() -> Turns:
    """Return turns that never come: for channels whose users hold nothing back."""
    return Turns(Timers(), lambda: 0.0)


def tcp() -> tuple[TcpChannel, list[Command], list[int]]:
    """Return a channel of connection 7, the commands that it emits, and the connections it reports as closing."""
    commands: list[Command] = []
    closing: list[int] = []
    return TcpChannel(7, "192.0.2.1", commands.append, closing.append, no_turns()), commands, closing
