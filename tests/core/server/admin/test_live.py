"""``/status/stream``: what viewers are told of all nodes, and that none of them costs more than it takes."""

import json
from typing import Any

import pytest

from pico_core.access.secret import Secret
from pico_core.boundary import (
    Abort,
    Accepted,
    Connect,
    Connected,
    ConnectFailed,
    EofReceived,
    Received,
    WritingPaused,
    WritingResumed,
)  # fmt: skip
from pico_core.config.auth import AuthConfig
from pico_core.config.ports import AdminConfig
from pico_core.config.server import ServerConfig
from pico_core.records import Record
from pico_core.server.admin.live import EVERY_S, FIRST_S, MAX_ASKED, MAX_TOLD_NODES, MAX_VIEWERS
from tests.core.access.keys import NOW_S, SECRET, bearer, signed
from tests.core.server.admin.scene import OPERATOR, admin_play, ask, joins, node_appears
from tests.core.server.tokens import ADMIN, playing
from tests.play import Play, sent

STREAM = ask("/status/stream")


def cluster(*nodes: int) -> Play:
    play = admin_play()
    for number in nodes:
        host = f"10.0.0.{number}"
        node_appears(play, f"node-{number}", host, proxy_addr=f"{host}:8000", admin_addr=f"{host}:8002")
    return play


def events(data: bytes) -> list[tuple[str, Any]]:
    """Return the events of a body in chunks, each chunk whole."""
    text, rest = b"", data.partition(b"\r\n\r\n")[2] if data.startswith(b"HTTP/") else data
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        text, rest = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    found = []
    for block in text.decode().split("\n\n")[:-1]:
        kind, data_line = block.split("\n")
        found.append((kind.removeprefix("event: "), json.loads(data_line.removeprefix("data: "))))
    return found


def dials(commands: list[Record]) -> list[Connect]:
    return [each for each in commands if isinstance(each, Connect) and each.port == 8002]


def answer(play: Play, dial: Connect, body: bytes, status: int = 200) -> None:
    play >> Connected(dial.connection, dial.host, 8002)
    kind = b"application/json"
    play >> Received(
        dial.connection,
        b"HTTP/1.1 %d \r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind, len(body), body),
    )


def test_a_viewer_is_told_of_this_node_at_once_and_then_of_all() -> None:
    play = cluster(2, 3) >> STREAM
    done = play.take()
    data = sent(done, OPERATOR)
    head = data.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n")
    assert b"\r\nTransfer-Encoding: chunked" in head
    assert [(kind, told["node"]) for kind, told in events(data)] == [("here", "node-1")]
    second, third = sorted(dials(done), key=lambda each: each.host)
    answer(play, second, b'{"node":"node-2"}')
    play >> ConnectFailed(third.connection, "connection refused")
    play.take()
    play >> FIRST_S
    told = events(sent(play.take(), OPERATOR))
    assert told[:2] == [
        ("node", {"node": "node-2"}),
        ("silent", {"node": "node-3", "why": "does not answer: connection refused"}),
    ]
    assert [kind for kind, _ in told[2:]] == ["here"]
    play >> FIRST_S + EVERY_S
    assert [kind for kind, _ in events(sent(play.take(), OPERATOR))] == ["here"], "what is not new is not told again"


@pytest.mark.parametrize(
    ("status", "body"), [(401, b'{"error":"x"}'), (200, b'{"node":\n"x"}'), (200, b'"' + b"x" * 70_000 + b'"')]
)
def test_what_is_not_an_overview_is_not_passed_on(status: int, body: bytes) -> None:
    play = cluster(2) >> STREAM
    (dial,) = dials(play.take())
    answer(play, dial, body, status)
    play.take()
    play >> FIRST_S
    assert [kind for kind, _ in events(sent(play.take(), OPERATOR))] == ["silent", "here"]


def test_viewers_share_the_questions_and_nobody_is_asked_without_one() -> None:
    play = joins(cluster(2), 23) >> STREAM >> ask("/status/stream", 23)
    (dial,) = dials(play.take())
    answer(play, dial, b'{"node":"node-2"}')
    play.take()
    play >> FIRST_S
    done = play.take()
    assert len(dials(done)) == 1
    for viewer in (OPERATOR, 23):
        assert [kind for kind, _ in events(sent(done, viewer))] == ["node", "here"]
    play >> EofReceived(OPERATOR) >> EofReceived(23) >> FIRST_S + 2 * EVERY_S
    play.take()
    play >> FIRST_S + 9 * EVERY_S
    assert dials(play.take()) == []


def test_a_viewer_that_does_not_read_is_dropped() -> None:
    play = cluster() >> STREAM
    play.take()
    play >> WritingPaused(OPERATOR) >> FIRST_S / 2 >> WritingResumed(OPERATOR) >> FIRST_S
    assert [kind for kind, _ in events(sent(play.take(), OPERATOR))] == ["here"], "one that reads slowly is not"
    play >> WritingPaused(OPERATOR) >> FIRST_S + EVERY_S
    assert Abort(OPERATOR) in play.take()
    play >> FIRST_S + 5 * EVERY_S
    assert sent(play.take(), OPERATOR) == b""


def test_a_stream_ends_in_order_and_a_viewer_has_nothing_to_say() -> None:
    play = cluster() >> STREAM
    play.take()
    play >> 599.5
    assert not sent(play.take(), OPERATOR).endswith(b"0\r\n\r\n")
    play >> 600.0
    assert sent(play.take(), OPERATOR).endswith(b"0\r\n\r\n")
    play = cluster() >> STREAM >> Received(OPERATOR, b"GET / HTTP/1.1\r\n")
    play.take()
    play >> FIRST_S + EVERY_S
    assert sent(play.take(), OPERATOR) == b""


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_stream_lasts_no_longer_than_its_token(goes_on: bool) -> None:
    auth = AuthConfig(hmac_secret_key=Secret(SECRET), leeway_s=0.0, disable_disconnect_on_expiry=goes_on)
    play = joins(playing(ServerConfig(admin=AdminConfig(auth=auth)))) >> watch(60)
    play.take()
    play >> 59.0
    assert not sent(play.take(), OPERATOR).endswith(b"0\r\n\r\n")
    play >> 60.5
    assert sent(play.take(), OPERATOR).endswith(b"0\r\n\r\n") is not goes_on


def test_nodes_are_asked_with_the_token_of_a_page_that_is_there() -> None:
    play = joins(playing(ADMIN))
    node_appears(play, "node-2", "10.0.0.2", proxy_addr="10.0.0.2:8000", admin_addr="10.0.0.2:8002")
    play >> watch(600)
    (dial,) = dials(play.take())
    answer(play, dial, b'{"node":"node-2"}')
    joins(play, 23) >> watch(60, 23) >> EofReceived(23)
    play.take()
    play >> FIRST_S
    (dial,) = dials(play.take())
    play >> Connected(dial.connection, dial.host, 8002)
    assert shown(600) in sent(play.take(), dial.connection)


def shown(lasts_s: float) -> bytes:
    return bearer(signed({"exp": NOW_S + lasts_s}))


def watch(lasts_s: float, connection: int = OPERATOR) -> Received:
    """Ask for the stream with a token that lasts so long."""
    head = b"GET /status/stream HTTP/1.1\r\nHost: pico:8002\r\nAuthorization: %b\r\n\r\n"
    return Received(connection, head % shown(lasts_s))


def test_places_for_viewers() -> None:
    play = cluster()
    for viewer in range(101, 101 + 2 * MAX_VIEWERS, 2):
        play >> Accepted(viewer, "admin", "192.0.2.3", 6000) >> ask("/status/stream", viewer)
        assert b"200 OK" in sent(play.take(), viewer)
    play >> STREAM
    assert sent(play.take(), OPERATOR).startswith(b"HTTP/1.1 503 ")
    play >> EofReceived(101)
    play.take()
    joins(play, 203)
    play >> ask("/status/stream", 203)
    assert b"200 OK" in sent(play.take(), 203)


def test_a_large_cluster_is_asked_in_turn() -> None:
    play = cluster(*range(2, 40)) >> STREAM
    asked: set[str] = set()
    for turn in range(3):
        found = dials(play.take())
        assert len(found) == MAX_ASKED
        asked |= {each.host for each in found}
        for each in found:
            play >> ConnectFailed(each.connection, "x")
        play.take()
        play >> FIRST_S + turn * EVERY_S
    assert len(asked) == MAX_TOLD_NODES - 1


def test_head_gets_the_fields_of_the_stream_and_the_next_request_its_answer() -> None:
    play = cluster() >> STREAM
    fields = sent(play.take(), OPERATOR).partition(b"\r\n\r\n")[0]
    head = b"HEAD /status/stream HTTP/1.1\r\nHost: pico:8002\r\n\r\n"
    play = cluster() >> Received(OPERATOR, head) >> ask("/health")
    first, _, second = sent(play.take(), OPERATOR).partition(b"\r\n\r\n")
    assert first == fields
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
