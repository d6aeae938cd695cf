"""Files that a machine reads, on every runtime: small regular ones, at once, and one clause for all others."""

import os
from pathlib import Path

import pytest

from pico_core.boundary import FileRead, ReadFile
from pico_driver.files import read_file
from tests.adapters.stage import Stage


def test_a_machine_gets_the_content_of_a_file(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"a.b.c\n")
    stage.do(ReadFile(1, str(file), 6), ReadFile(2, str(file), 5), ReadFile(3, str(tmp_path / "no"), 5))
    assert stage.wait(FileRead, query=1) == FileRead(1, b"a.b.c\n", "")
    assert stage.wait(FileRead, query=2) == FileRead(2, b"", "is longer than 5 bytes")
    assert stage.wait(FileRead, query=3) == FileRead(3, b"", "No such file or directory")


def test_what_is_not_a_small_file(tmp_path: Path) -> None:
    """Nothing here waits: a FIFO without a writer would, and a device has no end."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (str(fifo), str(tmp_path), "/dev/zero"):
        assert read_file(path, 10) == (b"", "is not a regular file")
    for path, reason in (("a\0b", "is not a path"), ("", "No such file or directory")):
        assert read_file(path, 10) == (b"", reason)
    assert read_file("x" * 10_000, 10) == (b"", "File name too long")


def test_a_link_that_is_swapped_is_followed(tmp_path: Path) -> None:
    """As Kubernetes replaces the files of a secret."""
    link = tmp_path / "token"
    for number, content in enumerate((b"one", b"two")):
        target = tmp_path / f"target-{number}"
        target.write_bytes(content)
        fresh = tmp_path / "fresh"
        fresh.symlink_to(target)
        fresh.replace(link)
        assert read_file(str(link), 10) == (content, "")


@pytest.mark.parametrize("size", [0, 1, 10])
def test_up_to_the_limit(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * size)
    assert read_file(str(file), 10) == (b"x" * size, "")
