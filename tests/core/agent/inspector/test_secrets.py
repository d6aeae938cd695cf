"""Credentials are neither recorded nor shown: canaries at every usual place."""

import codecs
import contextlib
import gc
import gzip
import json
import zlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from pico_core.agent.inspector import redaction
from pico_core.agent.inspector.redaction import MAX_NAMES, MAX_PARTS, HiddenValues, Redaction, UnsearchableError
from pico_core.agent.inspector.searching import STEP_BYTES, finished
from pico_core.agent.inspector.store import Store
from pico_core.agent.machine import AgentMachine
from pico_core.timers import Timers
from tests.core.agent.inspector.scene import document, inspected, served, told
from tests.core.agent.inspector.test_recording import request, response
from tests.core.agent.scene import GET, SERVER, asked
from tests.play import Data, Play

BOUNDARY = "multipart/form-data; boundary=b"
PART = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n--b--\r\n'
FORM = "application/x-www-form-urlencoded"

FIELDS = (
    "Authorization: Bearer CANARY0001",
    "authorization: Basic dXNlcjpDQU5BUlkwMDAy",
    "Proxy-Authorization: CANARY0003",
    "Cookie: a=CANARY0004; b=CANARY0005",
    "X-Api-Key: CANARY0006",
    "X-Auth-Token: CANARY0007",
    "X-Amz-Security-Token: CANARY0008",
    "Referer: https://user:CANARY0009@h.example/x?access_token=CANARY0010&y=1",
    "X-Session-Id: CANARY0011",
    "X-Custom: CANARY0012",
    "X-Auth-Key: CANARY0013",
    "Origin-Url: https://h.example/#id_token=CANARY0014",
)
OTHER_FIELDS = (
    "Referer: https://h.example/a;jsessionid=CANARY0015/b",
    "Sec-WebSocket-Protocol: chat, bearer, CANARY0016",
    "sec-websocket-protocol: base64url.bearer.authorization.k8s.io.CANARY0017, base64.binary.k8s.io",
    "Sec-WebSocket-Protocol: v1.graphql, eyJDQU5BUlkwMDE4.CANARY0018",
    "Sec-WebSocket-Protocol: access_token, CANARY0019, v2",
)
TARGET = (
    "/x;jsessionid=CANARY0106/secret=CANARY0107;v=1"
    "?token=CANARY0101&api_key=CANARY0102&sig=CANARY0103&code=CANARY0104&apikey=CANARY0105&y=2"
)

REQUESTS = (
    ("application/json", b'{"password": "CANARY0201", "user": {"access_token":"CANARY0202"}, "pin" : "CANARY0203"}'),
    (
        "application/json",
        b'{"tokens": ["CANARY0204", "x"], "secret": {"a": "CANARY0205"}, "x": "{\\"token\\":\\"CANARY0206\\"}"',
    ),
    ("application/json", b'{"client_secret": "CANARY0207'),
    (FORM, b"user=1&password=CANARY0208&refresh_token=CANARY0209&pwd=CANARY0210"),
    (BOUNDARY, PART.format("password", "CANARY0211").encode()),
    ("text/html", b'<input name="csrf_token" value="CANARY0212"><p>the cookie CANARY0004</p>'),
    ("text/xml", b"<a><Password>CANARY0213</Password><secret x='1'>CANARY0214</secret></a>"),
    ("text/plain", b"Authorization: Bearer CANARY0001\nSet-Cookie: s=CANARY0215\nPassword=CANARY0216"),
    ("application/json", b'{"credentials": {"a": {"b": "}", "c": "CANARY0217"}, "d": ["CANARY0218"]}, "n": 1}'),
    ("application/json", b'{"tokens": [{"x": ["]"]}, "CANARY0219"], "sessions": [["CANARY0220"'),
    (FORM, b"pass%77ord=CANARY0221&user%5Btoken%5D=CANARY%30222&x=CANARY0222"),
    ("text/xml", b"<a><Password> <![CDATA[CANARY<0223]]></Password><token><![CDATA[CANARY0224"),
    ("application/octet-stream", b"\x00\x01CANARY0001\x00"),
    ("application/grpc", b"\x00\x00\x00\x00\x20\x0a\x1e" + b'{"jwt":"CANARY0225","pw":"CANARY0226"}\x12\x01'),
    ("application/json", '{"jwt":"é-CANARY0227","ü":1,"pw":"ö-CANARY0228"}'.encode()),
    ("application/json", b'{"\\u0070assword":"CANARY0229","url":"/?a=1\\u0026token=CANARY0230"}'),
    ("application/json", b'{"a":"C\\u0041NARY0001"}'),
    ("application/json", b'{"a":"{\\u0022token\\u0022:\\u0022CANARY0231\\u0022}"}'),
    ("application/json; charset=UTF-16", '{"password":"CANARY0232"}'.encode("utf-16-be")),
    ("application/json; charset=utf-16le", '{"é":1,"password":"CANARY0233"}'.encode("utf-16-le")),
    ("application/json", '{"password":"CANARY0234"}'.encode("utf-16")),
    ("text/plain", codecs.BOM_UTF16_BE + "password=CANARY0235\n".encode("utf-16-be")),
    ("application/json", '{"pass\\u0077ord":"CANARY0236"}'.encode("utf-16-le")),
)
RESPONSE_FIELDS = (
    "Set-Cookie: s=CANARY0301; Path=/; HttpOnly",
    "Location: /cb?code=CANARY0302&id_token=CANARY0303#access_token=CANARY0304",
    "Content-Location: https://h.example/cb#access_token=CANARY0305&state=1",
    "X-Echo: Bearer CANARY0001",
    "WWW-Authenticate: Bearer",
)


def reached(root: object) -> Iterator[object]:
    """Give every object that an object reaches, classes, modules and the machine's timers aside."""
    seen: set[int] = set()
    waiting: list[object] = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, (type, ModuleType, Timers)):
            continue
        seen.add(id(each))
        yield each
        if not callable(each):
            waiting += gc.get_referents(each)


def memory_of(root: object) -> bytes:
    """Return all texts and bytes that an object reaches."""
    texts = (each.encode() if isinstance(each, str) else each for each in reached(root))
    return b"\n".join(bytes(each) for each in texts if isinstance(each, (bytes, bytearray, memoryview)))


def store_of(play: Play) -> Store:
    assert isinstance(play.machine, AgentMachine)
    inspector = play.machine.inspector
    assert inspector is not None
    return inspector.store


def everything(play: Play) -> bytes:
    """Return all answers about the records, and the memory of the store."""
    found = [memory_of(store_of(play))]
    for path in ("/api/requests", "/api/har"):
        found.append(told(play, path)[2])
    for number in store_of(play).records:
        for path in ("", "/request-body", "/response-body"):
            found.append(told(play, f"/api/requests/{number}{path}")[2])
    return b"\n".join(found)


@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
def test_canaries_are_nowhere(coding: str) -> None:
    play = inspected(redact=("x-custom", "beverage"))
    codings = (f"Content-Encoding: {coding}",) if coding else ()
    for place, (media_type, body) in enumerate(REQUESTS):
        coded = gzip.compress(body) if coding == "gzip" else zlib.compress(body) if coding else body
        sent = request(f"POST {TARGET}", coded, *FIELDS, *codings, media_type=media_type)
        answer = response(coded, *RESPONSE_FIELDS, *codings, media_type=media_type)
        served(play, sent, answer, stream=2 + 2 * place)
    told_all = everything(play)
    assert b"CANARY" not in told_all, told_all[told_all.index(b"CANARY") - 80 :][:120]
    assert b"dXNlcjpDQU5BUlkwMDAy" not in told_all
    assert "CANARY".encode("utf-16-le") not in told_all
    assert "CANARY".encode("utf-16-be") not in told_all
    assert len(store_of(play).records) == len(REQUESTS)
    assert b"HttpOnly" not in told_all, "a cookie is hidden with all that belongs to it"
    assert b"y=2" in told_all


def test_not_while_a_body_is_coming_either() -> None:
    play = asked(inspected(), 2, request("POST /", b'{"password": "CANARY0001"   }')[:-3])
    play.take()
    shown = document(play, "/api/requests/1")["request"]["body"]
    assert shown["text"] == '{"password": "REDACTED" '
    for path in ("/api/har", "/api/requests/1/request-body"):
        assert b"CANARY" not in told(play, path)[2]
    play >> Data(SERVER, 2, b"  }")
    play.take()


def test_a_value_that_is_cut_in_the_middle() -> None:
    sent = request("POST /", b"it is CANARY-LONG-VALUE", "Authorization: CANARY-LONG-VALUE", media_type="text/plain")
    play = served(inspected(max_body_bytes=14), sent)
    assert document(play, "/api/requests/1")["request"]["body"]["text"] == "it is "
    assert b"CANARY" not in everything(play)


def test_what_is_not_a_secret_stays() -> None:
    body = b'{"max_tokens": 100, "n": 1, "signature": "abc", "inside": "x", "passed": true}'
    play = served(inspected(), request("POST /?page=1&keyboard=2", body, "X-Hub-Signature-256: sha256=1"))
    found = document(play, "/api/requests/1")
    assert found["request"]["body"]["raw"].encode() == body
    assert found["target"] == "/?page=1&keyboard=2"
    assert ["X-Hub-Signature-256", "sha256=1"] in found["request"]["fields"]


def test_what_stands_behind_a_credential_of_many_parts_stays() -> None:
    body = b'{"credentials": {"a": {"b": "}"}}, "tokens": [["x"]], "n": 1}'
    shown = finished(Redaction().body(body, b"application/json", HiddenValues()))
    assert shown == b'{"credentials": "REDACTED", "tokens": "REDACTED", "n": 1}'


def test_a_credential_of_too_many_parts() -> None:
    body = b'{"tokens": [' + b"[]," * MAX_PARTS + b"1]}"
    with pytest.raises(UnsearchableError, match="too many parts"):
        finished(Redaction().body(body, b"application/json", HiddenValues()))


def test_secrets_are_shown_where_that_is_wanted() -> None:
    play = served(inspected(show_secrets=True), request("POST /?token=SHOWN", b'{"password":"SHOWN"}', "Cookie: SHOWN"))
    found = document(play, "/api/requests/1")
    assert found["target"] == "/?token=SHOWN"
    assert ["Cookie", "SHOWN"] in found["request"]["fields"]
    assert document(play, "/api/requests")["shows_secrets"]


def test_a_body_with_too_many_names_is_not_kept() -> None:
    play = served(inspected(), GET, response(b'"token":"x",' * (MAX_NAMES + 1)))
    shown = document(play, "/api/requests/1")["response"]["body"]
    assert (shown["kept"], shown["note"]) == (0, "it has too many names of credentials to look at")


@pytest.mark.parametrize(
    "body",
    [
        b'token="' * 9_000,
        b'token"\r\nx\r\n' * 9_000,
        b'name="token"\r\n\r\n' * 5_000,
        b"<token " * 9_000,
        b"<token><![CDATA[" * 9_000,
        (b'"token":[' + b"[]," * 100 + b"]") * 9_000,
        b'"token":[' * 9_000,
        b'"token":["' * 9_000,
        b"a" * (4 << 20),
    ],
)
def test_no_body_takes_long(body: bytes) -> None:
    """A second would stop all requests of an agent; the bound is far from what it takes."""
    import time

    began = time.process_time()
    with contextlib.suppress(UnsearchableError):
        finished(Redaction().body(body, b"application/json", HiddenValues()))
    assert time.process_time() - began < 1.0


def test_many_values_are_bounded() -> None:
    values = HiddenValues()
    for number in range(1_000):
        values.add(b"secret-%d" % number)
    assert len(values.found) == redaction.MAX_VALUES


def test_an_archive_of_coded_bytes_is_not_a_secret() -> None:
    bomb = gzip.compress(b"0" * 3_000_000)
    play = served(
        inspected(max_body_bytes=100_000), GET, response(bomb, "Content-Encoding: gzip", media_type="text/plain")
    )
    shown: dict[str, Any] = document(play, "/api/requests/1")["response"]["body"]
    assert (shown["kept"], shown["is_cut"]) == (100_000, True)


def test_paths_and_subprotocols_have_no_credentials_either() -> None:
    sent = request("GET /", b"", *OTHER_FIELDS, "X-Echo: CANARY0017 CANARY0018")
    told_all = everything(served(inspected(), sent))
    assert b"CANARY" not in told_all, told_all[told_all.index(b"CANARY") - 80 :][:120]


def test_a_short_name_in_a_file_is_not_one() -> None:
    noise = bytes(range(255, 127, -1))
    data = noise.join((b"", b"jwt=", b"<pw>", b'"pw"=', b"JWT: ", b""))
    assert finished(Redaction().body(data, b"multipart/form-data", HiddenValues())) is data


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-8"])
def test_a_body_is_shown_in_its_own_encoding(encoding: str) -> None:
    text = json.dumps({"a": "é", "password": "CANARY0001", "b": "😀"})
    shown = finished(Redaction().body(text.encode(encoding), b"application/json", HiddenValues()))
    assert json.loads(shown.decode(encoding)) == {"a": "é", "password": "REDACTED", "b": "😀"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-8"])
def test_a_spelling_without_credentials_stays_as_it_is(encoding: str) -> None:
    data = '{"\\u00e9\\u0041":"\\u0022\\u005c"}'.encode(encoding)
    assert finished(Redaction().body(data, b"application/json", HiddenValues())) is data


def test_an_escape_at_the_end_of_a_step() -> None:
    for before in range(STEP_BYTES - 12, STEP_BYTES + 4):
        data = b'{"a":"%b","p\\u0061ssword":"CANARY"}' % (b"x" * (before - 10))
        assert b"CANARY" not in finished(Redaction().body(data, b"application/json", HiddenValues()))


def test_paths_and_subprotocols_without_credentials_stay() -> None:
    values = HiddenValues()
    assert Redaction().target(b"/a;v=1/b=2;c/?x=1#y", values) == b"/a;v=1/b=2;c/?x=1#y"
    lines = b"Sec-WebSocket-Protocol: chat, graphql-ws, v10.stomp\r\nAccept: a/b;q=0.9, c/d; charset=utf-8\r\n"
    assert Redaction().fields(lines, values) == lines
    assert not values.found


def test_names_are_remembered_within_a_bound_and_lines_are_not() -> None:
    judge = Redaction()
    for number in range(3 * redaction.REMEMBERED_NAMES):
        judge.fields(b"X-Field-%d: CANARY0401\r\n" % number, HiddenValues())
    kept = [each for each in reached(judge) if isinstance(each, bytes) and each.startswith(b"X-Field-")]
    assert 0 < len(kept) <= 2 * redaction.REMEMBERED_NAMES
    assert b"CANARY" not in memory_of(judge)
    values = HiddenValues()
    assert judge.fields(b"X-Field-1: CANARY0402\r\nCookie: a=CANARY0402\r\nX-Field-1:x\r\n", values) == (
        b"X-Field-1: REDACTED\r\nCookie: REDACTED\r\nX-Field-1:x\r\n"
    )


def test_a_name_of_the_configuration_may_have_any_letters() -> None:
    body = '{"Haupt-schlüssel": "CANARY0403"}'.encode()
    shown = finished(Redaction(["schlüssel"]).body(body, b"application/json", HiddenValues()))
    assert shown == '{"Haupt-schlüssel": "REDACTED"}'.encode()
