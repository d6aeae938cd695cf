"""TLS under every runtime, against the TLS of Python's own sockets."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    HandshakeBegan,
    HandshakeFailed,
    Listen,
    ListenFailed,
    Listening,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    StartTls,
    StopListening,
    TlsStarted,
    WritingPaused,
    WritingResumed,
)
from pico_core.config.tls import ClientTlsConfig, ServerTlsConfig
from pico_core.errors import ConfigError
from pico_core.records import Log
from pico_driver import handshakes
from pico_driver.reads import RECEIVE_BUFFER_BYTES
from pico_driver.tls_profiles import Profiles
from tests.adapters.stage import Stage, read_all, read_exactly, staged
from tests.certificates import Files, issue, write_authority
from tests.waiting import PATIENCE_S

MEBIBYTE = 1 << 20


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return issue(tmp_path, "localhost", "127.0.0.1")


@pytest.fixture
def ca(tmp_path: Path) -> str:
    return write_authority(tmp_path)


def server(files: Files, **more: object) -> ServerTlsConfig:
    return ServerTlsConfig(cert=(files.cert,), key=(files.key,), **more)  # type: ignore[arg-type]


@pytest.fixture
def profiles(files: Files, ca: str) -> Profiles:
    return Profiles(
        {"inside": ("proxy.tls", server(files))}, {"outside": ("connect.tls", ClientTlsConfig(root_cas=ca))}
    )


@pytest.fixture
def stage(runtime: str, profiles: Profiles) -> Iterator[Stage]:
    with staged(runtime, profiles=profiles) as opened:
        yield opened


def trusting(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def listening(stage: Stage) -> int:
    stage.do(Listen("secure", "127.0.0.1", 0, tls="inside"))
    return stage.wait(Listening, listener="secure").port


def peer(stage: Stage, context: ssl.SSLContext, name: str = "localhost") -> tuple[ssl.SSLSocket, int]:
    """Connect to the machine over TLS; return the peer's socket and the machine's number of the connection."""
    plain = stage.keep(socket.create_connection(("127.0.0.1", listening(stage)), PATIENCE_S))
    secure = context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)
    stage.keep(secure)
    return secure, stage.wait(Accepted, listener="secure").connection


class Origin:
    """A TLS server for one connection, which ``serve`` handles in a thread."""

    def __init__(self, files: Files, client_ca: str = "") -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(files.cert, files.key)
        if client_ca:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted: ssl.SSLSocket | None = None
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            plain, _ = self._listener.accept()
            self.accepted = self.context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False)

    def connection(self) -> ssl.SSLSocket:
        self._thread.join(PATIENCE_S)
        assert self.accepted is not None
        self.accepted.settimeout(PATIENCE_S)
        return self.accepted

    def close(self) -> None:
        self._listener.close()
        if self.accepted is not None:
            self.accepted.close()


# --- profiles ---


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


# --- accepting ---


def test_bytes_pass_both_ways(stage: Stage, ca: str) -> None:
    secure, number = peer(stage, trusting(ca))
    assert secure.selected_alpn_protocol() == "http/1.1"
    secure.sendall(b"request")
    assert stage.wait(Received, connection=number).data == b"request"
    stage.do(Send(number, b"one "), Send(number, (b"two ", memoryview(b"three"))))
    assert read_exactly(secure, 13) == b"one two three"


def test_the_end_of_each_direction_is_told_by_its_alert(stage: Stage, ca: str) -> None:
    secure, number = peer(stage, trusting(ca))
    secure.sendall(b"all")
    plain = secure.unwrap  # sends the alert, and waits for the machine's
    stage.wait(Received, connection=number)
    thread = threading.Thread(target=lambda: contextlib.suppress(OSError).__enter__() or plain(), daemon=True)
    thread.start()
    stage.wait(EofReceived, connection=number)
    stage.do(SendEof(number))
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    stage.do(Close(number))
    assert stage.wait(ConnectionLost, connection=number).reason == ""


def test_after_our_end_the_peer_may_still_send(stage: Stage, ca: str) -> None:
    secure, number = peer(stage, trusting(ca))
    stage.do(Send(number, b"last"), SendEof(number))
    assert read_exactly(secure, 4) == b"last"
    assert secure.recv(1) == b""  # the alert; a cut would raise
    secure.sendall(b"still here")
    assert stage.wait(Received, connection=number).data == b"still here"


def test_a_stream_that_ends_without_the_alert_was_cut(stage: Stage, ca: str) -> None:
    secure, number = peer(stage, trusting(ca))
    secure.sendall(b"half of")
    stage.wait(Received, connection=number)
    socket.socket.shutdown(secure, socket.SHUT_WR)
    assert "was cut" in stage.wait(ConnectionLost, connection=number).reason
    assert stage.count(EofReceived) == 0


def test_close_sends_everything_and_the_alert(stage: Stage, ca: str) -> None:
    secure, number = peer(stage, trusting(ca))
    stage.do(Send(number, bytes(MEBIBYTE)), Close(number))
    assert len(read_all(secure)) == MEBIBYTE  # raises where the alert is missing
    assert stage.wait(ConnectionLost, connection=number).reason == ""


def test_abort_is_seen_as_a_cut(stage: Stage, ca: str) -> None:
    secure, number = peer(stage, trusting(ca))
    stage.do(Send(number, bytes(32 * MEBIBYTE)), Abort(number))
    with pytest.raises(OSError):
        read_all(secure)
    stage.wait(ConnectionLost, connection=number)


def test_a_slow_reader_pauses_writing(stage: Stage, ca: str) -> None:
    secure, number = peer(stage, trusting(ca))
    for _ in range(2):
        stage.do(Send(number, bytes(16 * MEBIBYTE)))
        stage.wait(WritingPaused, connection=number)
        read_exactly(secure, 16 * MEBIBYTE)
        stage.wait(WritingResumed, connection=number)


def test_a_paused_connection_takes_no_more_than_what_is_on_its_way(stage: Stage, ca: str) -> None:
    secure, number = peer(stage, trusting(ca))
    stage.do(PauseReading(number))
    sent = bytes(8 * MEBIBYTE)
    thread = threading.Thread(target=secure.sendall, args=(sent,), daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert len(stage.received(number)) <= 2 * RECEIVE_BUFFER_BYTES
    stage.do(ResumeReading(number))
    thread.join(PATIENCE_S)
    stage.wait_until(lambda: len(stage.received(number)) == len(sent), "everything")


def test_records_cut_into_single_bytes(stage: Stage, ca: str) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(ca).wrap_bio(incoming, outgoing, server_hostname="localhost")
    plain = stage.keep(socket.create_connection(("127.0.0.1", listening(stage)), PATIENCE_S))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def drip() -> None:
        for byte in outgoing.read():
            plain.sendall(bytes([byte]))

    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            drip()
            incoming.write(plain.recv(65_536))
    drip()
    number = stage.wait(Accepted, listener="secure").connection
    tls.write(b"drop by drop")
    drip()
    stage.wait_until(lambda: stage.received(number) == b"drop by drop", "the message")


@pytest.mark.parametrize("hello", [b"SSH-2.0-x\r\n", b"\x16\x03\x01\xff\xff" + bytes(300), bytes(1000)])
def test_a_peer_that_does_not_speak_tls(stage: Stage, hello: bytes) -> None:
    with socket.create_connection(("127.0.0.1", listening(stage)), PATIENCE_S) as plain:
        plain.sendall(hello)
        stage.wait(HandshakeFailed, listener="secure")
        with contextlib.suppress(ConnectionResetError):
            read_all(plain)
    assert stage.count(Accepted) == 0


def test_a_client_of_http_is_told_so(stage: Stage) -> None:
    with socket.create_connection(("127.0.0.1", listening(stage)), PATIENCE_S) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = read_all(plain)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'{"error":"this port speaks TLS: begin with https://"}\n')
    assert stage.wait(HandshakeFailed).reason == "the client does not speak TLS at this port"


def test_a_handshake_has_a_deadline(runtime: str, files: Files) -> None:
    profiles = Profiles({"inside": ("proxy.tls", server(files, handshake_timeout_s=0.2))}, {})
    with staged(runtime, profiles=profiles) as stage:
        with socket.create_connection(("127.0.0.1", listening(stage)), PATIENCE_S) as plain:
            assert stage.wait(HandshakeFailed).reason == "the TLS handshake took too long"
            with contextlib.suppress(ConnectionResetError):
                assert read_all(plain) == b""
        assert stage.count(Accepted) == 0


def test_a_short_deadline_does_not_wait_for_a_longer_one(runtime: str, files: Files) -> None:
    sections = {
        "inside": ("upstream.tls", server(files, handshake_timeout_s=60.0)),
        "other": ("proxy.tls", server(files, handshake_timeout_s=0.2)),
    }
    with staged(runtime, profiles=Profiles(sections, {})) as stage:
        patient = stage.keep(socket.create_connection(("127.0.0.1", listening(stage)), PATIENCE_S))
        stage.wait(HandshakeBegan, listener="secure")
        stage.do(Listen("clients", "127.0.0.1", 0, tls="other"))
        port = stage.wait(Listening, listener="clients").port
        for _ in range(2):
            hasty = stage.keep(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
            hasty.sendall(b"\x16")
            assert stage.wait(HandshakeFailed, listener="clients").reason == "the TLS handshake took too long"
        patient.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stage.wait(HandshakeFailed).reason == "the client does not speak TLS at this port"


def test_handshakes_of_a_port_are_bounded(runtime: str, files: Files, ca: str) -> None:
    sections = {"inside": ("proxy.tls", server(files, max_handshakes=8)), "other": ("admin.tls", server(files))}
    with staged(runtime, profiles=Profiles(sections, {})) as stage:
        port = listening(stage)
        stage.do(Listen("operators", "127.0.0.1", 0, tls="other"))
        of_others = stage.wait(Listening, listener="operators").port
        first = stage.keep(socket.create_connection(("127.0.0.1", of_others), PATIENCE_S))
        stage.wait(HandshakeBegan, listener="operators")
        idle = [stage.keep(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) for _ in range(20)]
        stage.wait_until(lambda: stage.count(HandshakeFailed) == 12, "the oldest ones are given up")
        plain = stage.keep(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
        stage.keep(trusting(ca).wrap_socket(plain, server_hostname="localhost"))
        stage.wait(Accepted, listener="secure")
        assert len(idle) == 20
        assert stage.count(HandshakeBegan) == 22
        stage.keep(trusting(ca).wrap_socket(first, server_hostname="localhost"))
        stage.wait(Accepted, listener="operators")  # the handshakes of another port have not ended it


# --- connecting ---


def connect(stage: Stage, origin: Origin, host: str = "localhost", tls: str = "outside") -> None:
    stage.do(Connect(2, "127.0.0.1", origin.port, PATIENCE_S, tls, host))


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


# --- client certificates, names, files that change ---


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
