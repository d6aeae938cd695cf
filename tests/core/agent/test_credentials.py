"""The credentials of an agent and a forwarder, and tokens that are renewed in their file."""

import random
from typing import Any

import msgspec
import pytest

from pico_core.access.secret import Secret
from pico_core.agent.machine import AgentMachine
from pico_core.boundary import (
    Accepted,
    Close,
    Connect,
    Connected,
    ConnectionLost,
    Exit,
    FileRead,
    Listen,
    Listening,
    ReadFile,
    Received,
    Send,
    Tick,
)
from pico_core.config.agent import AgentConfig, AgentConnectConfig
from pico_core.config.forward import ForwardConfig, ForwardConnectConfig, PortConfig
from pico_core.config.secrets import SecretFile
from pico_core.config.values import Address, Origin
from pico_core.credentials import CLEAR_TEXT
from pico_core.errors import ConfigError
from pico_core.forward.machine import ForwardMachine
from tests.core.agent.scene import CONNECT, SERVER, agent_config
from tests.play import GoAway, Nothing, Open, Play, agent_play, joined

PATH = "/run/pico/token"
FILE = SecretFile(PATH, Secret("first.token.text"))
READ = ReadFile(1, PATH, 16_384)
NEXT = 4
REFUSED = b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 25\r\n\r\n{"error":"expired token"}'


def config(**connect: Any) -> AgentConfig:
    base = agent_config()
    url = base.connect.url
    return msgspec.structs.replace(base, connect=AgentConnectConfig(url=url, **connect))


def request(play: Play, connection: int = SERVER) -> bytes:
    """Return the head that asks for the tunnel."""
    play >> Connected(connection, "127.0.0.1", 8001)
    (sent,) = play.take()
    assert isinstance(sent, Send)
    return joined(sent.data)


def test_a_token_and_a_tenant_are_shown() -> None:
    head = request(agent_play(config(token=Secret("a.b.c"), tenant_id="acme")) << CONNECT)
    assert b"Authorization: Bearer a.b.c\r\nx-piko-tenant-id: acme\r\n" in head
    head = request(agent_play(config()) << CONNECT)
    assert b"uthorization" not in head
    assert b"tenant" not in head


def registered(**connect: Any) -> Play:
    play = agent_play(config(token_file=FILE, **connect)) << CONNECT
    play.server_accepts(SERVER)
    return play


def test_a_new_token_in_the_file_opens_a_new_tunnel_and_then_leaves_the_old_one() -> None:
    play = registered() >> 4.9 << Nothing() >> 5.0 << READ
    play >> FileRead(1, b"first.token.text\n", "") << Nothing()
    play >> 10.0 << msgspec.structs.replace(READ, query=2)
    play >> FileRead(2, b"  second.token.text\n", "") << Connect(NEXT, "127.0.0.1", 8001, 30.0)
    play >> Open(SERVER, 2)  # the old tunnel works meanwhile
    play.take()
    play.server_accepts(NEXT)
    play >> GoAway(SERVER)  # a server says so of a tunnel that it takes for replaced: nothing more is asked for
    play >> 11.9
    assert not [each for each in play.take() if isinstance(each, Connect)]
    play >> 12.1
    assert GoAway(SERVER) in play.take()
    assert "connecting again with the new token" in [log.message for log in play.logs]


def test_the_next_attempt_shows_the_new_token() -> None:
    play = (
        registered() >> 5.0 << READ >> FileRead(1, b"second.token.text", "") << Connect(NEXT, "127.0.0.1", 8001, 30.0)
    )
    assert b"Authorization: Bearer second.token.text\r\n" in request(play, NEXT)


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (b"", "No such file or directory", f"cannot read '{PATH}': No such file or directory"),
        (b" \n", "", f"'{PATH}' is empty"),
        (b"two words", "", f"'{PATH}' wants a token such as"),
        (b"x" * 9_000, "", f"'{PATH}' wants a token such as"),
        (b"\xff\x00", "", f"'{PATH}' wants a token such as"),
    ],
)
def test_a_file_without_a_token_leaves_the_last_one(content: bytes, error: str, reason: str) -> None:
    play = registered() >> 5.0 << READ
    assert play >> FileRead(1, content, error) << Nothing()
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert str(warning.fields["reason"]).startswith(reason)
    assert "words" not in str(warning.fields)
    assert play >> 10.0 << msgspec.structs.replace(READ, query=2)


def test_an_attempt_that_shows_the_last_token_is_given_up() -> None:
    """A tunnel that it opened would end with the last token, and the requests in flight with it."""
    play = agent_play(config(token_file=FILE)) << CONNECT
    assert b"Bearer first.token.text" in request(play)
    play >> 5.0 << READ >> FileRead(1, b"second.token.text", "")
    play << Close(SERVER) << Connect(NEXT, "127.0.0.1", 8001, 30.0)
    assert b"Bearer second.token.text" in request(play, NEXT)


def test_another_configuration_is_taken_over() -> None:
    play = registered()
    machine = play.machine
    assert isinstance(machine, AgentMachine)
    machine.credentials.reload(Secret("third.token.text"), None, "acme", play.now)
    play << Connect(NEXT, "127.0.0.1", 8001, 30.0)
    head = request(play, NEXT)
    assert b"Authorization: Bearer third.token.text\r\nx-piko-tenant-id: acme\r\n" in head
    play >> 12.0
    assert not [each for each in play.take() if isinstance(each, ReadFile)]
    machine.credentials.reload(None, FILE, "acme", play.now)
    play >> 16.9
    play.take()
    assert play >> 17.1 << READ


def test_a_refused_token_ends_the_agent_with_what_to_do() -> None:
    play = agent_play(config(token=Secret("a.b.c"))) << CONNECT
    request(play)
    play >> Received(SERVER, REFUSED) << Close(SERVER)
    (exit_,) = play.take()
    assert isinstance(exit_, Exit)
    assert exit_.message == (
        "the server at http://127.0.0.1:8001 refused endpoint 'e1': "
        "401 expired token; give a new one with connect.token or connect.token_file"
    )


def test_a_refused_token_of_a_file_is_tried_again_since_the_file_may_change() -> None:
    play = agent_play(config(token_file=FILE)) << CONNECT
    request(play)
    play >> Received(SERVER, REFUSED) << Close(SERVER) << READ >> ConnectionLost(SERVER, "")
    play >> FileRead(1, b"first.token.text", "") << Nothing()
    play >> 0.2 << Connect(NEXT, "127.0.0.1", 8001, 30.0)
    request(play, NEXT)
    play >> Received(NEXT, REFUSED) << Close(NEXT) << msgspec.structs.replace(READ, query=2)
    # A new token is shown at once.
    play >> ConnectionLost(NEXT, "") >> FileRead(2, b"second.token.text", "")
    play << Connect(NEXT + 2, "127.0.0.1", 8001, 30.0)
    assert b"Bearer second.token.text" in request(play, NEXT + 2)
    (warning,) = [log for log in play.logs if log.level == "warning"]
    assert warning.message == (
        "the server refused: 401 expired token; give a new one with connect.token or connect.token_file; "
        f"the token is that of '{PATH}'"
    )


def test_one_of_token_and_token_file() -> None:
    for section in (AgentConnectConfig, ForwardConnectConfig):
        with pytest.raises(ConfigError, match="token and token_file exclude each other"):
            section(token=Secret("a"), token_file=FILE)


def test_a_forwarder_shows_them_too() -> None:
    ports = (PortConfig(addr=Address("127.0.0.1", 5432), endpoint_id="db"),)
    connect = ForwardConnectConfig(url=Origin("127.0.0.1", 8000, "http"), token_file=FILE, tenant_id="acme")
    play = Play(ForwardMachine(ForwardConfig(ports=ports, connect=connect), random.Random(1))) >> Tick()
    play << Listen("0", "127.0.0.1", 5432) >> Listening("0", "127.0.0.1", 5432)
    play >> 5.0 << READ >> FileRead(1, b"second.token.text", "")
    play >> Accepted(1, "0", "127.0.0.1", 4000)
    play.take()
    assert b"Authorization: Bearer second.token.text\r\nx-piko-tenant-id: acme\r\n" in request(play)


@pytest.mark.parametrize(
    ("host", "scheme", "token", "warned"),
    [
        ("pico.example.com", "http", Secret("a.b.c"), True),
        ("192.0.2.1", "http", Secret("a.b.c"), True),
        ("pico.example.com", "https", Secret("a.b.c"), False),
        ("localhost", "http", Secret("a.b.c"), False),
        ("127.0.0.1", "http", Secret("a.b.c"), False),
        ("pico.example.com", "http", None, False),
    ],
)
def test_a_token_on_its_way_in_clear_is_warned_of(host: str, scheme: str, token: Secret | None, warned: bool) -> None:
    url = Origin(host, 8001, scheme)
    agent = msgspec.structs.replace(agent_config(), connect=AgentConnectConfig(url=url, token=token))
    forwarder = ForwardConfig(connect=ForwardConnectConfig(url=url, token=token))
    for machine in (AgentMachine(agent, random.Random(1)), ForwardMachine(forwarder, random.Random(1))):
        play = Play(machine) >> Tick()
        play.take()
        assert [log.fields for log in play.logs if log.message == CLEAR_TEXT] == [{"url": str(url)}] * warned
