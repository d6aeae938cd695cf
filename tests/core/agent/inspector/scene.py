"""Where the plays of the inspector take place: the agent of ``tests.core.agent.scene``, and viewers."""

import itertools
import json
from typing import Any

from msgspec.structs import replace

from pico_core.agent.inspector.searching import PAUSE_S
from pico_core.agent.inspector.store import Store
from pico_core.agent.machine import AgentMachine
from pico_core.boundary import Accepted, Connect, Connected, Listen, Received, Send
from pico_core.config.inspect import InspectConfig
from pico_core.config.values import Address
from pico_core.mux.frame import INITIAL_WINDOW_BYTES
from pico_core.timers import NEVER
from tests.core.agent.scene import CONNECT, OK, SERVER, agent_config
from tests.play import Data, Open, Play, agent_play, joined

VIEWERS = itertools.count(1, 2)
"""Numbers of the connections of viewers; those of the agent's own are even."""
CREDIT = INITIAL_WINDOW_BYTES // 4
HEAD = b"Host: 127.0.0.1:4040\r\n"


def inspected(**keys: Any) -> Play:
    """Return an agent with an inspector, whose tunnel is open."""
    inspect = InspectConfig(bind_addr=Address("127.0.0.1", 4040), **keys)
    play = agent_play(replace(agent_config(), inspect=inspect)) << Listen("inspect", "127.0.0.1", 4040) << CONNECT
    play.server_accepts(SERVER)
    return play


def served(play: Play, request: bytes, response: bytes = OK, stream: int = 2) -> Play:
    """Let a request come through the tunnel as the first of its stream, and have it answered."""
    return again(play >> Open(SERVER, stream), request, response, stream)


def again(play: Play, request: bytes, response: bytes = OK, stream: int = 2) -> Play:
    """Let a further request come in a stream, and have it answered."""
    for at in range(0, len(request), CREDIT):
        play >> Data(SERVER, stream, request[at : at + CREDIT])
        play.idle  # noqa: B018 - the tunnel grants more credit
    answered(play, response)
    return searched(play)


def is_searching(store: Store) -> bool:
    """Whether a request that is over is still searched."""
    return any(each.ended_at < NEVER and not each.is_over for each in store.records.values())


def searched(play: Play) -> Play:
    """Let the time pass in which the bodies of requests that are over are searched for credentials."""
    machine = play.machine
    assert isinstance(machine, AgentMachine)
    assert machine.inspector is not None
    while is_searching(machine.inspector.store):
        play >> play.now + PAUSE_S
    return play


def answered(play: Play, response: bytes = OK) -> bytes:
    """Answer what the service is asked; return that."""
    commands = play.take()
    for dial in [each for each in commands if isinstance(each, Connect)]:
        play >> Connected(dial.connection, "127.0.0.1", 3000)
        commands += play.take()
    sent = [each for each in commands if isinstance(each, Send) and each.connection != SERVER]
    assert len({each.connection for each in sent}) == 1, commands
    play >> Received(sent[0].connection, response)
    play.take()
    return b"".join(joined(each.data) for each in sent)


def told(play: Play, path: str, *lines: bytes, post: bytes | None = None) -> tuple[int, dict[bytes, bytes], bytes]:
    """Ask the inspector; return status, fields and body."""
    head = b"%b %b HTTP/1.1\r\n" % (b"GET" if post is None else b"POST", path.encode())
    if not any(line.lower().startswith(b"host:") for line in lines):
        head += HEAD
    if post is not None:
        head += b"Content-Length: %d\r\n" % len(post)
        if not any(line.lower().startswith(b"content-type:") for line in lines):
            head += b"Content-Type: application/json\r\n"
    viewer = next(VIEWERS)
    (
        play
        >> Accepted(viewer, "inspect", "127.0.0.1", 50_000)
        >> Received(viewer, head + b"".join(lines) + b"\r\n" + (post or b""))
    )
    commands = play.take()
    answers = [each.data for each in commands if isinstance(each, Send) and each.connection == viewer]
    play.put_back([each for each in commands if getattr(each, "connection", 0) != viewer])
    assert len(answers) == 1, commands
    assert isinstance(answers[0], bytes)
    top, _, body = answers[0].partition(b"\r\n\r\n")
    status, *fields = top.split(b"\r\n")
    pairs = (line.partition(b": ") for line in fields)
    return int(status.split()[1]), {name.lower(): value for name, _, value in pairs}, body


def document(play: Play, path: str, *lines: bytes, post: bytes | None = None) -> Any:
    """Ask for a document, which there must be."""
    status, _, body = told(play, path, *lines, post=post)
    assert status == 200, body
    return json.loads(body)
