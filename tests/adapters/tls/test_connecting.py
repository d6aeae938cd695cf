"""TLS as the client, on a new connection and on one that is open."""

import contextlib
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pico_core.boundary import (
    Abort,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Received,
    Send,
    StartTls,
    TlsStarted,
)
from pico_driver.tls_errors import explain
from tests.adapters.stage import Stage, read_all, read_exactly
from tests.adapters.tls.scene import Origin, connect, trusting
from tests.certificates import Files, issue
from tests.waiting import PATIENCE_S


def test_connecting_with_tls(stage: Stage, files: Files) -> None:
    with contextlib.closing(Origin(files)) as origin:
        connect(stage, origin)
        assert stage.wait(Connected, connection=2).host == "127.0.0.1"
        stage.do(Send(2, b"hello"))
        assert read_exactly(origin.connection(), 5) == b"hello"
        origin.connection().sendall(b"back")
        assert stage.wait(Received, connection=2).data == b"back"


@pytest.mark.parametrize(
    ("names", "host", "issuer", "days", "said"),
    [
        (("a.example", "b.example"), "localhost", "tests", 7,
         "the certificate is for a.example, b.example, and not for 'localhost'"),
        (("127.0.0.2",), "127.0.0.1", "tests", 7, "the certificate is for 127.0.0.2, and not for '127.0.0.1'"),
        (("localhost",), "localhost", "strangers", 7,
         "is from an issuer that is not trusted; give the issuer's certificate with connect.tls.root_cas"),
        (("localhost",), "localhost", "tests", -1, "the certificate of 'localhost' has expired on "),
        (("localhost",), "localhost", "tests", 60, "the certificate of 'localhost' is not valid before "),
    ],
)  # fmt: skip
def test_a_server_that_is_not_the_one_expected(
    stage: Stage, tmp_path: Path, names: tuple[str, ...], host: str, issuer: str, days: int, said: str
) -> None:
    with contextlib.closing(Origin(issue(tmp_path, *names, issuer=issuer, days=days))) as origin:
        connect(stage, origin, host)
        assert said in stage.wait(ConnectFailed, connection=2).reason


@pytest.mark.parametrize("alert", ["UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED", "CERTIFICATE_UNKNOWN"])
def test_a_server_that_refuses_our_certificate(alert: str) -> None:
    error = ssl.SSLError(1, alert)
    error.reason = f"SSLV3_ALERT_{alert}"
    profile: Any = SimpleNamespace(server_side=False, key="connect.tls")
    said = explain(error, cast("ssl.SSLObject", None), "localhost", profile)
    assert said.startswith("the server does not accept our certificate (sslv3 alert ")


def test_an_address_that_a_certificate_has_as_a_host_name() -> None:
    error = ssl.SSLCertVerificationError(1, "mismatch")
    error.verify_code = 64
    leaf = SimpleNamespace(get_info=lambda: {"subjectAltName": (("DNS", "192.0.2.7"), ("DNS", "a.example"))})
    tls: Any = SimpleNamespace(_sslobj=SimpleNamespace(get_unverified_chain=lambda: [leaf]))
    profile: Any = SimpleNamespace(server_side=False, key="connect.tls")
    assert explain(error, tls, "192.0.2.7", profile) == (
        "the certificate is for 192.0.2.7 (as a host name, not an address), a.example, and not for '192.0.2.7'"
    )


def test_a_server_that_does_not_speak_tls(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        stage.do(Connect(2, "127.0.0.1", plain.getsockname()[1], PATIENCE_S, "outside", "localhost"))
        accepted, _ = plain.accept()
        with accepted:
            accepted.recv(1000)
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            reason = stage.wait(ConnectFailed, connection=2).reason
    assert reason == "the server does not speak TLS at this port; is it http:// and not https://?"


def test_the_time_to_connect_includes_the_handshake(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage.do(Connect(2, "127.0.0.1", silent.getsockname()[1], 0.3, "outside", "localhost"))
        assert stage.wait(ConnectFailed, connection=2).reason == "the TLS handshake took too long"


def test_a_connect_that_is_aborted_during_the_handshake(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage.do(Connect(2, "127.0.0.1", silent.getsockname()[1], PATIENCE_S, "outside", "localhost"))
        accepted, _ = silent.accept()
        with accepted:
            accepted.recv(1)
            stage.do(Abort(2))
            assert stage.wait(ConnectFailed, connection=2).reason == "aborted"
            with contextlib.suppress(ConnectionResetError):
                read_all(accepted)


def test_a_session_is_resumed(stage: Stage, files: Files) -> None:
    with contextlib.closing(Origin(files)) as origin:
        connect(stage, origin)
        stage.wait(Connected, connection=2)
        origin.connection().sendall(b"with tickets")
        stage.wait(Received, connection=2)
        again = Origin(files)
        again.context = origin.context  # the same server, which has the ticket's key
    with contextlib.closing(again):
        stage.do(Connect(4, "127.0.0.1", again.port, PATIENCE_S, "outside", "localhost"))
        stage.wait(Connected, connection=4)
        assert again.connection().session_reused


def test_tls_on_a_connection_that_is_open(stage: Stage, files: Files) -> None:
    with contextlib.closing(Origin(files)) as origin:
        stage.do(Connect(2, "127.0.0.1", origin.port, PATIENCE_S))
        stage.wait(Connected, connection=2)
        stage.do(StartTls(2, "outside", "localhost"))
        stage.wait(TlsStarted, connection=2)
        stage.do(Send(2, b"hello"))
        assert read_exactly(origin.connection(), 5) == b"hello"


def test_tls_on_an_open_connection_that_fails(stage: Stage, tmp_path: Path) -> None:
    with contextlib.closing(Origin(issue(tmp_path, "other.example"))) as origin:
        stage.do(Connect(2, "127.0.0.1", origin.port, PATIENCE_S))
        stage.wait(Connected, connection=2)
        stage.do(StartTls(2, "outside", "localhost"))
        reason = stage.wait(ConnectionLost, connection=2).reason
    assert reason == "the certificate is for other.example, and not for 'localhost'"


def test_tls_as_the_server_on_an_open_connection(stage: Stage, ca: str) -> None:
    """What came before is given to the handshake: a PROXY header and the beginning of TLS come in one piece."""
    plain, number = stage.pair()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(ca).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    stage.do(StartTls(number, "inside", "", outgoing.read()))
    incoming.write(plain.recv(65_536))
    tls.do_handshake()
    tls.write(b"hello")
    plain.sendall(outgoing.read())
    stage.wait(TlsStarted, connection=number)
    assert tls.selected_alpn_protocol() == "http/1.1"
    stage.wait_until(lambda: stage.received(number) == b"hello", "the message")
