"""``pico server``: one process that is the node, or one that starts several."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pico_driver.tls_sections import server_sections
from pico_tunnel.start import ServerSource, run_process

if TYPE_CHECKING:
    from pico_core.boundary import Exit, Machine
    from pico_tunnel.screen import Screen


def run_server(source: ServerSource, runtime: str | None) -> Exit:
    """Run a server node to its end, or the processes of several. ``source`` is read again at SIGHUP."""
    config = source.read()
    if config.workers != 1:
        from pico_tunnel.cores import usable_cores

        count = config.workers or usable_cores()
        if count > 1:
            from pico_tunnel.workers import run_workers

            return run_workers(source, config, count, runtime)

    @cache
    def node_id() -> str:
        from pico_core.config.server import draw_node_id
        from pico_driver.entropy import secure_entropy

        return draw_node_id(config.cluster, secure_entropy())

    def make(descriptors: int) -> Machine:
        from pico_core.server.node import ServerNode
        from pico_driver.entropy import secure_entropy

        return ServerNode(config, node_id(), secure_entropy(), descriptors)

    def show(name: str, colour: bool, width: int) -> Screen:
        from pico_tunnel.server_screen import ServerScreen

        return ServerScreen(f"server, {name}", config, colour=colour, width=width)

    ports = (config.proxy.bind_addr, config.upstream.bind_addr, config.admin.bind_addr)
    return run_process(make, config, runtime, ports, source.read, server_sections, show=show, node_id=node_id)
