"""Checks of the arguments that a program gives.

One that is wrong has to fail where it is given: the machine trusts its inputs, and an error in it would end the client
with all of its endpoints.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pico_core.config.agent import ListenerConfig
from pico_core.config.values import Origin, identifier, origin
from pico_core.errors import ConfigError

Result = TypeVar("Result")

MAX_COUNT = 1_000_000
"""The highest ``max_streams`` and ``threads``, as in a configuration."""


def wrong(name: str, wanted: str, found: object) -> ConfigError:
    """Return the error of an argument. It tells the type of what was found: the value may be a secret."""
    return ConfigError(f"{name} wants {wanted}, found {type(found).__name__}")


def text(name: str, value: object) -> str:
    """Return an argument that has to be a text."""
    if not isinstance(value, str):
        raise wrong(name, "a text", value)
    return value


def texts(name: str, value: object) -> Mapping[str, str]:
    """Return an argument that is a mapping of texts, or ``None`` for an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise wrong(name, "keys of the configuration with their values", value)
    for key, each in value.items():
        text(f"a key of {name}", key)
        text(f"'{key}' of {name}", each)
    return value


def _parsed(parse: Callable[[str], Result], name: str, value: object) -> Result:
    given = text(name, value)
    try:
        return parse(given)
    except ConfigError as error:
        raise ConfigError(f"{name} {error}") from None


def endpoint_id(value: object) -> str:
    """Return the ID of an endpoint."""
    return _parsed(identifier, "endpoint", value)


def service(value: object) -> Origin:
    """Return the address of a service; a port may be a number."""
    is_port = isinstance(value, int) and not isinstance(value, bool)
    return _parsed(origin, "addr", str(value) if is_port else value)


def seconds(name: str, value: object, *, is_zero_allowed: bool = True) -> float:
    """Return a time, which may be infinite."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong(name, "a number of seconds", value)
    if math.isnan(value) or value < 0 or (value == 0 and not is_zero_allowed):
        raise ConfigError(f"{name} wants a number of seconds, {'0 or more' if is_zero_allowed else 'above 0'}: {value}")
    return value


def count(name: str, value: object) -> int:
    """Return a number of things, at least one."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(name, "a whole number", value)
    if not 1 <= value <= MAX_COUNT:
        raise ConfigError(f"{name} wants a whole number from 1 to {MAX_COUNT}, found {value}")
    return value


def application(value: Any) -> Any:
    """Return an application."""
    if not callable(value):
        raise wrong("app", "an application", value)
    return value


def listener_config(value: object) -> ListenerConfig | None:
    """Return the configuration of a listener, or ``None``."""
    if value is not None and not isinstance(value, ListenerConfig):
        raise wrong("config", "a ListenerConfig", value)
    return value


def protocol(value: object) -> str:
    """Return the protocol of a service."""
    if value not in ("http", "tcp"):
        raise ConfigError(f"protocol wants 'http' or 'tcp', found {value!r}")
    return str(value)
