"""A line for each request: the inside of a JSON object, whatever clients write into their requests."""

import json
import re

from pico_core.boundary import Received, Send
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, OK, QUIET, client_joins, proxy_play
from tests.play import Data, Open, Play


def lines(play: Play) -> list[dict[str, object]]:
    assert play
    return [json.loads(b"{" + line + b"}") for line in play.access_log]


def the_id(play: Play) -> str:
    """Return the ID in the line of the only request."""
    (line,) = lines(play)
    request_id = str(line["request_id"])
    assert re.fullmatch("[0-9a-f]{16}", request_id)
    return request_id


def test_what_is_told() -> None:
    play = proxy_play() >> Received(CLIENT, GET.replace(b"/", b"/path?token=secret", 1))
    play.take()
    play >> 1.25 >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    assert lines(play) == [
        {
            "subsystem": "proxy.access",
            "method": "GET",
            "path": "/path",
            "endpoint": "e1",
            "status": 200,
            "client": "192.0.2.7",
            "duration_ms": 1250.0,
            "request_bytes": 0,
            "response_bytes": 2,
            "request_id": the_id(play),
            "hop": "entry",
            "tries": 1,
        }
    ]


def test_what_is_not_a_request_is_told_as_well() -> None:
    play = proxy_play() >> Received(CLIENT, b"\x00")
    play.take()
    (line,) = lines(play)
    assert re.fullmatch("[0-9a-f]{16}", str(line.pop("request_id")))
    told = {"reason": "bad-request", "by": "server"}
    assert line == {"subsystem": "proxy.access", "status": 400, "client": "192.0.2.7", **told}


def test_nothing_breaks_out_of_its_string() -> None:
    play = proxy_play() >> Received(
        CLIENT, b'GET /","status":200,"a":"\\ HTTP/1.1\r\nHost: x\r\nx-pico-endpoint: "\\"\r\n\r\n'
    )
    play.take()
    (line,) = lines(play)
    assert (line["path"], line["endpoint"], line["status"]) == ('/","status":200,"a":"\\', '"\\"', 502)


def test_the_lines_of_a_turn_are_one_batch() -> None:
    bad = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    play = client_joins(proxy_play(), 5) >> Received(CLIENT, bad) >> Received(5, bad)
    play.take()
    assert [line["status"] for line in lines(play)] == [400, 400]


def test_no_lines_where_none_are_wanted() -> None:
    play = proxy_play(QUIET) >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    assert play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)
    assert len((play >> Received(CLIENT, b"\x00")).take()) == 2
    assert play.access_log == []
