"""Long bodies are searched for credentials in steps, and no step is long."""

import gzip
import time

import pytest

from pico_core.agent.inspector.decoding import decode
from pico_core.agent.inspector.redaction import MAX_VALUE_BYTES, HiddenValues, Redaction, UnsearchableError
from pico_core.agent.inspector.searching import PAUSE_S, SEARCH_TURN_BYTES, SMALL_BYTES, STEP_BYTES, Steps, finished
from pico_core.config.inspect import MIB
from tests.collection import no_collection
from tests.core.agent.inspector.scene import (
    CREDIT,
    again,
    answered,
    document,
    inspected,
    is_searching,
    searched,
    served,
    told,
)
from tests.core.agent.inspector.test_recording import request, response
from tests.core.agent.inspector.test_secrets import everything, memory_of, store_of
from tests.core.agent.scene import GET, OK, SERVER
from tests.play import Data

LONG = 8 * MIB
FORM = b"application/x-www-form-urlencoded"


def longest_step_s(work: Steps[bytes]) -> float:
    """Do all the work; return the processor time of its longest step."""
    longest = 0.0
    while True:
        began = time.process_time()
        try:
            next(work)
        except StopIteration:
            return max(longest, time.process_time() - began)
        longest = max(longest, time.process_time() - began)


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"a" * LONG, b"application/json"),
        (b'{"token": 1}' * 9_000 + b" " * LONG, b"application/json"),
        (b"a=1&" * (LONG // 4), FORM),
        (b"a=1;" * (LONG // 4), FORM),
        (b"a" * LONG, b"image/png"),
    ],
)
def test_no_step_takes_long(body: bytes, media_type: bytes) -> None:
    """All of it takes 0.1 s to 1 s; the bound is far from what a step takes, for machines with other work."""
    values = HiddenValues()
    values.add(b"a-credential")
    with no_collection():
        longest_s = longest_step_s(Redaction().body(body, media_type, values))
    assert longest_s < 0.1


def test_a_search_waits_for_its_turns() -> None:
    body = b"x" * LONG + b" password=CANARY-1"
    play = served(inspected(max_body_bytes=9 * MIB), GET)
    again(play, request("GET /small"))
    store = store_of(play)
    play.take()
    sent = request("POST /long", body, media_type="text/plain")

    for at in range(0, len(sent), CREDIT):
        play >> Data(SERVER, 2, sent[at : at + CREDIT])
        play.idle  # noqa: B018 - the tunnel grants more credit
    answered(play, OK)
    assert is_searching(store)
    shown = document(play, "/api/requests/3")
    assert (shown["state"], shown["status"]) == ("live", 200)
    assert "not over" in shown["cannot_replay"]
    turns = 0
    while is_searching(store):
        assert b"CANARY" not in told(play, "/api/requests/3/request-body")[2]
        play >> play.now + PAUSE_S
        turns += 1
    assert turns >= LONG * 10 // SEARCH_TURN_BYTES
    assert document(play, "/api/requests/3")["state"] == "whole"
    assert b"CANARY" not in everything(play)


def test_a_record_that_leaves_while_it_is_searched() -> None:
    play = inspected(max_requests=1)
    sent = request("POST /", b"CANARY" * SMALL_BYTES, media_type="text/plain")
    served(play, sent)
    again(play, GET)
    searched(play)
    store = store_of(play)
    assert (len(store.records), store.dropped) == (1, 1)
    assert store.memory_bytes == sum(each.memory_bytes for each in store.records.values())
    assert b"CANARY" not in memory_of(store)


def test_a_name_at_the_end_of_a_step() -> None:
    for before in range(STEP_BYTES - 30, STEP_BYTES + 2):
        shown = finished(
            Redaction().body(b" " * before + b'"access_token": "CANARY-1" ', b"application/json", HiddenValues())
        )
        assert shown.strip() == b'"access_token": "REDACTED"', before


def test_a_credential_that_is_too_long() -> None:
    body = b'{"token": "' + b"x" * MAX_VALUE_BYTES + b'"}'
    with pytest.raises(UnsearchableError, match="too long"):
        finished(Redaction().body(body, b"application/json", HiddenValues()))
    play = served(inspected(), GET, response(body))
    shown = document(play, "/api/requests/1")["response"]["body"]
    assert (shown["kept"], shown["note"]) == (0, "it has a credential that is too long to look at")


@pytest.mark.parametrize("size", [0, 1, STEP_BYTES - 1, STEP_BYTES, 3 * STEP_BYTES + 1])
def test_decoding_in_steps(size: int) -> None:
    plain = b"ab" * (size // 2) + b"c" * (size % 2)
    coded = gzip.compress(plain)
    assert finished(decode(coded, [b"gzip"], LONG)) == (plain, True)
    assert finished(decode(coded * 2, [b"gzip"], LONG)) == (plain * 2, True)
    if size:
        assert finished(decode(coded, [b"gzip"], size - 1)) == (plain[:-1], False)
        assert finished(decode(coded[:-9], [b"gzip"], LONG))[1] is False
