"""The archive is an HTTP Archive 1.2: every member that the specification requires, of the kind that it has there."""

import gzip
import json
import re
from typing import Any

import pytest

from pico_core.boundary import ConnectFailed
from tests.core.agent.inspector.scene import document, inspected, served, told
from tests.core.agent.inspector.test_recording import request, response
from tests.core.agent.scene import GET, OK, SERVICE, asked
from tests.play import Play

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
"""ISO 8601 with a time zone, as the specification has it."""

NUMBER = (int, float)
PAIR = {"name": str, "value": str}

REQUIRED: dict[str, Any] = {
    "log": {
        "version": str,
        "creator": {"name": str, "version": str},
        "entries": [
            {
                "startedDateTime": TIME,
                "time": NUMBER,
                "request": {
                    "method": str,
                    "url": re.compile("https?://[^/]+(/.*)?"),
                    "httpVersion": re.compile(r"HTTP/1\.[01]"),
                    "cookies": [],
                    "headers": [PAIR],
                    "queryString": [PAIR],
                    "headersSize": int,
                    "bodySize": int,
                },
                "response": {
                    "status": int,
                    "statusText": str,
                    "httpVersion": re.compile(r"HTTP/1\.[01]"),
                    "cookies": [],
                    "headers": [PAIR],
                    "content": {"size": int, "mimeType": str},
                    "redirectURL": str,
                    "headersSize": int,
                    "bodySize": int,
                },
                "cache": {},
                "timings": {"send": NUMBER, "wait": NUMBER, "receive": NUMBER},
            }
        ],
    }
}
POST_DATA = {"mimeType": str, "text": str, "params": [PAIR]}


def check(found: Any, wanted: Any, place: str = "") -> None:
    """Check that ``found`` has the members of ``wanted``."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), place
        for name, kind in wanted.items():
            assert name in found, f"{place}.{name} is missing"
            check(found[name], kind, f"{place}.{name}")
    elif isinstance(wanted, list):
        assert isinstance(found, list), place
        for number, each in enumerate(found):
            check(each, wanted[0], f"{place}[{number}]")
    elif isinstance(wanted, re.Pattern):
        assert wanted.fullmatch(found), f"{place} is {found!r}"
    else:
        assert isinstance(found, wanted), f"{place} is {found!r}"
        assert not isinstance(found, bool), place


def own_members(found: Any) -> set[str]:
    """Return the names that are not of the specification: they have to begin with an underscore."""
    if isinstance(found, list):
        return set().union(*map(own_members, found))
    if not isinstance(found, dict):
        return set()
    return {name for name in found if name.startswith("_")}.union(*map(own_members, found.values()))


@pytest.fixture
def play() -> Play:
    """An agent that has recorded requests of every kind."""
    play = asked(inspected(), 2, request("GET /refused"))
    play.take()
    play >> ConnectFailed(SERVICE, "connection refused")
    play.take()
    served(play, GET, OK, stream=4)
    form = request("POST /form?a=1&b=%20x&b=", b"user=me&empty=", media_type="application/x-www-form-urlencoded")
    served(play, form, response(b"", "Location: /next", status="303 See Other"), stream=6)
    coded = gzip.compress(b"a" * 5_000)
    served(
        play,
        request("PUT /", b"\x00\xff"),
        response(coded, "Content-Encoding: gzip", media_type="text/plain"),
        stream=8,
    )
    served(play, request("OPTIONS *"), response(b"\x00\x01", media_type="image/png"), stream=10)
    asked(play, 12, request("POST /live", b"12")[:-1])
    play.take()
    return play


def test_it_has_what_the_specification_requires(play: Play) -> None:
    status, fields, body = told(play, "/api/har")
    assert (status, fields[b"content-type"]) == (200, b"application/json")
    assert b"pico.har" in fields[b"content-disposition"]
    found = json.loads(body)
    check(found, REQUIRED)
    assert found["log"]["version"] == "1.2"
    entries = found["log"]["entries"]
    assert len(entries) == len(document(play, "/api/requests")["rows"]) == 6
    for entry in entries:
        timings = entry["timings"]
        assert entry["time"] == pytest.approx(sum(timings.values()))
        assert min(timings.values()) >= 0
        assert set(entry["request"]) >= {"postData"} or entry["request"]["bodySize"] == 0
        if "postData" in entry["request"]:
            check(entry["request"]["postData"], POST_DATA, "postData")
    assert own_members(found) == {"_endpoint", "_encoding"}


def test_a_form_has_its_parameters_and_a_redirect_its_target(play: Play) -> None:
    entry = document(play, "/api/har")["log"]["entries"][2]
    query = [(each["name"], each["value"]) for each in entry["request"]["queryString"]]
    assert query == [("a", "1"), ("b", " x"), ("b", "")]
    assert entry["request"]["postData"]["params"] == [{"name": "user", "value": "me"}, {"name": "empty", "value": ""}]
    assert (entry["response"]["status"], entry["response"]["redirectURL"]) == (303, "/next")
    assert entry["response"]["statusText"] == "See Other"


def test_content_is_as_long_as_it_is_decoded(play: Play) -> None:
    response = document(play, "/api/har")["log"]["entries"][3]["response"]
    content = response["content"]
    assert (content["size"], len(content["text"])) == (5_000, 5_000)
    assert response["bodySize"] == len(gzip.compress(b"a" * 5_000))


def test_bytes_are_in_base64(play: Play) -> None:
    content = document(play, "/api/har")["log"]["entries"][4]["response"]["content"]
    assert (content["encoding"], content["text"], content["size"]) == ("base64", "AAE=", 2)
