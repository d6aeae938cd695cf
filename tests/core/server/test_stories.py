"""The memory of a node of requests that went wrong: bounded, and nothing of queries and header fields."""

import json
from typing import Any

from pico_core.boundary import Received
from tests.core.proxy.scene import AGENT, CLIENT, GET, OK, client_joins, proxy_play
from tests.core.server.admin.scene import ask, document, joins
from tests.play import Data, Open, Play, Reset, joined, node_of, server_play

NOBODY = GET.replace(b"e1.", b"nobody.")


def last_id(play: Play) -> str:
    return str(json.loads(b"{" + play.access_log[-1] + b"}")["request_id"])


def told(play: Play) -> dict[str, Any]:
    play.take()
    story = document(joins(play), f"/status/requests/{last_id(play)}")
    assert isinstance(story, dict)
    return story


def test_the_story_of_a_request() -> None:
    play = proxy_play() >> Received(
        CLIENT, GET.replace(b"/", b"/a?secret=1", 1).replace(b"\r\n\r\n", b"\r\nX: s3\r\n\r\n")
    )
    play.take()
    play >> 1.5 >> Reset(AGENT, 2) << Open(AGENT, 4)
    play.take()
    play >> 2.5 >> Reset(AGENT, 4) >> 9.0
    story = told(play)
    assert (story["method"], story["path"], story["endpoint"], story["client"]) == ("GET", "/a", "e1", "192.0.2.7")
    assert (story["status"], story["reason"], story["by"], story["hop"]) == (502, "no-tunnel", "server", "entry")
    assert [each["reason"] for each in story["attempts"]] == ["tunnel-lost", "tunnel-lost"]
    assert {each["via"] for each in story["attempts"]} == {"agent at 192.0.2.1"}
    assert 2500.0 <= story["duration_ms"] < 9000.0


def test_an_error_of_the_service_is_one_too() -> None:
    play = proxy_play() >> Received(CLIENT, GET)
    play.take()
    play >> Data(AGENT, 2, OK.replace(b"200 OK", b"404 Not Found"))
    story = told(play)
    assert (story["status"], story["reason"], story["by"]) == (404, "", "service")


def test_what_went_well_is_not_kept() -> None:
    play = proxy_play() >> Received(CLIENT, GET)
    play.take()
    play >> Data(AGENT, 2, OK)
    play.take()
    (sent,) = (joins(play) >> ask(f"/status/requests/{last_id(play)}")).take()
    assert b"unknown request" in joined(sent.data)  # type: ignore[attr-defined]


def test_the_memory_is_bounded() -> None:
    play = client_joins(server_play())
    long = NOBODY.replace(b"/", b"/" + b"x" * 5_000, 1)
    for _ in range(1_000 + 10):
        play >> Received(CLIENT, long)
        play.take()
    stories = list(node_of(play).facts.stories.failures())
    assert len(stories) == 1_000
    assert {len(story.path) for story in stories} == {128}
    assert stories[0].request_id == last_id(play)
    assert len(document(joins(play), "/status/requests")) == 100


def test_failures_of_an_endpoint_are_told_with_it() -> None:
    play = client_joins(server_play())
    play >> Received(CLIENT, NOBODY)
    play.take()
    outlook = document(joins(play), "/status/explain/NOBODY")
    assert isinstance(outlook, dict)
    assert (outlook["endpoint"], outlook["succeeds"], outlook["reason"]) == ("nobody", False, "no-tunnel")
    assert [story["reason"] for story in outlook["failures"]] == ["no-tunnel"]
