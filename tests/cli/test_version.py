"""Which commit ``pico --version`` names, and that it names none rather than a wrong one."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pico_tunnel import version

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Installed:
    """A distribution with the record of where it came from."""

    def __init__(self, origin: Any) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.origin is None else json.dumps(self.origin)


@pytest.mark.parametrize(
    ("origin", "commit"),
    [
        ({"url": "https://git.example.com/pico", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}, COMMIT),
        ({"url": "file:///nowhere", "dir_info": {"editable": True}}, ""),
        ({"url": "file:///nowhere", "dir_info": {}}, ""),
        ({"url": "https://example.com/pico.whl", "archive_info": {}}, ""),
        (None, ""),
        ("odd", ""),
    ],
)
def test_the_commit_that_was_installed(monkeypatch: pytest.MonkeyPatch, origin: Any, commit: str) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda _: Installed(origin))
    assert version.commit() == commit
    assert ("commit:" in version.text()) == bool(commit)


def test_the_commit_of_an_editable_clone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    origin = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    monkeypatch.setattr(metadata, "distribution", lambda _: Installed(origin))
    (git / "HEAD").write_text(f"{COMMIT}\n")
    assert version.commit() == COMMIT
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert version.commit() == ""
    (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{COMMIT} refs/heads/main\n^{'0' * 40}\n")
    assert version.commit() == COMMIT
    (git / "refs" / "heads" / "main").write_text(f"{'f' * 40}\n")
    assert version.commit() == "f" * 40


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "DISTRIBUTION", "no-such-distribution-of-pico")
    assert version.commit() == ""
