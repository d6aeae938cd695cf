"""Which clients may ask the inspector's port, and how it is opened."""

import json

import pytest
from msgspec.structs import replace

from pico_core.boundary import Exit, Listen, ListenFailed, Listening
from pico_core.config.agent import AgentConfig
from pico_core.config.load import load
from pico_core.errors import ConfigError
from tests.core.agent.inspector.scene import document, inspected, served, told
from tests.core.agent.scene import CONNECT, GET, agent_config
from tests.play import agent_play

TOKEN = "a-token-of-24-characters"


def test_without_the_key_there_is_no_port() -> None:
    assert agent_play(agent_config()) << CONNECT


def test_it_says_where_it_listens() -> None:
    play = inspected() >> Listening("inspect", "127.0.0.1", 4040)
    assert play.idle
    (log,) = [each for each in play.logs if each.message == "listening"]
    assert (log.subsystem, log.fields) == ("inspect", {"addr": "127.0.0.1:4040", "url": "http://127.0.0.1:4040/"})


def test_a_port_in_use_is_an_end_with_its_name() -> None:
    config = replace(agent_config(), inspect=load(AgentConfig, None, {"inspect.bind_addr": "4040"}, "").inspect)
    play = agent_play(config) << Listen("inspect", "127.0.0.1", 4040) << CONNECT
    text = "cannot listen on inspector address '127.0.0.1:4040': address already in use; choose another one with "
    assert play >> ListenFailed("inspect", "address already in use") << Exit(1, text + "--inspect.bind-addr")


@pytest.mark.parametrize("host", [b"localhost:4040", b"127.0.0.1", b"[::1]:4040", b"pico.localhost"])
def test_hosts_that_may_be_asked(host: bytes) -> None:
    assert told(inspected(), "/api/requests", b"Host: " + host + b"\r\n")[0] == 200


@pytest.mark.parametrize("path", ["/", "/api/requests", "/api/har", "/x"])
def test_a_name_of_a_page_is_refused(path: str) -> None:
    assert told(inspected(), path, b"Host: evil.example\r\n")[0] == 421


def test_configured_names() -> None:
    assert told(inspected(allowed_hosts=("dev.example",)), "/", b"Host: dev.example\r\n")[0] == 200


@pytest.mark.parametrize(
    "line",
    [
        b"Origin: http://evil.example\r\n",
        b"Origin: http://127.0.0.1:3000\r\n",
        b"Origin: null\r\n",
        b"Sec-Fetch-Site: cross-site\r\n",
        b"Sec-Fetch-Site: same-site\r\n",
    ],
)
def test_other_pages_may_not_ask(line: bytes) -> None:
    play = served(inspected(), GET)
    for post in (None, b"{}"):
        assert told(play, "/api/requests/1" + ("/replay" if post else ""), line, post=post)[0] == 403
    assert len(document(play, "/api/requests")["rows"]) == 1


def test_its_own_page_may() -> None:
    play = served(inspected(), GET)
    lines = (b"Origin: http://127.0.0.1:4040\r\n", b"Sec-Fetch-Site: same-origin\r\n")
    assert told(play, "/api/requests/1/replay", *lines, post=b"")[0] == 200


@pytest.mark.parametrize("kind", [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data"])
def test_a_form_cannot_cause_a_replay(kind: bytes) -> None:
    play = served(inspected(), GET)
    assert told(play, "/api/requests/1/replay", b"Content-Type: " + kind + b"\r\n", post=b"")[0] == 415
    assert told(play, "/api/requests/1/replay")[0] == 404, "nor can a link"


def test_no_answer_permits_another_origin() -> None:
    play = served(inspected(), GET)
    for path in ("/", "/api/requests", "/api/requests/1", "/api/har", "/api/requests/1/request-body"):
        status, fields, _ = told(play, path)
        assert status == 200
        assert not any(name.startswith(b"access-control") for name in fields)
        assert fields[b"cache-control"] == b"no-store"
        assert fields[b"cross-origin-resource-policy"] == b"same-origin"
        assert fields[b"x-content-type-options"] == b"nosniff"
    policy = told(play, "/")[1][b"content-security-policy"].decode()
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_a_token() -> None:
    config = load(AgentConfig, None, {"inspect.bind_addr": "0.0.0.0:4040", "inspect.token": TOKEN}, "").inspect
    play = served(inspected(token=config.token), GET)
    assert told(play, "/")[0] == 200, "the page has nothing in it, and asks for the token"
    assert TOKEN.encode() not in told(play, "/")[2]
    assert told(play, "/api/requests")[0] == 401
    assert told(play, "/api/requests", b"Authorization: Bearer wrong\r\n")[0] == 401
    assert told(play, "/api/requests", b"Authorization: Bearer \xff\r\n")[0] == 401
    status, _, body = told(play, "/api/requests", f"Authorization: Bearer {TOKEN}\r\n".encode())
    assert status == 200
    assert json.loads(body)["kept"] == 1
    assert TOKEN.encode() not in body


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"inspect.bind_addr": "0.0.0.0:4040"}, "'0.0.0.0:4040' can be reached from other machines: set inspect.token"),
        ({"inspect.bind_addr": ":4040"}, "can be reached from other machines"),
        ({"inspect.bind_addr": "192.0.2.1:4040"}, "can be reached from other machines"),
        ({"inspect.bind_addr": "4040", "inspect.token": "short"}, "inspect.token wants at least 16 characters"),
        ({"inspect.max_body_bytes": "30000000"}, "must be at least twice inspect.max_body_bytes"),
    ],
)
def test_what_a_start_refuses(flags: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError) as told_why:
        load(AgentConfig, None, flags, "")
    assert reason in str(told_why.value)


@pytest.mark.parametrize(
    "path",
    ["/x", "/api", "/api/requests/", "/api/requests/9", "/api/requests/x", "/api/requests/1/x", "/api/requests/1/"],
)
def test_what_is_not_there(path: str) -> None:
    play = served(inspected(), GET)
    assert told(play, path)[0] == (200 if path.endswith("/1/") else 404)


def test_a_question_that_is_too_long() -> None:
    play = inspected()
    status, _, body = told(play, "/api/clear", post=b" " * ((1 << 20) + 1))
    assert (status, body) == (413, b"a body has at most 1048576 bytes here\n")
    assert told(play, "/api/clear", post=b" " * (1 << 20))[0] == 200
