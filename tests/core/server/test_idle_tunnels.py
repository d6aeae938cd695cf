"""How much memory a server's machine has for a tunnel that carries nothing."""

import gc
import random
import sys
import tracemalloc

from pico_core.boundary import Accepted, Machine, Received, Send, Tick
from pico_core.config.ports import UpstreamConfig
from pico_core.config.server import ServerConfig
from pico_core.tunnel.tunnel import PING_INTERVAL_S
from pico_core.websocket.handshake import ClientHandshake
from tests.play import server_play

MANY_REGISTRATIONS = ServerConfig(upstream=UpstreamConfig(registration_rate=1e6, registration_burst=100_000))
FIELDS = ((b"x-pico-protocol", b"http"), (b"x-pico-version", b"1.0.0"), (b"x-pico-max-streams", b"1024"))


def sent(machine: Machine) -> list[Send]:
    """Return what the machine sends now."""
    found = []
    while (command := machine.poll()) is not None:
        if isinstance(command, Send):
            found.append(command)
    return found


def register(machine: Machine, connections: range) -> None:
    """Let an agent for an endpoint of its own connect on each of these connections."""
    for number in connections:
        handshake = ClientHandshake("h", f"/pico/v1/upstream/endpoint-{number}", FIELDS, random.Random(number))
        machine.handle(Accepted(number, "upstream", "192.0.2.1", 4000), 1.0)
        machine.handle(Received(number, handshake.request_bytes()), 1.0)
        assert len(sent(machine)) == 1


def test_an_idle_tunnel_takes_at_most_2450_bytes_of_the_machine() -> None:
    machine = server_play(MANY_REGISTRATIONS).machine
    register(machine, range(1, 401, 2))
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    register(machine, range(401, 2401, 2))
    machine.handle(Tick(), 1.5 + PING_INTERVAL_S)
    pings = sent(machine)
    gc.collect()
    taken = (tracemalloc.get_traced_memory()[0] - before) / 1_000
    tracemalloc.stop()
    assert len(pings) == 1_200
    taken -= sum(map(sys.getsizeof, pings)) / 1_000
    assert taken < 2_450, f"{taken:.0f} bytes"
