"""A call of an application, as its exchange sees it: what the tests of the whole SDK meet by chance only."""

from typing import Any

from pico_core.agent.app_call import UNREAD_HIGH_BYTES, AppUpstream
from pico_core.agent.app_response import response_head
from pico_core.boundary import Command


class Scene:
    """The streams of the listener, and the exchange."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.emit = self.commands.append
        self.writable_calls = 0

    def request_writable(self, now: float) -> None:
        self.writable_calls += 1

    def begin_call(self, *_: Any, **__: Any) -> None: ...

    def call_over(self) -> None: ...

    def complain(self, reason: str) -> None: ...


def test_a_client_that_waits_goes_on_however_small_the_steps_of_the_application() -> None:
    scene: Any = Scene()
    call = AppUpstream(scene, 1)
    call.exchange = scene
    call.request_more([bytes(UNREAD_HIGH_BYTES), b"x"], last=False, trailers=b"")
    states = [call.writable]
    step = 1_000
    for _ in range(UNREAD_HIGH_BYTES // step):
        call.took(step, 0.0)
    states.append(call.writable)
    assert states == [False, True]
    assert scene.writable_calls == 1


def test_a_client_is_paused_and_goes_on_by_what_the_application_has_not_taken() -> None:
    scene: Any = Scene()
    call = AppUpstream(scene, 1)
    call.exchange = scene
    states = {}
    for step in (65_536, 1, -49_152, -1):
        if step > 0:
            call.request_more([bytes(step)], last=False, trailers=b"")
        else:
            call.took(-step, 0.0)
        states[call.untaken_bytes, step > 0] = call.writable
    assert states == {(65_536, True): True, (65_537, True): False, (16_385, False): False, (16_384, False): True}
    assert scene.writable_calls == 1


def test_heads_of_responses() -> None:
    assert response_head(200, ((b"Content-Length", b"3"),), -1).content_length == 3
    assert response_head(200, (), 5).content_length == 5
    assert response_head(200, (), -1).content_length == response_head(304, (), -1).content_length == -1
    kept = response_head(200, ((b"Connection", b"close"), (b"X-Pico-Failure", b"busy"), (b"Date", b"now")), 0)
    assert (kept.fields, kept.dated) == (b"date: now\r\n", True)
