"""Profiles of TLS: those that are not held, and files that cannot be used."""

from pathlib import Path

import pytest

from pico_core.boundary import (
    Abort,
    Connect,
    ConnectFailed,
    Listen,
    ListenFailed,
    StopListening,
)
from pico_core.config.tls import ServerTlsConfig
from pico_core.errors import ConfigError
from pico_core.records import Log
from pico_driver.tls_profiles import Profiles
from tests.adapters.stage import Stage, staged
from tests.adapters.tls.scene import server
from tests.certificates import Files, issue


def test_listening_with_a_profile_that_is_not_held_fails(stage: Stage) -> None:
    stage.do(Listen("tcp", "127.0.0.1", 0, tls="unknown"), StopListening("tcp"))
    assert stage.wait(ListenFailed) == ListenFailed("tcp", "no TLS profile named 'unknown'")
    stage.peer(stage.listen())


def test_connecting_with_a_profile_that_is_not_held_fails_once(stage: Stage) -> None:
    port = stage.listen()
    stage.do(Connect(2, "127.0.0.1", port, 5.0, tls="unknown"), Abort(2))
    assert stage.wait(ConnectFailed) == ConnectFailed(2, "no TLS profile named 'unknown'")
    stage.do(Connect(4, "127.0.0.1", port, 5.0))
    stage.wait_until(lambda: len(stage.machine.contract.open) == 2, "both ends of the plain one")
    assert stage.count(ConnectFailed) == 1


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"cert": ("no.pem",), "key": ("no.key",)}, "proxy.tls.cert: cannot read 'no.pem': No such file or directory"),
        ({"cert": ("{cert}",), "key": ("no.key",)}, "proxy.tls.key: cannot read 'no.key': No such file or directory"),
        ({"cert": ("{cert}",), "key": ("{other}",)},
         "proxy.tls.key: '{other}' is not the key of the certificate in '{cert}'"),
        ({"cert": ("{key}",), "key": ("{key}",)}, "proxy.tls.cert: '{key}' has no certificate in PEM form"),
        ({"cert": ("{cert}",), "key": ("{cert}",)}, "proxy.tls.key: '{cert}' has no private key in PEM form"),
        ({"cert": ("{cert}",), "key": ("{key}",), "client_cas": "{empty}"},
         "proxy.tls.client_cas: '{empty}' has no certificate in PEM form"),
        ({"cert": ("{cert}",), "key": ("{encrypted}",)},
         "proxy.tls.key: '{encrypted}' is encrypted; write the key without a password"),
    ],
)  # fmt: skip
def test_one_line_says_which_file_is_wrong(tmp_path: Path, files: Files, section: dict[str, object], said: str) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    (tmp_path / "empty").touch()
    places = {
        "cert": files.cert,
        "key": files.key,
        "other": issue(tmp_path, "other.example").key,
        "empty": str(tmp_path / "empty"),
        "encrypted": str(encrypted),
    }

    def placed(value: object) -> object:
        return tuple(map(placed, value)) if isinstance(value, tuple) else str(value).format(**places)

    config = ServerTlsConfig(**{name: placed(value) for name, value in section.items()})  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as raised:
        Profiles({"proxy": ("proxy.tls", config)}, {})
    assert str(raised.value) == said.format(**places)


def test_an_expired_certificate_of_our_own_is_warned_of(runtime: str, tmp_path: Path) -> None:
    old = issue(tmp_path, "old.example", days=-1)
    with staged(runtime, profiles=Profiles({"inside": ("proxy.tls", server(old))}, {})) as stage:
        stage.listen()
        (warning,) = [each for each in stage.records if isinstance(each, Log)]
        assert warning.level == "warning"
        assert warning.fields["reason"] == f"proxy.tls.cert: the certificate in '{old.cert}' has expired"
