"""The records that the inspector makes of requests and responses."""

import gzip
import json
from typing import Any

import pytest

from pico_core.boundary import Connect, Connected, ConnectFailed, ConnectionLost, Received, Send
from pico_core.config.inspect import MIB
from tests.core.agent.inspector.scene import again, document, inspected, served, told
from tests.core.agent.scene import GET, OK, SERVER, SERVICE, asked
from tests.play import Data, Open, Play, Reset

LINES = b"Host: e1.example.com\r\nX-Forwarded-For: 192.0.2.7\r\n"


def request(line: str, body: bytes = b"", *fields: str, media_type: str = "application/json") -> bytes:
    more = "".join(f"{each}\r\n" for each in fields)
    typed = f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"{line} HTTP/1.1\r\n".encode() + LINES + (more + typed).encode() + b"\r\n" + body


def response(body: bytes, *fields: str, status: str = "200 OK", media_type: str = "application/json") -> bytes:
    more = "".join(f"{each}\r\n" for each in fields)
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def rows(play: Play, filtered: str = "") -> list[dict[str, Any]]:
    return list(document(play, "/api/requests" + (f"?filter={filtered}" if filtered else ""))["rows"])


def test_a_request_with_its_response() -> None:
    play = served(inspected(), request("POST /a?x=1", b'{"n":1}'), response(b'{"ok":true}'))
    (row,) = rows(play)
    assert (row["id"], row["endpoint"], row["method"], row["target"]) == (1, "e1", "POST", "/a?x=1")
    assert (row["status"], row["state"], row["request_bytes"], row["response_bytes"]) == (200, "whole", 7, 11)
    found = document(play, "/api/requests/1")
    assert ["X-Forwarded-For", "192.0.2.7"] in found["request"]["fields"]
    assert found["request"]["body"]["kind"] == "json"
    assert found["request"]["body"]["text"] == '{\n  "n": 1\n}'
    assert found["response"]["body"]["raw"] == '{"ok":true}'
    assert found["cannot_replay"] == ""


def test_what_passes_is_not_changed() -> None:
    sent = request("POST /a", b'{"password":"CANARY-1"}', "Authorization: Bearer CANARY-2")
    play = asked(inspected(), 2, sent)
    (dial,) = play.take()
    assert isinstance(dial, Connect)
    play >> Connected(dial.connection, "127.0.0.1", 3000)
    (onward,) = play.take()
    assert isinstance(onward, Send)
    assert b"Bearer CANARY-2" in bytes(onward.data)  # type: ignore[arg-type]
    assert bytes(onward.data).endswith(b'{"password":"CANARY-1"}')  # type: ignore[arg-type]
    assert play >> Received(SERVICE, OK) << Data(SERVER, 2, OK)


def test_time_is_told_by_its_parts() -> None:
    play = asked(inspected(), 2, request("POST /a", b"0123456789", media_type="text/plain")[:-4])
    play >> 1.0 >> Data(SERVER, 2, b"6789")
    play.take()
    play >> Connected(SERVICE, "127.0.0.1", 3000) >> 3.0 >> Received(SERVICE, OK[:-1])
    play.take()
    assert rows(play)[0]["state"] == "live"
    play >> 3.5 >> Received(SERVICE, OK[-1:])
    play.take()
    found = document(play, "/api/requests/1")
    assert found["timing"] == {"request_ms": 1000.0, "wait_ms": 2000.0, "response_ms": 500.0}
    assert found["request"]["body"]["text"] == "0123456789"
    assert found["response"]["body"]["text"] == "ok"


def test_requests_of_one_stream_are_records_of_their_own() -> None:
    play = served(inspected(), GET)
    play = again(play, GET.replace(b"GET /", b"GET /2"), OK.replace(b"ok", b"no"))
    assert [row["target"] for row in rows(play)] == ["/", "/2"]
    assert document(play, "/api/requests/2")["response"]["body"]["text"] == "no"


def test_a_chunked_body() -> None:
    head = b"POST / HTTP/1.1\r\n" + LINES + b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    play = served(inspected(), head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert document(play, "/api/requests/1")["request"]["body"]["text"] == "abcde"


def test_coded_bodies_are_shown_decoded() -> None:
    body = gzip.compress(b'{"a":[1,2]}')
    play = served(inspected(), GET, response(body, "Content-Encoding: gzip"))
    shown = document(play, "/api/requests/1")["response"]["body"]
    assert (shown["raw"], shown["codings"], shown["size"]) == ('{"a":[1,2]}', ["gzip"], len(body))


def test_what_cannot_be_decoded_is_not_kept() -> None:
    play = served(inspected(), GET, response(b"xxxxxxxx", "Content-Encoding: br"))
    shown = document(play, "/api/requests/1")["response"]["body"]
    assert (shown["kind"], shown["size"], shown["kept"]) == ("none", 8, 0)
    assert "content coding" in shown["note"]


def test_a_form_is_shown_as_pairs_and_bytes_as_a_dump() -> None:
    form = request("POST /", b"a=1&b=%20x", media_type="application/x-www-form-urlencoded")
    play = served(inspected(), form, response(b"\x00\x01abc", media_type="image/png"))
    found = document(play, "/api/requests/1")
    assert found["request"]["body"]["pairs"] == [["a", "1"], ["b", " x"]]
    assert found["response"]["body"]["kind"] == "binary"
    assert found["response"]["body"]["text"].startswith("000000  00 01 61 62 63")


def test_a_service_that_cannot_be_reached() -> None:
    play = asked(inspected()) << Connect(SERVICE, "127.0.0.1", 3000, 10.0)
    play >> ConnectFailed(SERVICE, "connection refused")
    play.take()
    (row,) = rows(play, "is:failed")
    assert (row["status"], row["reason"], row["state"]) == (502, "service-refused", "whole")


def test_a_client_that_leaves_and_a_service_that_breaks_off() -> None:
    play = asked(inspected()) >> Reset(SERVER, 2)
    play.take()
    assert rows(play)[0]["reason"] == "client-left"
    assert rows(play)[0]["state"] == "whole"
    play = asked(inspected())
    play.take()
    play >> Connected(SERVICE, "127.0.0.1", 3000) >> Received(SERVICE, OK[:-1]) >> ConnectionLost(SERVICE, "reset")
    play.take()
    (row,) = rows(play)
    assert (row["state"], row["status"]) == ("incomplete", 200)


def test_an_upgrade_is_recorded_without_its_stream() -> None:
    head = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    play = asked(inspected(), 2, head)
    play.take()
    play >> Connected(SERVICE, "127.0.0.1", 3000)
    play >> Received(SERVICE, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    play >> Data(SERVER, 2, b"CANARY") >> Received(SERVICE, b"to the client") >> ConnectionLost(SERVICE, "")
    play.take()
    (row,) = rows(play)
    assert (row["status"], row["request_bytes"], row["response_bytes"]) == (101, 6, 13)
    assert "upgrade" in document(play, "/api/requests/1")["cannot_replay"]


def test_the_oldest_leave() -> None:
    play = served(inspected(max_requests=2), GET)
    for number in range(3):
        again(play, GET.replace(b"GET /", b"GET /%d" % number))
    found = document(play, "/api/requests")
    assert [row["target"] for row in found["rows"]] == ["/1", "/2"]
    assert (found["kept"], found["dropped"]) == (2, 2)
    assert told(play, "/api/requests/1")[0] == 404


def test_a_long_body_is_cut_and_said_to_be() -> None:
    play = served(inspected(max_body_bytes=4), request("POST /", b"abcdef", media_type="text/plain"))
    found = document(play, "/api/requests/1")
    shown = found["request"]["body"]
    assert (shown["text"], shown["size"], shown["kept"], shown["is_cut"]) == ("abcd", 6, 4, True)
    assert "only the first 4 of 6 bytes" in found["cannot_replay"]
    assert told(play, "/api/requests/1/replay", post=b"")[0] == 409


def test_memory_is_bounded_by_all_bodies_together() -> None:
    play = inspected(max_body_bytes=MIB // 2, max_memory_bytes=MIB)
    big = b"x" * 400_000
    for stream in range(2, 12, 2):
        served(play, request("POST /", big, media_type="text/plain"), stream=stream)
    found = document(play, "/api/requests")
    assert found["kept"] == 2


def test_requests_in_flight_give_their_memory_back_too() -> None:
    play = inspected(max_body_bytes=MIB // 2, max_memory_bytes=MIB)
    big = request("POST /", b"x" * 500_000, media_type="text/plain")[:-1]
    for stream in range(2, 12, 2):
        play >> Open(SERVER, stream) >> Data(SERVER, stream, big)
        play.take()
    found = document(play, "/api/requests")
    assert found["kept"] == 3, "a window of 256 KiB has come of each"
    assert found["dropped"] == 2


def test_nothing_new_is_told_in_a_word() -> None:
    play = served(inspected(), GET)
    version = document(play, "/api/requests")["version"]
    assert document(play, f"/api/requests?after={version}") == {"version": version}
    again(play, GET)
    assert len(document(play, f"/api/requests?after={version}")["rows"]) == 2


def test_clear() -> None:
    play = served(inspected(), GET)
    document(play, "/api/clear", post=b"{}")
    assert rows(play) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("status:5xx", [2]),
        ("status:200", [1, 3]),
        ("-status:2xx", [2]),
        ("status:>299", [2]),
        ("method:POST", [2]),
        ("path:/api", [2, 3]),
        ("path:/api%20-method:post", [3]),
        ("type:json", [2]),
        ("size:>2", [2]),
        ("ms:<1000", [1, 2, 3]),
        ("endpoint:E1", [1, 2, 3]),
        ("host:example", [1, 2, 3]),
        ("is:failed", [2]),
        ("is:replay", []),
        ("is:live", []),
        ("API", [2, 3]),
        ("nothing", []),
    ],
)
def test_filters(text: str, found: list[int]) -> None:
    play = served(inspected(), GET)
    again(play, request("POST /api/a", b"{}"), response(b'{"e":1}', status="500 Internal Server Error"))
    again(play, GET.replace(b"GET /", b"GET /api/b"))
    assert [row["id"] for row in rows(play, text)] == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("colour:red", "there is no 'colour:' in filters; there are status:, method:"),
        ("status:", "'status:' wants a value"),
        ("ms:soon", "wants a number such as 500"),
        ("is:odd", "'is:' wants one of"),
        ("x" * 1001, "at most 1000 characters"),
    ],
)
def test_what_is_not_a_filter(text: str, reason: str) -> None:
    status, _, body = told(inspected(), f"/api/requests?filter={text}")
    assert status == 400
    assert reason in json.loads(body)["error"]
