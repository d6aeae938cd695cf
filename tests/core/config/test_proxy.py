"""Proxies: their URLs, and which one the environment names for a server."""

from base64 import b64encode

import pytest

from pico_core.config.proxy import Proxy, proxy_from_environment, proxy_url
from pico_core.config.values import Origin
from pico_core.errors import ConfigError

SERVER = Origin("pico.example.com", 8001, "http")
PROXY = "http://proxy.example.com:3128"


def basic(credentials: str) -> str:
    return "Basic " + b64encode(credentials.encode()).decode()


@pytest.mark.parametrize(
    ("text", "host", "port", "authorization"),
    [
        ("http://proxy:3128", "proxy", 3128, ""),
        ("HTTP://proxy/", "proxy", 80, ""),
        ("proxy:3128", "proxy", 3128, ""),
        ("http://[::1]:1", "::1", 1, ""),
        ("http://me:secret@proxy:1", "proxy", 1, basic("me:secret")),
        ("http://me@proxy:1", "proxy", 1, basic("me:")),
        ("http://me:p%40ss:w@rd@proxy:1", "proxy", 1, basic("me:p@ss:w@rd")),
        ("http://@proxy:1", "proxy", 1, basic(":")),
        ("http://m\ud800:x@proxy:1", "proxy", 1, "Basic be2ggDp4"),
    ],
)
def test_a_proxy_url(text: str, host: str, port: int, authorization: str) -> None:
    proxy = proxy_url(text)
    assert proxy is not None
    assert (proxy.host, proxy.port, proxy.authorization) == (host, port, authorization)


def test_without_a_proxy_url_there_is_no_proxy() -> None:
    assert proxy_url("") is None


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("socks5://me:secret@proxy:1", "found 'socks5://***@proxy:1': 'socks5://' proxies are not supported"),
        ("https://me:secret@proxy:1", "found 'https://***@proxy:1': 'https://' proxies are not supported"),
        ("http://me:secret@", "found 'http://***@'"),
        ("http://me:secret@proxy:x", "found 'http://***@proxy:x'"),
        ("http://me:secret@proxy/path", "found 'http://***@proxy/path'"),
        ("me:secret@", "found '***@'"),
        ("me:secret://secret@", "found '***@'"),
    ],
)
def test_a_wrong_url_is_refused_without_its_credentials(text: str, end: str) -> None:
    with pytest.raises(ConfigError) as caught:
        proxy_url(text)
    assert str(caught.value).endswith(end)
    assert "secret" not in str(caught.value)


def test_credentials_are_never_shown() -> None:
    proxy = proxy_url("http://me:secret@proxy:1")
    assert (str(proxy), repr(proxy), f"{proxy}") == ("http://proxy:1", "Proxy('http://proxy:1')", "http://proxy:1")


@pytest.mark.parametrize(
    ("environment", "proxied"),
    [
        ({}, False),
        ({"HTTP_PROXY": ""}, False),
        ({"HTTP_PROXY": PROXY}, True),
        ({"http_proxy": PROXY}, True),
        ({"http_proxy": PROXY, "HTTP_PROXY": "http://other:1"}, True),
        ({"HTTPS_PROXY": PROXY}, False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "other.com, 10.0.0.0/8"}, True),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "*"}, False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "a,example.com"}, False),
        ({"HTTP_PROXY": PROXY, "no_proxy": " Pico.Example.com "}, False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": ".example.com"}, False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "*.example.com"}, False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": ".pico.example.com"}, True),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "ico.example.com"}, True),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "pico.example.com:8001"}, False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "pico.example.com:8000"}, True),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": ","}, True),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": ". .. *."}, True),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "localhost pico.example.com"}, False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "a,\tb pico.example.com,c"}, False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "pico.example.com."}, False),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": ".example.com.:8001"}, False),
    ],
)
def test_which_proxy_the_environment_names(environment: dict[str, str], proxied: bool) -> None:
    found = proxy_from_environment(SERVER, environment)
    assert found == (Proxy("proxy.example.com", 3128) if proxied else None)


@pytest.mark.parametrize(
    ("host", "no_proxy", "proxied"),
    [
        ("localhost", "", False),
        ("127.0.0.9", "", False),
        ("::1", "", False),
        ("10.1.2.3", "", True),
        ("10.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "11.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", False),
        ("10.1.2.3", "10.1.2.3:8001", False),
        ("10.1.2.3", "10.1.2.3:1", True),
        ("10.1.2.3", "2.3", True),
        ("2001:db8::7", "2001:db8::/32", False),
        ("2001:db8::7", "2001:db8::7", False),
        ("2001:db8::7", "[2001:db8::7]:8001", False),
        ("2001:db8::7", "[2001:db8::7]:1", True),
        ("2001:db8::7", "example.com", True),
    ],
)
def test_addresses_and_networks(host: str, no_proxy: str, proxied: bool) -> None:
    found = proxy_from_environment(Origin(host, 8001, "http"), {"HTTP_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert (found is not None) is proxied


def test_a_server_with_tls_has_a_variable_of_its_own() -> None:
    environment = {"HTTP_PROXY": "http://other:1", "HTTPS_PROXY": PROXY}
    assert str(proxy_from_environment(Origin("h", 443, "https"), environment)) == PROXY


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        proxy_from_environment(SERVER, {"http_proxy": "socks5://me:secret@h:1"})
    assert str(caught.value).startswith("http_proxy in the environment: wants the URL of an HTTP proxy")
    assert str(caught.value).endswith("; or list the server in NO_PROXY")
    assert "secret" not in str(caught.value)
