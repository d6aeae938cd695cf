"""The TLS filter between two memory buffers: records cut anywhere, joined, altered and ended early, on both sides.

What arrives is always a beginning of what was sent. Unaltered, all of it arrives, and the end is told; altered or cut,
the end is an error. Nothing raises.
"""

import ssl
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from hypothesis import example, given
from hypothesis import strategies as st

from pico_core.boundary import Data, EofReceived, Input, Received
from pico_core.config.tls import ClientTlsConfig, ServerTlsConfig
from pico_driver.tls import SecureConnection
from pico_driver.tls_profiles import Profile, Profiles
from tests.certificates import issue, write_authority

MAX_ROUNDS = 200
"""A handshake with all its data takes a few."""

Messages: TypeAlias = list[bytes]


@cache
def profiles() -> tuple[Profile, Profile]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        files, ca = issue(folder, "localhost"), write_authority(folder)
        server = ServerTlsConfig(cert=(files.cert,), key=(files.key,))
        found = Profiles({"in": ("proxy.tls", server)}, {"out": ("connect.tls", ClientTlsConfig(root_cas=ca))})
    inside, outside = found.get("in"), found.get("out")
    assert inside is not None
    assert outside is not None
    return inside, outside


class Wire:
    """The plain connection underneath: what is sent waits in ``output``."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.closed = False
        self.unsent = False

    def send(self, data: Data) -> None:
        assert not self.closed
        self.output += data if isinstance(data, bytes) else b"".join(data)

    def close(self) -> None:
        self.closed = True

    def reset(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        raise AssertionError("nobody asked for it")

    resume_reading = flush = pause_reading


class Side:
    """One end, with what it has heard; it sends its messages when its handshake is done, and closes then."""

    def __init__(self, profile: Profile, messages: Messages, listener: str) -> None:
        self.receive_buffer = memoryview(bytearray(70_000))
        self.turn_bytes = 0
        self.heard = b""
        self.ended = False
        self.failure = ""
        self.over = False
        self.wire = Wire()
        self._messages = messages
        self._speaks = False
        self.secure = SecureConnection(self, profile, 1, listener=listener, server_name="localhost")
        self.secure.attach(self.wire, "127.0.0.1", 5000)

    def secured(self, connection: SecureConnection) -> None:
        assert connection is self.secure
        assert not self._speaks
        self._speaks = True

    def not_secured(self, connection: SecureConnection, reason: str) -> None:
        assert not self.over
        self.over = True
        self.failure = reason or "no reason"

    def forget_handshake(self, connection: SecureConnection) -> None:
        raise AssertionError("nobody gives it up")

    def end_turn(self) -> None:
        raise AssertionError("the loop's part")

    def hand_over(self, event: Input) -> None:
        assert not self.over
        if isinstance(event, Received):
            assert not self.ended
            self.heard += event.data
        elif isinstance(event, EofReceived):
            assert not self.ended
            self.ended = True

    def lost(self, number: int, error: Exception | None) -> None:
        assert not self.over
        self.over = True
        self.failure = str(error) if error else ""

    def take(self, data: bytes) -> None:
        """One turn: first the input, then what the machine commands."""
        self.secure.hand_over(Received(1, data))
        if self._speaks and not self.over:
            self._speaks = False
            for message in self._messages:
                self.secure.send((message[: len(message) // 2], memoryview(message)[len(message) // 2 :]))
            self.secure.send_eof()


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """Cut bytes at places that are counted modulo their length."""
    places = sorted({cut % len(data) for cut in cuts}) if data else []
    for start, end in pairwise([0, *places, len(data)]):
        if end > start:
            yield data[start:end]


def converse(
    sides: tuple[Side, Side], cuts: list[int], flip: tuple[int, int, int] | None, end_at: tuple[int, int] | None
) -> bool:
    """Carry bytes both ways until none are left; return whether something was altered or ended early.

    ``flip`` is which side's output is altered, at which byte of all its output, and by what; ``end_at`` is which side's
    output ends early, and where.
    """
    sent = [0, 0]
    harmed = False
    for _ in range(MAX_ROUNDS):
        if not any(side.wire.output for side in sides):
            return harmed
        for number, (source, sink) in enumerate(((sides[0], sides[1]), (sides[1], sides[0]))):
            data, source.wire.output = source.wire.output, bytearray()
            before, sent[number] = sent[number], sent[number] + len(data)
            if flip is not None and flip[0] == number and before <= flip[1] < sent[number]:
                data[flip[1] - before] ^= flip[2]
                harmed = True
            if end_at is not None and end_at[0] == number and end_at[1] < sent[number]:
                del data[max(end_at[1] - before, 0) :]
                harmed = True
            for piece in pieces(bytes(data), cuts):
                sink.take(piece)
    raise AssertionError("the two never come to an end")


MESSAGES = st.lists(st.binary(max_size=40) | st.builds(bytes, st.sampled_from([16_384, 16_385, 80_000])), max_size=5)
CUTS = st.lists(st.integers(0, 100_000), max_size=30)


def both(upwards: Messages, downwards: Messages) -> tuple[Side, Side]:
    inside, outside = profiles()
    return Side(outside, upwards, ""), Side(inside, downwards, "proxy")


@given(MESSAGES, MESSAGES, CUTS)
@example([b"x"], [b"y"], list(range(5_000)))
def test_cuts_change_nothing(upwards: Messages, downwards: Messages, cuts: list[int]) -> None:
    client, server = both(upwards, downwards)
    assert not converse((client, server), cuts, None, None)
    assert (server.heard, client.heard) == (b"".join(upwards), b"".join(downwards))
    assert (client.failure, server.failure, client.ended, server.ended) == ("", "", True, True)


@given(MESSAGES, MESSAGES, CUTS, st.tuples(st.integers(0, 1), st.integers(0, 3_000), st.integers(1, 255)))
def test_an_altered_byte_ends_in_an_error(
    upwards: Messages, downwards: Messages, cuts: list[int], flip: tuple[int, int, int]
) -> None:
    client, server = both(upwards, downwards)
    harmed = converse((client, server), cuts, flip, None)
    assert b"".join(upwards).startswith(server.heard)
    assert b"".join(downwards).startswith(client.heard)
    for side, said in ((client, downwards), (server, upwards)):
        if side.ended:
            assert side.heard == b"".join(said)
    if not harmed:
        assert client.ended
        assert server.ended


@given(MESSAGES, MESSAGES, CUTS, st.tuples(st.integers(0, 1), st.integers(0, 5_000)))
def test_an_early_end_is_an_error(
    upwards: Messages, downwards: Messages, cuts: list[int], end_at: tuple[int, int]
) -> None:
    client, server = both(upwards, downwards)
    converse((client, server), cuts, None, end_at)
    for side, said in ((client, downwards), (server, upwards)):
        assert b"".join(said).startswith(side.heard)
        if not side.over:
            side.secure.hand_over(EofReceived(1))
        if side.ended:
            assert side.heard == b"".join(said)
        else:
            assert side.failure


@given(st.lists(st.binary(max_size=400), max_size=6), st.booleans())
def test_garbage_is_refused_and_never_heard(garbage: list[bytes], to_server: bool) -> None:
    client, server = both([], [])
    side = server if to_server else client
    for data in garbage:
        if data:
            side.take(data)
    assert side.heard == b""
    assert not side.ended


def test_the_oldest_versions_are_refused() -> None:
    inside, _ = profiles()
    assert inside.context.minimum_version is ssl.TLSVersion.TLSv1_2
