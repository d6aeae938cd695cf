"""TLS as the server, under every runtime, against the TLS of Python's own sockets."""

import contextlib
import socket
import ssl
import threading

import pytest

from pico_core.boundary import (
    Abort,
    Accepted,
    Close,
    ConnectionLost,
    EofReceived,
    HandshakeBegan,
    HandshakeFailed,
    Listen,
    Listening,
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    WritingPaused,
    WritingResumed,
)
from pico_driver.reads import RECEIVE_BUFFER_BYTES
from pico_driver.tls_profiles import Profiles
from tests.adapters.stage import Stage, read_all, read_exactly, staged
from tests.adapters.tls.scene import MEBIBYTE, listening, peer, server, trusting
from tests.certificates import Files
from tests.waiting import PATIENCE_S


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
