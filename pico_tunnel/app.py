"""``pico agent asgi`` and ``pico agent wsgi``: an application in the agent's own process."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pico_core.errors import ConfigError
from pico_tunnel.flags import (
    PIKO_AGENT_FLAGS,
    ConfigCommand,
    agent_keys,
    checked,
    finish,
    groups,
    inspectable,
    runnable,
)
from pico_tunnel.start import read_config, run_app

if TYPE_CHECKING:
    from pico_core.config.agent import AgentConfig, ListenerConfig
    from pico_driver.embedding.client import Client, Program
    from pico_tunnel.flags import Groups

FOREVER_S = float("inf")
"""An agent tries until it is ended: it has no patience that could run out."""


def import_app(target: str) -> Any:
    """Return the application that ``module:name`` stands for, also from this directory. Raises ``ConfigError``."""
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise ConfigError(f"argument APP: wants module:name, such as main:app, found {target!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever the module raises while it is imported
        raise ConfigError(f"argument APP: cannot import {module_name!r}: {_told(error)}") from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigError(f"argument APP: {module_name!r} has no {part!r}") from None
    if not callable(found):
        raise ConfigError(f"argument APP: {target!r} is not an application: it cannot be called")
    return found


def program_of(app: Any, config: ListenerConfig, grace_s: float, threads: int | None) -> Program:
    """Return the program that serves ``app`` by a client until it stops; with ``threads`` it is a WSGI application."""

    async def serve(client: Client) -> None:
        from pico_driver.embedding.errors import ClosedError

        options: dict[str, Any] = {"config": config, "patience_s": FOREVER_S, "grace_s": grace_s}
        if threads is None:
            block = client.serve(config.endpoint_id, app, **options)
        else:
            block = client.serve_wsgi(config.endpoint_id, app, threads=threads, **options)
        try:
            async with block:
                await client.wait_closed()
        except ClosedError:  # a signal has stopped the agent before the endpoint was registered
            await client.wait_closed()

    return serve


def _told(error: Exception) -> str:
    """Return an error in one line, with the place that raised it."""
    told = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, ModuleNotFoundError) or not frames:
        return told
    return f"{told} ({frames[-1].filename}, line {frames[-1].lineno})"


NOT_OF_APPS = ("endpoint_id", "addr", "protocol", "host_header")
"""Keys of a listener that mean nothing for an application in the agent's own process."""


def _app_keys() -> Groups:
    from pico_core.config.agent import ListenerConfig

    title, leaves = groups(ListenerConfig, title="Listener", without=NOT_OF_APPS)[0]
    access_log = [each for each in groups(ListenerConfig) if each[0].lower().startswith("access log")]
    return [(title, leaves), *access_log, *agent_keys()]


_reload = click.option(
    "--reload", is_flag=True, help="Start again whenever a Python file below this directory changes."
)


def _app_command(
    kind: str, examples: str, *options: Callable[[Any], Any]
) -> Callable[[Callable[..., int]], click.Command]:
    """Return the decorator of a command that serves an application; ``options`` are further ones."""

    def decorated(run: Callable[..., int]) -> click.Command:
        run = inspectable(runnable(run))
        for option in (
            _reload,
            *options,
            click.argument("app"),
            click.argument("endpoint", callback=checked("identifier")),
        ):
            run = option(run)
        return click.command(
            kind.lower(),
            cls=ConfigCommand,
            keys=_app_keys,
            aliases=PIKO_AGENT_FLAGS,
            short_help=f"Serve {'an' if kind == 'ASGI' else 'a'} {kind} application, without a port.",
            examples=examples,
        )(run)

    return decorated


@_app_command(
    "ASGI",
    """\
The application 'app' of main.py in this directory:
  pico agent asgi my-endpoint main:app
While you work on it:
  pico agent asgi my-endpoint main:app --reload
Through a distant cluster:
  pico agent asgi my-endpoint main:app --connect.url https://pico.example.com:8001""",
)
def agent_asgi(endpoint: str, app: str, flags: dict[str, str], **common: Any) -> int:
    """Answer the requests of ENDPOINT by the ASGI application APP, module:name, inside this process.

    FastAPI, Starlette, Django, Quart and Litestar make such applications; they run on asyncio and uvloop, some on trio.
    """
    return _run_app(endpoint, app, flags, **common)


@_app_command(
    "WSGI",
    """\
The application 'app' of main.py in this directory:
  pico agent wsgi my-endpoint main:app
With more requests at once:
  pico agent wsgi my-endpoint main:app --threads 100""",
    click.option("--threads", type=click.IntRange(1, 10_000), default=40, show_default=True, help="Requests at once."),
)
def agent_wsgi(endpoint: str, app: str, threads: int, flags: dict[str, str], **common: Any) -> int:
    """Answer the requests of ENDPOINT by the WSGI application APP, module:name, in threads of this process.

    Flask, Django and Bottle make such applications.
    """
    return _run_app(endpoint, app, flags, threads=threads, **common)


def _run_app(
    endpoint: str,
    app: str,
    flags: dict[str, str],
    *,
    config_path: str | None,
    expand_env: bool,
    runtime: str | None,
    reload: bool,
    threads: int | None = None,
) -> int:
    """Run an agent whose one listener an application in this process serves; in a child of it if ``reload``."""
    from msgspec.structs import replace

    from pico_core.config.agent import AgentConfig, ListenerConfig
    from pico_core.config.declare import leaves

    of_agent = {leaf.name for leaf in leaves(AgentConfig)}
    own = {name: text for name, text in flags.items() if name not in of_agent}
    rest = {name: text for name, text in flags.items() if name in of_agent}
    listener = read_config(ListenerConfig, {**own, "endpoint_id": endpoint, "addr": "1"})

    def read() -> AgentConfig:
        return replace(read_config(AgentConfig, rest, config_path, expand_env=expand_env), listeners=())

    if reload:
        from contextlib import closing

        from pico_tunnel.logs import standard_log_writer
        from pico_tunnel.reloading import supervise

        with closing(standard_log_writer(read().log)) as writer:
            return supervise([each for each in sys.argv[1:] if each != "--reload"], Path.cwd(), writer)
    program = program_of(import_app(app), listener, read().grace_period_s, threads)
    return finish(run_app(read, runtime, program, endpoint, app))
