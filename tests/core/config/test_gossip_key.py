"""The keys of ``cluster.gossip.keys``: every way to write them, and errors that show nothing of them."""

import base64

import pytest

from pico_core.config.gossip_key import GossipKey, gossip_key, gossip_keys
from pico_core.config.load import load
from pico_core.config.server import ServerConfig
from pico_core.errors import ConfigError

SECRET = bytes(range(200, 232))
TEXT = base64.b64encode(SECRET).decode()


@pytest.mark.parametrize("text", [TEXT, TEXT.rstrip("="), TEXT.translate({43: "-", 47: "_"}), SECRET.hex()])
def test_a_key_may_be_written_in_base64_and_in_hexadecimal_digits(text: str) -> None:
    assert gossip_key(text) == GossipKey(SECRET)


def test_a_key_is_not_shown() -> None:
    config = load(ServerConfig, None, {"cluster.gossip.keys": f"{TEXT},{SECRET[::-1].hex()}"}, "")
    assert config.cluster.gossip.secrets == [SECRET, SECRET[::-1]]
    for shown in (repr(config), str(config), f"{config.cluster.gossip.keys}"):
        assert TEXT[:8] not in shown
        assert repr(SECRET)[2:20] not in shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keys: hunter2", "server.yaml:3: cluster.gossip.keys: wants a list"),
        ("keys: [hunter2]", "cluster.gossip.keys[0]: wants a key of 32 bytes"),
        ("keys: ['hunter2 !']", "found 9 characters that are neither: make one with 'pico server key'"),
        (f"keys: [{base64.b64encode(b'hunter2' * 3).decode()}]", "found 21 bytes"),
        (f"keys: [{TEXT}]\n    keys_file: hunter.key", "keys and keys_file exclude each other"),
        (f"keys: [{', '.join([TEXT] * 9)}]", "at most 8"),
    ],
)
def test_errors_name_the_key_and_do_not_repeat_it(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(ServerConfig, f"cluster:\n  gossip:\n    {text}\n", {}, "server.yaml")
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert TEXT[:8] not in str(refused.value)


def test_a_file_has_a_key_on_each_line() -> None:
    found = gossip_keys(f"# the new one\n{TEXT}\n\n {SECRET[::-1].hex()} \n", "g.key")
    assert found == (GossipKey(SECRET), GossipKey(SECRET[::-1]))
    with pytest.raises(ConfigError, match=r"g\.key:2: wants a key of 32 bytes"):
        gossip_keys(f"{TEXT}\nhunter2\n", "g.key")
    with pytest.raises(ConfigError, match=r"g\.key: has no key"):
        gossip_keys("# nothing\n", "g.key")
