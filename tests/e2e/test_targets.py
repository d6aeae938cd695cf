"""Targets that are not ASCII, through real processes: what the service reads is what the client wrote."""

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.harness import LOCAL, Fleet
from tests.e2e.origin import service
from tests.e2e.wire import Wire, dial, receive_response

RAW = bytes(range(0x80, 0x100))
"""Every byte above ASCII: none of it together is UTF-8."""

TARGETS = (b"/" + RAW, b"/a?q=" + RAW, "/straße?q=é".encode(), b"/\xff", b"/%FF/\x80%80")


@pytest.mark.parametrize("nodes", [1, 2])
def test_bytes_above_ascii_in_a_target_pass_as_they_are(stack: Stack, fleet: Fleet, nodes: int) -> None:
    lines = []

    def answers(wire: Wire) -> None:
        lines.append(wire.receive_until(b"\r\n\r\n").partition(b"\r\n")[0])
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    holder = stack.server if nodes == 1 else fleet.server()
    entry = holder
    if nodes == 2:
        entry = fleet.server("--cluster.join", f"{LOCAL}:{holder.process.port('gossip')}")
    with service(answers) as running:
        agent = fleet.agent(holder, "raw", running.port)
        with dial(entry.proxy_port) as wire:
            for target in TARGETS:
                wire.send(b"GET %b HTTP/1.1\r\nHost: raw.pico.test\r\n\r\n" % target)
                assert receive_response(wire)[1] == b"ok"
        assert lines == [b"GET %b HTTP/1.1" % target for target in TARGETS]
        agent.stop()
