"""``pico doctor``: checks from where it runs what usually goes wrong, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pico_tunnel.answer import Unanswered, write, write_json
from pico_tunnel.complaints import EXIT_FAILURE, complain
from pico_tunnel.flags import (
    ConfigCommand,
    TeachingGroup,
    agent_keys,
    forward_keys,
    prints_json,
    reads_file,
    server_keys,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pico_tunnel.checkup import Finding


def report(findings: Iterator[Finding], *, as_json: bool) -> int:
    """Print the findings as they come; return 1 if one of them is a failure."""
    from pico_tunnel.checkup import FAIL

    found = []
    try:
        for finding in findings:
            found.append(finding)
            if not as_json:
                write(_line(finding))
        if as_json:
            write_json([each._asdict() for each in found])
    except Unanswered as error:
        complain(str(error))
        return error.code
    return EXIT_FAILURE if any(each.verdict == FAIL for each in found) else 0


def _line(finding: Finding) -> str:
    line = f"  {finding.verdict:<5} {finding.subject:<34} {finding.text}\n"
    return line + (f"        {finding.advice}\n" if finding.advice else "")


def _all(config: Any, checks: Callable[[Any], Iterator[Finding]]) -> Iterator[Finding]:
    from pico_tunnel.checkup import check_process, check_unexpanded
    from pico_tunnel.unexpanded import unexpanded

    yield from check_process()
    yield from check_unexpanded(unexpanded(config))
    yield from checks(config)


@click.group(
    "doctor",
    cls=TeachingGroup,
    short_help="Check what usually goes wrong.",
    examples="""\
Why does my agent not connect?
  pico doctor agent http my-endpoint 3000 --connect.url http://pico.example.com:8001
Would this node start, and find the others?
  pico doctor server --config.path server.yaml""",
)
def doctor() -> None:
    """Check, from where it runs, what usually goes wrong. Nothing is changed, and nothing is registered.

    Each line is ok, warn or FAIL, with what to do next. Exits with 1 if one is FAIL.
    """


@doctor.command(
    "agent",
    cls=ConfigCommand,
    keys=agent_keys,
    short_help="Check the way of an agent to its server and services.",
    examples="pico doctor agent http my-endpoint 3000 --connect.url http://pico.example.com:8001",
)
@click.argument("protocol", type=click.Choice(("http", "tcp")), required=False)
@click.argument("endpoint", required=False)
@click.argument("addr", required=False)
@reads_file
@prints_json
def doctor_agent(
    protocol: str | None,
    endpoint: str | None,
    addr: str | None,
    flags: dict[str, str],
    config_path: str | None,
    expand_env: bool,
    as_json: bool,
) -> int:
    """Check name, connection, TLS and upgrades to the server, clocks, and the services of the listeners."""
    from msgspec.structs import replace

    from pico_core.config.agent import AgentConfig, ListenerConfig
    from pico_core.config.load import load
    from pico_tunnel.checkup import check_agent
    from pico_tunnel.start import read_config

    config = read_config(AgentConfig, flags, config_path, expand_env=expand_env)
    if protocol is not None:
        if endpoint is None or addr is None:
            raise click.UsageError(f"give the endpoint and the address too: pico doctor agent {protocol} ENDPOINT ADDR")
        keys = {"endpoint_id": endpoint, "addr": addr, "protocol": protocol}
        config = replace(config, listeners=(load(ListenerConfig, None, keys, ""),))
    return report(_all(config, check_agent), as_json=as_json)


@doctor.command(
    "forward",
    cls=ConfigCommand,
    keys=forward_keys,
    short_help="Check the way of a forwarder to its server.",
    examples="pico doctor forward --connect.url http://pico.example.com:8000",
)
@reads_file
@prints_json
def doctor_forward(flags: dict[str, str], config_path: str | None, expand_env: bool, as_json: bool) -> int:
    """Check name, connection, TLS and upgrades to the server, clocks, and the local ports."""
    from pico_core.config.forward import ForwardConfig
    from pico_tunnel.checkup import check_forward
    from pico_tunnel.start import read_config

    return report(
        _all(read_config(ForwardConfig, flags, config_path, expand_env=expand_env), check_forward), as_json=as_json
    )


@doctor.command(
    "server",
    cls=ConfigCommand,
    keys=server_keys,
    short_help="Check what a node needs to start and to find the others.",
    examples="pico doctor server --config.path server.yaml",
)
@reads_file
@prints_json
def doctor_server(flags: dict[str, str], config_path: str | None, expand_env: bool, as_json: bool) -> int:
    """Check ports, the names and addresses of the nodes to join, the times of a stop, and certificates."""
    from pico_core.config.server import ServerConfig
    from pico_tunnel.checkup import check_node
    from pico_tunnel.running_node import check_running
    from pico_tunnel.start import read_config

    def checks(config: ServerConfig) -> Iterator[Finding]:
        yield from check_node(config)
        yield from check_running(config)

    return report(_all(read_config(ServerConfig, flags, config_path, expand_env=expand_env), checks), as_json=as_json)
