"""Client certificates, certificates chosen by name, versions, and files that change."""

import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from pico_core.boundary import (
    Accepted,
    Connected,
    ConnectionLost,
    HandshakeFailed,
    Received,
    StopListening,
)
from pico_core.config.tls import ServerTlsConfig
from pico_core.records import Log
from pico_driver import handshakes
from pico_driver.tls_profiles import Profiles
from tests.adapters.stage import Stage, staged
from tests.adapters.tls.scene import Origin, connect, listening, peer, server, trusting
from tests.certificates import Files, issue
from tests.waiting import PATIENCE_S


@pytest.mark.parametrize("mode", ["required", "optional"])
def test_client_certificates(runtime: str, tmp_path: Path, files: Files, ca: str, mode: str) -> None:
    section = server(files, client_cas=ca, client_cert=mode)
    with staged(runtime, profiles=Profiles({"inside": ("proxy.tls", section)}, {})) as stage:
        known = trusting(ca)
        device = issue(tmp_path, "device-7.example", common_name="device 7")
        known.load_cert_chain(device.cert, device.key)
        peer(stage, known)
        assert stage.count(Accepted) == 1
        stage.do(StopListening("secure"))
        if mode == "optional":
            peer(stage, trusting(ca))
            return
        with socket.create_connection(("127.0.0.1", listening(stage)), PATIENCE_S) as plain:
            with (
                contextlib.suppress(OSError),
                trusting(ca).wrap_socket(plain, server_hostname="localhost") as nameless,
            ):
                nameless.recv(1)
            assert stage.wait(HandshakeFailed).reason == "the client showed no certificate"


def test_a_server_that_wants_a_certificate_says_which_key_to_set(stage: Stage, files: Files, ca: str) -> None:
    with contextlib.closing(Origin(files, client_ca=ca)) as origin:
        connect(stage, origin)
        wants = "the server wants a certificate: set connect.tls.cert and connect.tls.key"
        number = stage.wait(Connected).connection
        assert stage.wait(ConnectionLost) == ConnectionLost(number, wants, refused=True)


def test_the_certificate_is_chosen_by_name(runtime: str, tmp_path: Path, ca: str) -> None:
    several = [issue(tmp_path, name) for name in ("first.example", "second.example", "*.wild.example")]
    section = ServerTlsConfig(cert=tuple(each.cert for each in several), key=tuple(each.key for each in several))
    with staged(runtime, profiles=Profiles({"inside": ("proxy.tls", section)}, {})) as stage:
        for name in ("first.example", "second.example", "a.wild.example"):
            secure, _ = peer(stage, trusting(ca), name)
            assert ("DNS", name.replace("a.wild", "*.wild")) in secure.getpeercert()["subjectAltName"]  # type: ignore[index]
            stage.do(StopListening("secure"))
        with socket.create_connection(("127.0.0.1", listening(stage)), PATIENCE_S) as plain:
            with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.example"):
                trusting(ca).wrap_socket(plain, server_hostname="other.example")
            stage.wait(HandshakeFailed)


def test_changed_files_are_loaded_again(
    runtime: str, tmp_path: Path, files: Files, ca: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New connections get the new certificate; open ones go on; files that do not fit change nothing."""
    monkeypatch.setattr(handshakes, "FILES_CHECK_S", 0.05)
    profiles = Profiles({"inside": ("proxy.tls", server(files))}, {})
    with staged(runtime, profiles=profiles) as stage:
        before, number = peer(stage, trusting(ca))
        stage.do(StopListening("secure"))
        issue(tmp_path, "localhost", "127.0.0.1", "new.example")

        def messages() -> list[str]:
            return [each.message for each in list(stage.records) if isinstance(each, Log)]

        stage.wait_until(lambda: "certificates and keys loaded again" in messages(), "the new certificate")
        after, _ = peer(stage, trusting(ca), "new.example")
        stage.do(StopListening("secure"))
        before.sendall(b"still here")
        assert stage.wait(Received, connection=number).data == b"still here"
        Path(files.key).write_text("not a key")
        stage.wait_until(lambda: "the changed certificates are not used" in messages(), "the complaint")
        peer(stage, trusting(ca), "new.example")
        assert after.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions(stage: Stage, ca: str, version: ssl.TLSVersion) -> None:
    context = trusting(ca)
    context.minimum_version = context.maximum_version = version
    secure, number = peer(stage, context)
    secure.sendall(b"x")
    stage.wait(Received, connection=number)


def test_older_versions_are_refused(stage: Stage, ca: str) -> None:
    context = trusting(ca)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", listening(stage)), PATIENCE_S) as plain:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname="localhost")
        stage.wait(HandshakeFailed)
