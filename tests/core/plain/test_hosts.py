"""By which names an admin port may be asked."""

import pytest

from pico_core.plain.hosts import HostNames

NAMES = HostNames(["pico.example.com", "*.example.net"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:8002", "[::1]", "[::1]:8002", "localhost:8002", "LOCALHOST", "pico", "pico.ns.svc",
        "pico.example.com.", "a.example.net:80", "",
    ],
)  # fmt: skip
def test_names_that_no_page_has(host: str) -> None:
    assert NAMES.knows(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "[::1]evil.example", "[::1]:80evil", "[evil.example]", "[::1", "::1", "a@localhost",
        "localhost:80:evil.example", "localhost:x", "127.0.0.1.evil.example", "example.net",
    ],
)  # fmt: skip
def test_names_that_a_page_may_have(host: str) -> None:
    assert not NAMES.knows(host)
