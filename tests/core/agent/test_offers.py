"""Streams that wait until the program takes them: so many of one listener."""

from typing import Any

from pico_core.agent.program_streams import Offer
from pico_core.timers import Timers


class Scene:
    """The machine, the streams of the listener, and the user and the channel of each connection."""

    now = 0.0
    endpoint = "e1"

    def __init__(self) -> None:
        self.timers = Timers()
        self.untaken = 0
        self.reasons: list[str] = []
        self.withdrawn: list[int] = []
        self.lost = 0
        self.user = self

    def offer(self, listener: int, offer: Offer) -> int:
        return self.untaken

    def withdraw(self, connection: int) -> None:
        self.withdrawn.append(connection)

    def warn(self, subsystem: str, message: str, *, endpoint: str, reason: str) -> None:
        self.reasons.append(reason)

    def on_connected(self, channel: Any, now: float) -> None: ...

    def abort(self) -> None: ...

    def on_lost(self, now: float) -> None:
        self.lost += 1


def comes(scene: Any) -> Offer:
    scene.untaken += 1
    offer = Offer(scene, scene, 1, scene, 10.0)
    offer.on_connected(scene, 0.0)
    return offer


def test_streams_wait_for_the_program_up_to_a_bound() -> None:
    scene = Scene()
    first, *_ = [comes(scene) for _ in range(1_024)]
    assert (scene.untaken, scene.lost) == (1_024, 0)
    comes(scene)
    assert scene.reasons == ["1024 streams wait for the program already"]
    assert (scene.untaken, scene.lost, scene.withdrawn) == (1_024, 1, [1_025])
    first.taken()
    comes(scene)
    assert (scene.untaken, scene.lost) == (1_024, 1)
