"""The stream of the dashboard between real processes: what it tells, what it costs, and which clients are dropped."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.harness import LOCAL, Fleet
from tests.e2e.origin import Origin
from tests.e2e.test_tokens import guarded, key_file, token
from tests.e2e.wire import request
from tests.waiting import wait_until

__all__ = ["key_file"]

MOST_OF_A_CORE = 0.005
"""What a viewer may cost."""

VIEWERS = 4
MEASURED_S = 20.0


@contextmanager
def viewer(port: int, *fields: str) -> Iterator[Iterator[tuple[str, Any]]]:
    """Look at the stream of an admin port: give its events as they come."""
    with closing(socket.create_connection((LOCAL, port), timeout=10)) as connection:
        head = "".join(f"{field}\r\n" for field in ("Host: localhost", *fields))
        connection.sendall(f"GET /status/stream HTTP/1.1\r\n{head}\r\n".encode())
        yield _events(connection)


def _events(connection: socket.socket) -> Iterator[tuple[str, Any]]:
    with connection.makefile("rb") as file:
        status = file.readline()
        assert b" 200 " in status, status
        while file.readline().strip():
            pass
        text = ""
        while size := int(file.readline() or b"0", 16):
            text += file.read(size + 2)[:-2].decode()
            *blocks, text = text.split("\n\n")
            for block in blocks:
                kind, _, data = block.partition("\ndata: ")
                yield kind.removeprefix("event: "), json.loads(data)


def test_the_whole_cluster_from_any_node(fleet: Fleet, origin: Origin) -> None:
    first = fleet.server("--cluster.node-id", "n1")
    second = fleet.server("--cluster.node-id", "n2", "--cluster.join", f"{LOCAL}:{first.process.port('gossip')}")
    fleet.agent(second, "web", origin.port)
    wait_until(lambda: request(first.proxy_port, "web", "/describe")[0].status == 200, "the route is known")
    for here, other in ((first, "n2"), (second, "n1")):
        with viewer(here.admin_port) as events:
            seen: dict[str, Any] = {}
            while len(seen) < 2:
                kind, told = next(events)
                seen[told["node"]] = kind, told["tunnels"]
        assert seen[other][0] == "node"
        assert {node: tunnels for node, (_, tunnels) in seen.items()} == {"n1": 0, "n2": 1}
    with viewer(first.admin_port) as events:
        next(events)
        second.process.kill()
        kind = ""
        gone = False
        while not gone:
            kind, told = next(events)
            states = {each["id"]: each["status"] for each in told.get("nodes", ())}
            gone = kind == "silent" or states.get("n2", "active") != "active"


def test_a_token_is_asked_for(fleet: Fleet, key_file: Path) -> None:
    server = guarded(fleet, key_file)
    answer = request(server.admin_port, "", "/status/stream")[0]
    assert answer.status == 401
    with viewer(server.admin_port, f"Authorization: Bearer {token()}") as events:
        assert next(events)[0] == "here"


def test_what_a_viewer_costs(fleet: Fleet) -> None:
    first = fleet.server("--cluster.node-id", "n1")
    join = f"{LOCAL}:{first.process.port('gossip')}"
    others = [fleet.server("--cluster.node-id", f"n{number}", "--cluster.join", join) for number in (2, 3)]
    with viewer(first.admin_port) as events:
        while len(next(told["nodes"] for kind, told in events if kind == "here")) < len(others):
            pass

    def used_s() -> tuple[float, float]:
        return first.process.cpu_s(), max(each.process.cpu_s() for each in others)

    before = used_s()
    time.sleep(MEASURED_S)
    idle = [after - start for after, start in zip(used_s(), before, strict=True)]
    views = [viewer(first.admin_port) for _ in range(VIEWERS)]
    opened = [view.__enter__() for view in views]
    before = used_s()
    ends = time.monotonic() + MEASURED_S
    while time.monotonic() < ends:
        for events in opened:
            next(events)
    busy = [after - start for after, start in zip(used_s(), before, strict=True)]
    for view in views:
        view.__exit__(None, None, None)
    asked, other = ((more - less) / MEASURED_S for more, less in zip(busy, idle, strict=True))
    print(f"{VIEWERS} viewers cost the node asked {asked:.3%} of a core, another one {other:.3%}")
    assert asked / VIEWERS < MOST_OF_A_CORE
    assert other < MOST_OF_A_CORE
