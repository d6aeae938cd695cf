"""A recorded request is sent to the service again, as it was or edited."""

import json
import random
from base64 import b64encode
from typing import Any

import pytest

from pico_core.agent.inspector.far_end import REPLAY_TIMEOUT_S
from pico_core.agent.inspector.pages import MAX_REPLAYS
from pico_core.boundary import Abort, Connect, ConnectFailed, Received, ShutdownRequested
from tests.core.agent.inspector.scene import answered, document, inspected, served, told
from tests.core.agent.inspector.test_recording import LINES, request, response, rows
from tests.core.agent.scene import GET, OK
from tests.play import Play

UPLOAD_BYTES = 5 << 20


def replay(play: Play, number: int = 1, **edit: Any) -> tuple[int, dict[str, Any]]:
    status, _, body = told(play, f"/api/requests/{number}/replay", post=json.dumps(edit).encode() if edit else b"")
    return status, json.loads(body)


def multipart(size: int) -> tuple[str, bytes]:
    content = random.Random(7).randbytes(size)
    head = b'--pico\r\nContent-Disposition: form-data; name="upload"; filename="token.bin"\r\nContent-Type: a/b\r\n\r\n'
    return "multipart/form-data; boundary=pico", head + content + b"\r\n--pico--\r\n"


def test_an_upload_is_repeated_byte_for_byte() -> None:
    media_type, body = multipart(UPLOAD_BYTES)
    play = served(inspected(), request("POST /upload?x=1", body, "X-A: b", media_type=media_type))
    assert document(play, "/api/requests/1")["cannot_replay"] == ""
    assert replay(play) == (200, {"id": 2})
    sent = answered(play, response(b'{"ok":1}'))
    head, _, again = sent.partition(b"\r\n\r\n")
    assert again == body
    assert head.startswith(b"POST /upload?x=1 HTTP/1.1\r\nHost: e1.example.com\r\n")
    for line in (b"X-A: b", b"Content-Length: %d" % len(body), b"Content-Type: multipart/form-data; boundary=pico"):
        assert line.lower() in head.lower().split(b"\r\n")
    assert b"X-Forwarded-For: 192.0.2.7" in head
    assert b"X-Pico-Replay: 1" in head
    new = document(play, "/api/requests/2")
    assert (new["replay_of"], new["status"], new["request_bytes"]) == (1, 200, len(body))
    assert new["response"]["body"]["raw"] == '{"ok":1}'
    assert [row["id"] for row in rows(play, "is:replay")] == [2]


def test_the_tunnel_has_nothing_of_it() -> None:
    play = served(inspected(), GET)
    replay(play)
    answered(play)
    assert play.idle


def test_a_chunked_body_is_repeated_with_its_length() -> None:
    head = b"POST / HTTP/1.1\r\n" + LINES + b"Transfer-Encoding: chunked\r\n\r\n"
    play = served(inspected(), head + b"3\r\nabc\r\n0\r\n\r\n")
    replay(play)
    sent = answered(play)
    assert b"\r\nContent-Length: 3\r\n" in sent
    assert sent.endswith(b"\r\n\r\nabc")
    assert b"chunked" not in sent


def test_an_edited_request() -> None:
    play = served(inspected(), request("POST /a", b'{"password":"x1"}', "Cookie: c"))
    assert "edit it" in document(play, "/api/requests/1")["cannot_replay"]
    assert replay(play)[0] == 409
    fields = [
        ["Host", "other.example"],
        ["Cookie", "mine"],
        ["Content-Type", "application/json"],
        ["Content-Length", "7"],
    ]
    assert replay(play, method="PUT", target="/b", fields=fields, body='{"ü":1}')[0] == 200
    sent = answered(play)
    assert sent.startswith(b"PUT /b HTTP/1.1\r\nHost: other.example\r\n")
    assert b"cookie: mine\r\n" in sent.lower()
    assert sent.endswith('\r\n\r\n{"ü":1}'.encode())
    assert b"Content-Length: 8\r\n" in sent


def test_a_body_of_bytes_can_be_given() -> None:
    play = served(inspected(), GET)
    replay(play, method="POST", body_base64=b64encode(b"\x00\xff").decode())
    assert answered(play).endswith(b"\r\n\r\n\x00\xff")


def test_fields_with_credentials_are_left_out_and_said_to_be() -> None:
    play = served(inspected(), request("GET /", b"", "Authorization: Bearer x", "X-A: 1"))
    assert document(play, "/api/requests/1")["left_out"] == ["Authorization"]
    replay(play)
    sent = answered(play)
    assert b"authorization" not in sent.lower()
    assert b"x-a: 1" in sent.lower()


def test_where_secrets_are_recorded_they_are_repeated() -> None:
    play = served(inspected(show_secrets=True), request("POST /?token=t1", b'{"password":"p"}', "Authorization: B x"))
    assert replay(play)[0] == 200
    sent = answered(play)
    assert b"/?token=t1" in sent
    assert b"Authorization: B x" in sent
    assert sent.endswith(b'{"password":"p"}')


@pytest.mark.parametrize(
    ("edit", "status", "reason"),
    [
        ({"target": "/a b"}, 400, "no blanks"),
        ({"target": "/a\r\nX: y"}, 400, "no blanks"),
        ({"target": ""}, 400, ""),
        ({"target": "/ü"}, 400, "ASCII"),
        ({"target": "/?token=REDACTED"}, 409, "credentials were taken out of its target"),
        ({"method": "CONNECT"}, 400, ""),
        ({"method": "G ET"}, 400, "no blanks"),
        ({"fields": [["A", "b\r\n\r\nGET / HTTP/1.1"]]}, 400, "line end"),
        ({"fields": [["A b", "c"]]}, 400, ""),
        ({"fields": [["A", "\u20ac"]]}, 400, "Latin-1"),
        ({"fields": "x"}, 400, "the body is not an edit"),
        ({"other": 1}, 400, "the body is not an edit"),
        ({"body_base64": "%"}, 400, "not base64"),
    ],
)
def test_what_is_not_a_request(edit: dict[str, Any], status: int, reason: str) -> None:
    play = served(inspected(), GET)
    found, answer = replay(play, **edit)
    assert found == status, answer
    assert reason in answer["error"]
    assert len(rows(play)) == 1


def test_an_upgrade_cannot_be_edited_in() -> None:
    play = served(inspected(), GET)
    assert replay(play, fields=[["Host", "h"], ["Connection", "upgrade"], ["Upgrade", "websocket"]])[0] == 200
    assert b"upgrade" not in answered(play).lower()


def test_a_service_that_is_away() -> None:
    play = inspected()
    served(play, GET, OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    replay(play)
    (dial,) = [each for each in play.take() if isinstance(each, Connect)]
    play >> ConnectFailed(dial.connection, "connection refused")
    assert play.idle
    (_, row) = rows(play)
    assert (row["status"], row["reason"], row["state"]) == (502, "service-refused", "whole")


def test_a_service_that_says_nothing_and_one_that_never_ends() -> None:
    play = served(inspected(), GET)
    replay(play)
    play.take()
    play >> 11.0
    play.take()
    assert rows(play)[1]["status"] == 504
    replay(play)
    answered(play, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    began = play.now
    play >> began + 8
    assert document(play, "/api/requests/3")["response"]["body"]["text"] == "data: 1\n\n"
    for later in range(10, int(REPLAY_TIMEOUT_S) + 10, 8):
        play >> began + later
        rows(play)
    assert any(isinstance(each, Abort) for each in play.take())
    row = rows(play)[2]
    assert (row["state"], row["reason"]) == ("incomplete", "client-left")


def test_only_some_at_once() -> None:
    play = served(inspected(), GET)
    for _ in range(MAX_REPLAYS):
        assert replay(play)[0] == 200
    assert replay(play)[0] == 503


def test_none_while_the_agent_stops() -> None:
    play = served(inspected(), GET) >> ShutdownRequested()
    assert replay(play)[0] == 409


def test_a_response_of_one_line_end() -> None:
    play = served(inspected(), GET)
    replay(play)
    answered(play, b"HTTP/1.1 204 No Content\r\n\r\n")
    assert rows(play)[1]["status"] == 204
    play >> Received(1, b"")
