"""Credentials in a URL never come back in an error text, wherever the mistake in it is."""

from collections.abc import Callable
from typing import Any

import pytest

from pico_core.config import values
from pico_core.config.agent import AgentConfig
from pico_core.config.load import load
from pico_core.config.networks import network
from pico_core.config.proxy import proxy_from_environment, proxy_url
from pico_core.config.server import ServerConfig
from pico_core.config.tracing import collector
from pico_core.config.web import host_name, public_url, web_origin
from pico_core.errors import ConfigError
from tests.core.access.keys import SECRET as HMAC_SECRET

SECRET = "s3cret"

TEXTS = [
    "http://user:s3cret@host:8001",
    "http://user:s3cret@host:8001/path?query",
    "http://user:s3cret@host:8001/%",
    "https://user:s3cret@host",
    "ftp://user:s3cret@host",
    "HTTP://user:s3cret@",
    "http://user:s3cret@host:port",
    "http://user:s3cret@host/a b",
    "http://user:s3cret/@host",
    "http://user:s3cret//x@host",
    "http://user:s3cret@x@host",
    "http://s3cret@host:0",
    "http://user:s3cret@[host",
    "user:s3cret@host:8001",
    "s3cret@host:8001",
    "user:s3cret@host",
    "http://host/?token=s3cret",
    "http://host?s3cret",
    "https://host:8001/path?a=b&token=s3cret#x",
    "host:8001?s3cret",
]
PARSERS: list[Callable[[str], Any]] = [
    *(values.connect_url, values.server_url, values.origin, values.bind_address, values.local_address),
    *(values.advertised_address, values.member, values.host_header),
    *(collector, web_origin, host_name, public_url, network),
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
def test_credentials_are_struck_out(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert SECRET not in str(caught.value)
    assert "host" in str(caught.value) or text.endswith("@"), "the rest still says what was given"


@pytest.mark.parametrize("text", TEXTS)
def test_credentials_of_proxies_show_nowhere(text: str) -> None:
    server = values.Origin("pico.example.com", 8001, "http")
    for parse in (proxy_url, lambda text: proxy_from_environment(server, {"HTTP_PROXY": text})):
        shown = ""
        try:
            proxy = parse(text)
            shown = f"{proxy} {proxy!r}"
        except ConfigError as error:
            shown = str(error)
        assert SECRET not in shown


@pytest.mark.parametrize("text", TEXTS)
def test_files_and_flags(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(AgentConfig, None, {"connect.url": text}, "")
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load(AgentConfig, f"connect: {{url: '{text}'}}\n", {}, "agent.yaml")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "proxy: {auth: s3cr3t}",
        "upstream: {tenants: s3cr3t}",
        "upstream: {tenants: [s3cr3t]}",
        "cluster: {gossip: s3cr3t}",
        "cluster: {gossip: {keys: s3cr3t}}",
        "cluster: {gossip: {keys: [s3cr3t]}}",
        "proxy: {auth: {jwks: s3cr3t}}",
        "proxy: {auth: {hmac_secret_key: [s3cr3t]}}",
        "policies: s3cr3t",
        "policies: [{endpoints: [a], basic_auth: s3cr3t}]",
        "policies: [{endpoints: [a], basic_auth: [s3cr3t]}]",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(ServerConfig, text + "\n", {}, "server.yaml")
    assert "s3cr3t" not in str(raised.value)
    assert str(raised.value).startswith("server.yaml:1: ")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("proxy: {auth: {audience: foo, require_expiry: true}}", "pico.yaml:1: proxy.auth: audience"),
        ("upstream: {auth: {issuer: me}}", "pico.yaml:1: upstream.auth: issuer"),
        ("admin: {auth: {leeway: 0s}}", "pico.yaml:1: admin.auth: leeway"),
        (
            "admin: {auth: {disable_disconnect_on_expiry: true}}",
            "pico.yaml:1: admin.auth: disable_disconnect_on_expiry",
        ),
        ("proxy: {auth: {jwks: {cache_ttl: 1s}}}", "pico.yaml:1: proxy.auth: jwks"),
        (
            f"upstream:\n  auth: {{hmac_secret_key: {HMAC_SECRET}}}\n  tenants: [{{id: a, auth: {{audience: x}}}}]",
            "pico.yaml:3: upstream.tenants[0].auth: audience",
        ),
    ],
)
def test_rules_for_tokens_without_a_key_are_refused(text: str, place: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(ServerConfig, text, {}, "pico.yaml")
    keys = "hmac_secret_key, rsa_public_key, ecdsa_public_key, eddsa_public_key, jwks.endpoint"
    told = "has no effect without a key of its own: no token is checked by it; give"
    assert str(raised.value) == f"{place} {told} {keys}"


def test_rules_for_tokens_without_a_key_are_refused_as_flags_too() -> None:
    with pytest.raises(ConfigError, match=r"^proxy\.auth: audience has no effect without a key"):
        load(ServerConfig, None, {"proxy.auth.audience": "foo"}, "")


@pytest.mark.parametrize("endpoint", ["http://a.example/keys", ""])
def test_issuers_of_a_key_set_that_is_not_fetched_over_tls_are_refused(endpoint: str) -> None:
    given = f"endpoint: '{endpoint}', " if endpoint else ""
    with pytest.raises(ConfigError, match=r"^pico\.yaml:1: proxy\.auth\.jwks: root_cas has no effect on an endpoint"):
        load(ServerConfig, f"proxy: {{auth: {{jwks: {{{given}root_cas: ca.pem}}}}}}", {}, "pico.yaml")


@pytest.mark.parametrize("variable", ["${CI_PASSWORD}", "${CI_PASSWORD:a default that is not short at all}"])
@pytest.mark.parametrize(
    ("cls", "text", "place"),
    [
        (
            ServerConfig,
            "policies: [{endpoints: [a], basic_auth: ['ci:VARIABLE']}]",
            "policies[0].basic_auth[0]: user 'ci'",
        ),
        (ServerConfig, "proxy: {auth: {hmac_secret_key: 'VARIABLE'}}", "proxy.auth.hmac_secret_key"),
        (ServerConfig, "cluster: {gossip: {keys: ['VARIABLE']}}", "cluster.gossip.keys[0]"),
        (AgentConfig, "connect: {token: 'VARIABLE'}", "connect.token"),
        (AgentConfig, "connect: {proxy_url: 'http://user:VARIABLE@proxy:3128'}", "connect.proxy_url"),
    ],
)
def test_a_secret_that_is_the_name_of_a_variable_is_refused(cls: Any, text: str, place: str, variable: str) -> None:
    text = text.replace("VARIABLE", variable)
    told = "its value is the name of an environment variable: start with --config.expand-env"
    with pytest.raises(ConfigError) as raised:
        load(cls, text, {}, "pico.yaml")
    assert str(raised.value).startswith(f"pico.yaml:1: {place}: {told}")
    value = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert load(cls, text, {}, "pico.yaml", environ={"CI_PASSWORD": value})
