"""Traces of requests for OpenTelemetry: the section of their keys."""

import re
from typing import Annotated

from pico_core.config.declare import NAME, Key, Kind, Section, decimal_number
from pico_core.config.values import wrong

COLLECTOR = "a URL such as http://collector:4318/v1/traces"
_LOOK = re.compile(r"(?=[!-~]*\Z)https?://[^/?#@]+(/[^?#@]*)?")

DEFAULT_PATH = "/v1/traces"
"""Where collectors take spans (OpenTelemetry Protocol specification, OTLP/HTTP request)."""


def collector(text: str) -> str:
    """Parse the URL of a collector of spans; empty for none. Raises ``ConfigError``."""
    found = _LOOK.fullmatch(text)
    if text and found is None:
        raise wrong(COLLECTOR, text)
    return f"{text.rstrip('/')}{DEFAULT_PATH}" if found is not None and found[1] in (None, "/") else text


_URL = Kind("URL", COLLECTOR, collector)


class TracingConfig(Section, frozen=True, kw_only=True):
    """Traces: spans of requests, sent to a collector by OTLP over HTTP."""

    endpoint: Annotated[
        str,
        Key(
            _URL,
            f"Where the collector takes spans; without a path, {DEFAULT_PATH}. It needs the extra otel of the package.",
            "Empty: no spans are made, and traceparent passes as it came.",
        ),
    ] = ""
    sample_ratio: Annotated[
        float,
        Key(
            decimal_number(0, 1),
            "The part of the requests that is traced, of those that come without a traceparent, which decides itself.",
            "1: an operator who names a collector wants to see requests; give less where there are many.",
        ),
    ] = 1.0
    service_name: Annotated[
        str,
        Key(
            NAME,
            "The service.name of the spans.",
            "Empty: pico-server or pico-agent, so that both are told apart.",
        ),
    ] = ""
