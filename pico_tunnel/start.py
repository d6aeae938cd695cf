"""From flags and files to a running node: reads the file, loads the configuration, makes the machine, runs it.

The ports are opened as soon as the configuration is known: peers that come while the code of the machine and of the
runtime is imported wait and are not refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from functools import partial
from stat import S_ISCHR, S_ISFIFO
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from pico_core.errors import ConfigError
from pico_driver.tls_sections import agent_sections, forward_sections, load_profiles, reload_profiles
from pico_tunnel.complaints import EXIT_USAGE

if TYPE_CHECKING:
    from pico_core.boundary import Exit, Machine
    from pico_core.config.agent import AgentConfig
    from pico_core.config.declare import Section, SectionType
    from pico_core.config.forward import ForwardConfig
    from pico_core.config.server import ServerConfig
    from pico_core.config.values import Address
    from pico_driver.attached import Attached
    from pico_driver.early import EarlyListeners
    from pico_driver.embedding.client import Program
    from pico_driver.inbox import Inbox
    from pico_driver.options import TakeSpans
    from pico_driver.tls_profiles import Profiles
    from pico_driver.tls_sections import TlsSections
    from pico_tunnel.logs import LogWriter
    from pico_tunnel.screen import Screen

Prepare: TypeAlias = "Callable[[Inbox, EarlyListeners], Attached | None]"
"""Makes the part of a process that works with its driver, which may have listeners and inputs already."""

Show: TypeAlias = "Callable[[str, bool, int], Screen]"
"""Makes what a terminal shows, from the runtime's name, whether in colours, and its width."""

Whole = TypeVar("Whole", "ServerConfig", "AgentConfig", "ForwardConfig")

CONFIG_PATH = "--config.path"

MAX_CONFIG_FILE_BYTES = 4 << 20
"""The longest text that can pass ``load`` as UTF-8; what is longer (a device, say) is not read to its end."""


def read_config(
    cls: type[SectionType], flags: dict[str, str], path: str | None = None, *, expand_env: bool = False
) -> SectionType:
    """Return the configuration ``cls`` from a file and flags. Raises ``ConfigError``. Next: one of ``run_...``."""
    from pico_core.config.load import load
    from pico_driver.files import read_secret

    _hide_secrets(cls, flags)
    text = None if path is None else read_text(path, CONFIG_PATH)
    return load(cls, text, flags, path or "", read_secret, os.environ if expand_env else None)


def _hide_secrets(cls: type[Section], flags: dict[str, str]) -> None:
    """Overwrite what flags give of secrets, before anything else is done: others may list the processes."""
    from pico_core.config.declare import GOSSIP_KEYS, KEY_SET, PROXY_URL, SECRET, TOKEN, leaves

    given: list[str] = []
    for leaf in leaves(cls):
        text, kind = flags.get(leaf.name, ""), leaf.key.kind
        if kind is GOSSIP_KEYS:  # click has joined what several flags gave
            given += filter(None, map(str.strip, text.split(",")))
        elif kind is KEY_SET:
            given += filter(None, [text.partition("?")[2]])
        elif text and kind in (SECRET, TOKEN, PROXY_URL):
            given.append(text)
    if given:
        from pico_tunnel.process import hide_arguments

        hide_arguments(given)


_READ: Final[set[str]] = set()
"""Paths that this process has read."""


def read_text(path: str, key: str) -> str:
    """Return the content of a file that ``key`` names. Raises ``ConfigError``.

    A pipe is read once: another look at it would find an empty file, or wait for a writer.
    """
    try:
        mode = os.stat(path).st_mode
        if path in _READ and (S_ISFIFO(mode) or S_ISCHR(mode)):
            raise ConfigError(f"{key}: {path!r} is not a regular file, and cannot be read again: restart instead")
        _READ.add(path)
        with open(path, "rb") as file:
            return file.read(MAX_CONFIG_FILE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = path if key == CONFIG_PATH else f"{key}: {path}"
        raise ConfigError(f"{place}: is not UTF-8 text at byte {error.start}; is it the right file?") from None
    except OSError as error:
        from pico_driver.files import unreadable

        raise ConfigError(f"{key}: {unreadable(path, error.strerror)}") from None


def with_gossip_keys(config: ServerConfig) -> ServerConfig:
    """Return the configuration with the keys of ``cluster.gossip.keys_file``, if it has one. Raises ``ConfigError``."""
    gossip = config.cluster.gossip
    if not gossip.keys_file:
        return config
    from msgspec.structs import replace

    from pico_core.config.gossip_key import gossip_keys

    key = "cluster.gossip.keys_file"
    keys = gossip_keys(read_text(gossip.keys_file, key), f"{key}: {gossip.keys_file}")
    return replace(config, cluster=replace(config.cluster, gossip=replace(gossip, keys=keys, keys_file="")))


class ServerSource:
    """Where the configuration of a server comes from. ``text`` is that of the file when it was last read well."""

    def __init__(self, flags: dict[str, str], path: str | None, *, expand_env: bool, text: str | None = None) -> None:
        self.flags = flags
        self.path = path
        self.expand_env = expand_env
        self.text = text

    def read(self) -> ServerConfig:
        """Read the file again. Raises ``ConfigError``."""
        text = None if self.path is None else read_text(self.path, CONFIG_PATH)
        config = self._load(text)
        self.text = text
        return config

    def read_kept(self) -> ServerConfig:
        """Return the configuration of ``text``. Raises ``ConfigError``: files that it names may have changed."""
        return self._load(self.text)

    def _load(self, text: str | None) -> ServerConfig:
        from pico_core.config.load import load
        from pico_core.config.server import ServerConfig
        from pico_driver.files import read_secret

        _hide_secrets(ServerConfig, self.flags)
        environment = os.environ if self.expand_env else None
        return with_gossip_keys(load(ServerConfig, text, self.flags, self.path or "", read_secret, environment))


def run_agent(read: Callable[[], AgentConfig], runtime: str | None) -> Exit:
    """Run an agent to its end; without a listener that is a ``ConfigError``. ``read`` is called again at SIGHUP."""
    from pico_driver.client_proxy import with_proxy

    def read_all() -> AgentConfig:
        config = read()
        if not config.listeners:
            raise ConfigError(
                "no listeners: list them in a file given with --config.path, or see 'pico agent http --help'"
            )
        return with_proxy(config)

    config = read_all()

    def make(_descriptors: int) -> Machine:
        from pico_core.agent.machine import AgentMachine
        from pico_driver.entropy import new_entropy
        from pico_tunnel.logs import people_look_on

        return AgentMachine(config, new_entropy(), is_watched=people_look_on())

    def show(name: str, colour: bool, width: int) -> Screen:
        from pico_tunnel.agent_screen import AgentScreen, Row

        rows = [Row(each.endpoint_id, each.protocol, str(each.addr)) for each in config.listeners]
        return AgentScreen(f"agent, {name}", str(config.connect.url), rows, colour=colour, width=width)

    return run_process(make, config, runtime, (), read_all, agent_sections, show=show)


def run_app(read: Callable[[], AgentConfig], runtime: str | None, program: Program, endpoint: str, app: str) -> Exit:
    """Run an agent whose listener ``endpoint`` is that of ``program``, to its end. ``read`` is called again at SIGHUP.

    ``app`` is what a terminal calls the service.
    """
    from pico_driver.client_proxy import with_proxy

    def read_all() -> AgentConfig:
        return with_proxy(read())

    config = read_all()

    def make(_descriptors: int) -> Machine:
        from pico_core.agent.client import ClientMachine
        from pico_driver.entropy import new_entropy
        from pico_tunnel.logs import people_look_on

        return ClientMachine(config, new_entropy(), is_watched=people_look_on())

    def show(name: str, colour: bool, width: int) -> Screen:
        from pico_tunnel.agent_screen import AgentScreen, Row

        rows = [Row(endpoint, "http", f"{app}, in this process", is_probed=False)]
        return AgentScreen(f"agent, {name}", str(config.connect.url), rows, colour=colour, width=width)

    return run_process(make, config, runtime, (), read_all, agent_sections, program, show=show)


def run_forward(read: Callable[[], ForwardConfig], runtime: str | None) -> Exit:
    """Run a forwarder to its end; without a port that is a ``ConfigError``. ``read`` is called again at SIGHUP."""
    from pico_driver.client_proxy import with_proxy

    def read_all() -> ForwardConfig:
        config = read()
        if not config.ports:
            raise ConfigError(
                "no ports: list them in a file given with --config.path, or see 'pico forward tcp --help'"
            )
        return with_proxy(config)

    config = read_all()

    def make(descriptors: int) -> Machine:
        from pico_core.forward.machine import ForwardMachine
        from pico_driver.entropy import new_entropy

        return ForwardMachine(config, new_entropy(), descriptors, checks_way=True)

    return run_process(make, config, runtime, [port.addr for port in config.ports], read_all, forward_sections)


def _reload(
    read: Callable[[], Whole],
    sections: Callable[[Whole], TlsSections],
    profiles: Profiles | None,
    writer: LogWriter,
) -> Whole:
    """Take over what is outside of the core, and return the rest. Raises ``ConfigError``."""
    from pico_core.records import Log

    fresh = read()
    files_changed = profiles is not None and profiles.changed
    reload_profiles(profiles, sections(fresh))
    writer.configure(fresh.log)
    if files_changed:
        writer(Log("info", "tls", "certificates and keys loaded again", {}))
    return fresh


def run_process(
    make: Callable[[int], Machine],
    config: Whole,
    runtime: str | None,
    ports: Iterable[Address],
    read: Callable[[], Whole],
    sections: Callable[[Whole], TlsSections],
    program: Program | None = None,
    prepare: Prepare | None = None,
    worker: int = 0,
    show: Show | None = None,
    node_id: Callable[[], str] = lambda: "",
) -> Exit:
    """Choose the runtime first: a missing one is told before anything else is done. Then open ``ports``.

    ``make`` is given how many descriptors the process may have open. ``read`` returns the configuration as it is now,
    ``sections`` those of its TLS profiles. ``program`` runs with a ``Client`` of the machine, if there is one.
    ``prepare`` makes what takes the machine's commands for this process. ``worker`` is the number that logs say, and
    ``node_id`` returns the ID that they say: it is called when the ports are open. ``show`` makes what a terminal
    shows. A message that the end still has is the command's to tell.
    """
    from pico_driver.early import EarlyListeners
    from pico_tunnel.collecting import paused
    from pico_tunnel.runtime import choose, installed, run

    name = choose(runtime, installed())
    try:
        profiles = load_profiles(sections(config))
        with paused(), closing(EarlyListeners()) as early:
            for address in ports:
                early.open(address.host, address.port)
            from pico_core.records import Log
            from pico_tunnel.logs import standard_log_writer
            from pico_tunnel.process import leave_orphans_to_the_kernel, raise_descriptor_limit, signals_kept

            screen = None if show is None else partial(show, name)
            if program is None and prepare is None:  # an application may start processes, and workers are some
                leave_orphans_to_the_kernel()
            with signals_kept() as inbox, closing(standard_log_writer(config.log, worker, screen, node_id())) as writer:
                descriptors = raise_descriptor_limit()
                writer(Log("debug", "process", "descriptor limit", {"descriptors": descriptors}))
                if not worker:
                    _warn_of_unexpanded(config, writer)
                is_parent = prepare is not None and not worker
                with ExitStack() as stack:
                    end = run(
                        make(descriptors),
                        writer,
                        name,
                        inbox=inbox,
                        early=early,
                        profiles=profiles,
                        reload=partial(_reload, read, sections, profiles, writer),
                        use_log_config=writer.configure,
                        take_spans=None if is_parent else _exporter_of(config, writer, stack),
                        program=program,
                        hub=None if prepare is None else prepare(inbox, early),
                    )
                return writer.take_last_words(end)
    except ConfigError as error:
        return _refused(error, config, worker, node_id())


def _refused(error: ConfigError, config: Whole, worker: int, node_id: str) -> Exit:
    """Return the end of a process whose configuration was read, and cannot be used."""
    from pico_core.boundary import Exit
    from pico_tunnel.logs import standard_log_writer

    with closing(standard_log_writer(config.log, worker, node_id=node_id)) as writer:
        return writer.take_last_words(Exit(EXIT_USAGE, str(error)))


def _warn_of_unexpanded(config: Section, writer: LogWriter) -> None:
    from pico_core.records import Log
    from pico_tunnel.unexpanded import unexpanded

    found = unexpanded(config)
    if found:
        hint = "expand the environment with --config.expand-env"
        writer(Log("warning", "config", "values name variables, as they are", {"keys": ", ".join(found), "hint": hint}))


def _exporter_of(config: Section, writer: LogWriter, stack: ExitStack) -> TakeSpans | None:
    """Start what sends spans, which ``stack`` ends, if the configuration names a collector. Raises ``ConfigError``."""
    tracing = getattr(config, "tracing", None)
    if tracing is None or not tracing.endpoint:
        return None
    from pico_tunnel.tracing import Exporter

    name = "pico-server" if hasattr(config, "cluster") else "pico-agent"
    return stack.enter_context(closing(Exporter(tracing, name, writer))).take
