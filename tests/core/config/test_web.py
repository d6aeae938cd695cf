"""Origins of pages, and host names, as a configuration has them."""

from collections.abc import Callable

import pytest

from pico_core.config.web import host_name, web_origin
from pico_core.errors import ConfigError


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (web_origin, "https://App.example.com", "https://app.example.com"),
        (web_origin, "https://app.example.com:443/", "https://app.example.com"),
        (web_origin, "http://localhost:3000", "http://localhost:3000"),
        (web_origin, "http://[::1]:80", "http://[::1]"),
        (web_origin, "*", "*"),
        (host_name, "Pico.Example.com.", "pico.example.com"),
        (host_name, "*.example.com", "*.example.com"),
        (host_name, "*", "*"),
    ],
)
def test_value(parse: Callable[[str], str], text: str, value: str) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "found"),
    [
        (web_origin, "app.example.com", "it begins with http:// or https://, as in 'https://app.example.com'"),
        (web_origin, "https://app.example.com/path", "found 'https://app.example.com/path'"),
        (web_origin, "null", "found 'null'"),
        (web_origin, "", "found nothing"),
        (host_name, "pico:8002", "a port does not belong here"),
        (host_name, "a*.example.com", "found 'a*.example.com'"),
        (host_name, "", "found nothing"),
    ],
)
def test_wrong_value(parse: Callable[[str], str], text: str, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert found in str(caught.value)
