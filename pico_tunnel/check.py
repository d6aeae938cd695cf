"""``pico server check``: looks through a configuration as a start would, and explains what a request would meet.

The files that the configuration names are read too: keys, certificates, issuers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pico_core.errors import ConfigError
from pico_tunnel.complaints import EXIT_FAILURE

if TYPE_CHECKING:
    from pico_core.config.server import ServerConfig


def check(
    flags: dict[str, str],
    config_path: str | None,
    expand_env: bool,
    request: str | None,
    client: str | None,
    fields: tuple[str, ...],
) -> int:
    """Run the command: 0 if the file is good and the request would pass, 1 if the request would not.

    Raises ``ConfigError`` for a file or a request that cannot be used.
    """
    from pico_core.config.server import ServerConfig
    from pico_driver.tls_sections import load_profiles, server_sections
    from pico_tunnel.start import read_config, with_gossip_keys

    if request is None and (client is not None or fields):
        raise click.UsageError("--client and --header are about a request: give one with --request")
    config = with_gossip_keys(read_config(ServerConfig, flags, config_path, expand_env=expand_env))
    load_profiles(server_sections(config))
    count = len(config.policies)
    click.echo(f"{config_path or 'the defaults'}: good, {count} {'policy' if count == 1 else 'policies'}")
    return 0 if request is None else _explain(config, request, client, fields)


def _explain(config: ServerConfig, request: str, client: str | None, fields: tuple[str, ...]) -> int:
    from pico_core.config.networks import address_of
    from pico_core.server.explain import explain

    if client is None or address_of(client) is None:
        raise ConfigError("--client: wants the IP address that sends the request, such as 10.1.2.3")
    try:
        explanation = explain(config, request, client, fields)
    except ConfigError as error:
        raise ConfigError(f"--request: {error}") from None
    for name, text in explanation.lines:
        click.echo(f"{name + ':':<18}{text}")
    return 0 if explanation.passes else EXIT_FAILURE
