"""Differences of configurations, and what is taken over of them."""

from copy import copy

import msgspec
import pytest

from pico_core.config.agent import AgentConfig
from pico_core.config.changes import changed_keys, is_among, taken_over
from pico_core.config.declare import Section, leaves
from pico_core.config.forward import ForwardConfig
from pico_core.config.load import load
from pico_core.config.server import ServerConfig

OLD = load(ServerConfig, "proxy: {timeout: 1s}\ncluster: {join: [a]}\n", {}, "")
NEW = load(ServerConfig, "proxy: {timeout: 2s}\ngrace_period: 9s\npolicies: [{endpoints: [a]}]\n", {}, "")


def test_what_has_changed() -> None:
    assert sorted(changed_keys(OLD, NEW)) == ["cluster.join", "grace_period", "policies", "proxy.timeout"]
    assert list(changed_keys(OLD, OLD)) == []


def test_what_is_taken_over() -> None:
    third = taken_over(OLD, NEW, {"grace_period", "proxy"})
    assert sorted(changed_keys(third, NEW)) == ["cluster.join", "policies"]
    assert third.proxy.timeout_s == 2.0


def test_a_section_has_all_of_its_keys_and_no_namesake() -> None:
    assert is_among("proxy.auth.issuer", {"proxy.auth"})
    assert is_among("log", {"log"})
    assert not is_among("proxy.authority", {"proxy.auth"})


@pytest.mark.parametrize("root", [ServerConfig, AgentConfig, ForwardConfig])
def test_no_key_is_overlooked(root: type[Section]) -> None:
    """Any key that is written differently is found."""
    plain = root()
    for leaf in leaves(root):
        *sections, last = leaf.name.split(".")
        attribute = last + "_s" if leaf.key.kind.metavar == "DURATION" else last
        value: object = object()
        parts = [plain]
        for section in sections:
            parts.append(getattr(parts[-1], section))
        changed = _forced(parts[-1], attribute, value)
        for part, section in zip(reversed(parts[:-1]), reversed(sections), strict=True):
            changed = _forced(part, section, changed)
        assert list(changed_keys(plain, changed)) == [leaf.name]


def _forced(part: Section, attribute: str, value: object) -> Section:
    """Return a copy with one value replaced, without the checks of the section."""
    forced = copy(part)
    msgspec.structs.force_setattr(forced, attribute, value)
    return forced
