"""Certificates, the profiles of a machine, and a stage that has them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_core.config.tls import ClientTlsConfig
from pico_driver.tls_profiles import Profiles
from tests.adapters.stage import Stage, staged
from tests.adapters.tls.scene import server
from tests.certificates import Files, issue, write_authority


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return issue(tmp_path, "localhost", "127.0.0.1")


@pytest.fixture
def ca(tmp_path: Path) -> str:
    return write_authority(tmp_path)


@pytest.fixture
def profiles(files: Files, ca: str) -> Profiles:
    return Profiles(
        {"inside": ("proxy.tls", server(files))}, {"outside": ("connect.tls", ClientTlsConfig(root_cas=ca))}
    )


@pytest.fixture
def stage(runtime: str, profiles: Profiles) -> Iterator[Stage]:
    with staged(runtime, profiles=profiles) as opened:
        yield opened
