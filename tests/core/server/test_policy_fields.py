"""Header fields that a policy adds and removes, in requests and in responses."""

from typing import Any

import pytest

from pico_core.boundary import Close, Connected, Received, Send
from pico_core.config.policies import FieldsConfig, user
from pico_core.http.message import RequestHead
from pico_core.server.field_edits import FieldEdit
from pico_core.server.policies import Policies
from tests.core.http.growth import grows_linearly
from tests.core.proxy.scene import AGENT, CLIENT, FORWARDED, GET, error
from tests.core.server.policy_scene import NETWORK, OTHERS, clustered_with, play_with, policy
from tests.core.server.test_peers import FIRST, HOP, dial
from tests.core.server.test_policies import BOTH
from tests.core.server.test_policy_bounds import CHUNKED
from tests.play import Data, Nothing, Open, Reset, joined

EDITS: dict[str, Any] = {
    "request_headers": FieldsConfig(add=("X-Env: prod",), remove=("Cookie",)),
    "response_headers": FieldsConfig(add=("X-Frame-Options: DENY",), remove=("Server",)),
}
ODD = GET[:-2] + b"X_Env: forged\r\ncookie: a=b\r\nX-Envy: 1\r\nx-env: forged\r\n\r\n"
SERVED = b"HTTP/1.1 200 OK\r\nserver: x\r\nX-Frame-Options: ALLOW\r\nContent-Length: 2\r\n\r\nok"
EDITED = b"HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nContent-Length: 2\r\n\r\nok"
ODD_SENT = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nX-Envy: 1\r\nX-Env: prod\r\n" + FORWARDED + b"\r\n"


def test_fields_are_added_and_removed() -> None:
    play = play_with(**EDITS) >> Received(CLIENT, ODD) << Open(AGENT, 2) << Data(AGENT, 2, ODD_SENT)
    play >> Data(AGENT, 2, SERVED) << Send(CLIENT, EDITED)
    assert play >> Received(CLIENT, ODD) << Data(AGENT, 2, ODD_SENT) >> Data(AGENT, 2, SERVED) << Send(CLIENT, EDITED)


def test_fields_are_changed_by_the_first_node_alone() -> None:
    play = clustered_with(**EDITS) >> Received(CLIENT, ODD) << dial(FIRST, 20)
    sent = ODD_SENT.replace(FORWARDED, HOP + FORWARDED)
    play >> Connected(FIRST, "192.0.2.20", 8000) << Send(FIRST, sent) >> Received(FIRST, SERVED)
    assert play << Send(CLIENT, EDITED)


def test_answers_in_pieces_upgrades_and_own_ones_are_changed_too() -> None:
    play = play_with(**EDITS) >> Received(CLIENT, GET)
    play.take()
    play >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 4\r\n\r\nok")
    assert play << Send(CLIENT, b"HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nContent-Length: 4\r\n\r\nok")
    assert play >> Data(AGENT, 2, b"ok") << Send(CLIENT, b"ok")
    upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n"
    play >> Received(CLIENT, upgrade)
    play.take()
    play >> Data(
        AGENT, 2, b"HTTP/1.1 101 Switching Protocols\r\nServer: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    )
    (answer,) = play.take()
    assert isinstance(answer, Send)
    assert b"Server" not in joined(answer.data)
    assert b"X-Frame-Options: DENY\r\n" in joined(answer.data)
    refused = play_with(allowed_networks=OTHERS, **EDITS) >> Received(CLIENT, GET)
    assert refused << error(403, "Forbidden", NETWORK, "X-Frame-Options: DENY")


TRAILERS = b"0\r\nCookie: a=b\r\nx_env: forged\r\nX-Sum: 1\r\n\r\n"


@BOTH
@pytest.mark.parametrize("cut", [0, 1], ids=["in one piece", "in two"])
def test_trailers_of_requests_bring_no_field_back(scene: Any, cut: int) -> None:
    play = scene(**EDITS)
    for piece in (CHUNKED + b"3\r\nabc\r\n" + TRAILERS[:cut], TRAILERS[cut:]):
        play >> Received(CLIENT, piece)
    commands = play.take()
    if dial(FIRST, 20) in commands:
        commands = (play >> Connected(FIRST, "192.0.2.20", 8000)).take()
    sent = b"".join(joined(each.data) for each in commands if isinstance(each, Send | Data))
    assert sent.endswith(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert b"X-Env: prod\r\n" in sent


@BOTH
def test_trailers_and_interim_heads_of_responses_bring_no_field_back(scene: Any) -> None:
    play = scene(**EDITS) >> Received(CLIENT, GET)
    if dial(FIRST, 20) in play.take():
        (play >> Connected(FIRST, "192.0.2.20", 8000)).take()

    def answers(data: bytes) -> bytes:
        play >> (Received(FIRST, data) if scene is clustered_with else Data(AGENT, 2, data))
        (sent,) = play.take()
        assert isinstance(sent, Send)
        return joined(sent.data)

    hints = answers(b"HTTP/1.1 103 Early Hints\r\nServer: x\r\nX-Frame-Options: ALLOW\r\nLink: </a>\r\n\r\n")
    assert hints == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert answers(b"0\r\nServer: x\r\nx_frame-options: ALLOW\r\nX-Sum: 1\r\n\r\n") == b"0\r\nX-Sum: 1\r\n\r\n"


def test_a_response_that_breaks_off_is_still_cut() -> None:
    play = play_with(**EDITS) >> Received(CLIENT, GET)
    play.take()
    play >> Data(AGENT, 2, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok")
    play.take()
    assert play >> Reset(AGENT, 2) << Close(CLIENT) << Nothing()


@pytest.mark.parametrize("line", [b"Authorization: Basic%b!", b"Authorization: Basic a%bb", b"Cookie:%bx", b"A:%b"])
def test_hostile_fields_take_linear_time(line: bytes) -> None:
    found = Policies((policy(basic_auth=(user("a:b"),), **EDITS),)).of("e1")
    assert found is not None

    def work(size: int) -> None:
        head = RequestHead(b"GET", b"/", 1, b"e1", line % (b" \t" * size) + b"\r\n", True)
        assert not found.knows(head)
        edit = FieldEdit.of(FieldsConfig(remove=("Cookie", "A-B")))
        assert edit is not None
        edit.of_request(head)

    assert grows_linearly(work, 8_000)
