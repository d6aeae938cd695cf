"""Values that are not secrets, whatever they were meant to be: refused with the key, and never repeated."""

import json

import pytest

from pico_core.config.agent import AgentConfig
from pico_core.config.declare import Section
from pico_core.config.gossip_key import gossip_keys
from pico_core.config.load import load
from pico_core.config.policies import user
from pico_core.config.server import ServerConfig
from pico_core.errors import ConfigError

PLACES: list[tuple[type[Section], str, str]] = [
    (ServerConfig, "proxy: {{auth: {{hmac_secret_key: {}}}}}", "proxy.auth.hmac_secret_key"),
    (ServerConfig, "cluster: {{gossip: {{keys: [{}]}}}}", "cluster.gossip.keys[0]"),
    (AgentConfig, "connect: {{token: {}}}", "connect.token"),
    (AgentConfig, "inspect: {{bind_addr: ':4040', token: {}}}", "inspect.token"),
]
NAMES = (
    "$SECRET",
    "$(SECRET)",
    "${SECRET}",
    "$A_NAME_THAT_HAS_MORE_THAN_32_CHARACTERS",
    "$(a_name_of_more_than.32-characters)",
)


@pytest.mark.parametrize(("cls", "text", "key"), PLACES, ids=[key for _, _, key in PLACES])
@pytest.mark.parametrize("value", NAMES)
def test_the_name_of_a_variable(cls: type[Section], text: str, key: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(cls, text.format(f'"{value}"'), {}, "p.yaml")
    assert str(caught.value).startswith(f"p.yaml:1: {key}: its value is the name of an environment variable")


@pytest.mark.parametrize("value", NAMES)
def test_the_name_of_a_variable_in_a_file_or_as_a_password(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^--proxy.auth.hmac-secret-key-file: 'k': its value is the name"):
        load(ServerConfig, None, {"proxy.auth.hmac_secret_key_file": "k"}, "", lambda _: f"{value}\n")
    with pytest.raises(ConfigError, match=r"basic_auth\[0\]: user 'u': its value is the name"):
        load(ServerConfig, f'policies: [{{endpoints: [a], basic_auth: ["u:{value}"]}}]', {}, "")


def test_a_password_may_begin_with_a_dollar_sign() -> None:
    users = ("u:$ecret", "v:$2a$10$x", "w:$")
    config = load(ServerConfig, f"policies: [{{endpoints: [a], basic_auth: {json.dumps(users)}}}]", {}, "")
    (policy,) = config.policies
    assert policy.basic_auth == tuple(map(user, users))


@pytest.mark.parametrize("value", [" " * 40, "\\t" * 40, " \\t" * 20])
def test_blanks(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^p.yaml:1: proxy.auth.hmac_secret_key: wants a secret, found only blanks"):
        load(ServerConfig, f'proxy: {{auth: {{hmac_secret_key: "{value}"}}}}', {}, "p.yaml")
    with pytest.raises(ConfigError, match=r"basic_auth\[0\]: user 'u': the password is only blanks"):
        load(ServerConfig, f'policies: [{{endpoints: [a], basic_auth: ["u:{value}"]}}]', {}, "")


@pytest.mark.parametrize("character", ["0", "a", "\\0", "ä"])
def test_the_same_character_again_and_again(character: str) -> None:
    with pytest.raises(ConfigError, match="found the same character again and again"):
        load(ServerConfig, f'proxy: {{auth: {{hmac_secret_key: "{character * 40}"}}}}', {}, "p.yaml")


@pytest.mark.parametrize("length", [1, 31])
def test_a_secret_shorter_than_the_hash(length: int) -> None:
    """RFC 7518, section 3.2."""
    with pytest.raises(ConfigError, match="at least 32 bytes, found"):
        load(ServerConfig, f"proxy: {{auth: {{hmac_secret_key: {'ab' * length:.{length}}}}}}", {}, "p.yaml")


KEY, OTHER = "ab" * 31 + "cd", "ef" * 31 + "01"


@pytest.mark.parametrize("key", ["00" * 32, "A" * 43, "ff" * 32, "A" * 43 + "="])
def test_a_gossip_key_of_one_byte(key: str) -> None:
    with pytest.raises(ConfigError, match=r"^p.yaml:1: cluster.gossip.keys\[0\]: wants a key .* the same byte again"):
        load(ServerConfig, f"cluster: {{gossip: {{keys: ['{key}']}}}}", {}, "p.yaml")
    with pytest.raises(ConfigError, match=r"^k:1: wants a key .* the same byte again"):
        gossip_keys(key, "k")


def test_the_same_gossip_key_twice() -> None:
    load(ServerConfig, f"cluster: {{gossip: {{keys: ['{KEY}', '{OTHER}']}}}}", {}, "p.yaml")
    with pytest.raises(ConfigError) as caught:
        load(ServerConfig, f"cluster: {{gossip: {{keys: ['{KEY}', '{OTHER}', '{KEY.upper()}']}}}}", {}, "p.yaml")
    assert str(caught.value) == "p.yaml:1: cluster.gossip: keys: key 3 is key 1 again; a rotation needs another one"
    with pytest.raises(ConfigError, match=r"^k: key 2 is key 1 again"):
        gossip_keys(f"{KEY}\n# next\n{KEY}\n", "k")
