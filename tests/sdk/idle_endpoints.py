"""A program with many idle endpoints: ``python -m tests.sdk.idle_endpoints RUNTIME URL`` prints the bytes of each."""

import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.sdk.kit import Kit

WARM, COUNT = 100, 1_000
"""Endpoints before the first look, for what is allocated once; and those that are measured."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("this application has no lifespan")


def resident_bytes() -> int:
    resident = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert resident is not None
    return 1024 * int(resident[1])


async def scenario(kit: Kit) -> None:
    async with kit.pico.connect(sys.argv[2]) as client, AsyncExitStack() as stack:
        before = 0
        for number in range(WARM + COUNT):
            if number == WARM:
                before = resident_bytes()
            await stack.enter_async_context(client.serve(f"e{number}", app, grace_s=0))
        print((resident_bytes() - before) // COUNT)


if __name__ == "__main__":
    Kit(sys.argv[1]).run(scenario)
