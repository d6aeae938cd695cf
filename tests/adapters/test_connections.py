"""TCP connections: opening, both directions, half-close, close, abort."""

import errno
import socket

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
    PauseReading,
    Received,
    ResumeReading,
    Send,
    SendEof,
    StopListening,
)
from tests.adapters.stage import Stage, read_all, read_exactly
from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, wait_until


def test_accepted_connection_carries_bytes_both_ways(stage: Stage) -> None:
    port = stage.listen()
    peer = stage.keep(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
    accepted = stage.wait(Accepted)
    assert accepted == Accepted(1, "tcp", "127.0.0.1", peer.getsockname()[1])
    peer.sendall(b"hello")
    assert stage.wait(Received) == Received(1, b"hello")
    stage.do(Send(1, b"good "), Send(1, (b"day", memoryview(b"-to-"), b"", b"you")))
    assert read_exactly(peer, 15) == b"good day-to-you"


def test_accepted_connections_have_odd_numbers_in_their_order(stage: Stage) -> None:
    port = stage.listen()
    assert [stage.peer(port)[1] for _ in range(3)] == [1, 3, 5]


def test_outgoing_connection_carries_bytes_both_ways(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        stage.do(Connect(2, "127.0.0.1", port, 5.0))
        peer = stage.keep(listener.accept()[0])
    peer.settimeout(PATIENCE_S)
    assert stage.wait(Connected) == Connected(2, "127.0.0.1", port)
    stage.do(Send(2, b"ping"))
    assert read_exactly(peer, 4) == b"ping"
    peer.sendall(b"pong")
    assert stage.wait(Received) == Received(2, b"pong")


def test_small_writes_are_not_delayed(stage: Stage) -> None:
    """TCP_NODELAY is on at both kinds of connection: the many small frames of a tunnel may not wait for each other."""
    for peer, number in (stage.pair(), stage.origin()):
        for size in range(1, 20):
            stage.do(Send(number, b"x" * size))
            assert read_exactly(peer, size) == b"x" * size


def test_peer_ends_its_stream_and_still_receives(stage: Stage) -> None:
    peer, number = stage.pair()
    peer.sendall(b"last words")
    peer.shutdown(socket.SHUT_WR)
    stage.wait(EofReceived, connection=number)
    assert stage.received(number) == b"last words"
    stage.do(Send(number, b"answer"))
    assert read_exactly(peer, 6) == b"answer"
    stage.do(Send(number, b", end"), Close(number))
    assert read_all(peer) == b", end"
    assert stage.wait(ConnectionLost).reason == ""


def test_machine_ends_its_stream_and_still_receives(stage: Stage) -> None:
    for peer, number in (stage.pair(), stage.origin()):
        stage.do(Send(number, b"request"), SendEof(number), SendEof(number))
        assert read_all(peer) == b"request"
        peer.sendall(b"response")
        stage.wait(Received, connection=number, data=b"response")
        peer.shutdown(socket.SHUT_WR)
        stage.wait(EofReceived, connection=number)
        stage.do(Close(number))
        assert stage.wait(ConnectionLost, connection=number).reason == ""


def test_end_of_our_stream_comes_after_a_large_buffer(stage: Stage) -> None:
    peer, number = stage.pair()
    body = bytes(range(256)) * 32_768
    stage.do(Send(number, body), SendEof(number))
    assert read_all(peer) == body
    assert stage.count(ConnectionLost) == 0


def test_end_of_a_stream_is_reported_once_though_reading_is_paused_and_resumed(stage: Stage) -> None:
    peer, number = stage.pair()
    peer.shutdown(socket.SHUT_WR)
    stage.wait(EofReceived)
    stage.do(PauseReading(number), ResumeReading(number))
    stage.do(Send(number, b"still here"))
    assert read_exactly(peer, 10) == b"still here"
    assert stage.count(EofReceived) == 1


def test_ending_both_streams_does_not_close(stage: Stage) -> None:
    """Only ``Close`` and ``Abort`` do, so that one end of a connection never depends on which side was first."""
    peer, number = stage.pair()
    peer.shutdown(socket.SHUT_WR)
    stage.wait(EofReceived)
    stage.do(SendEof(number))
    assert read_all(peer) == b""
    stage.do(lambda: None)
    assert stage.count(ConnectionLost) == 0


def test_close_sends_a_large_buffer_first(stage: Stage) -> None:
    peer, number = stage.pair()
    body = bytes(range(256)) * 32_768
    stage.do(Send(number, body), Close(number))
    assert read_all(peer) == body
    assert stage.wait(ConnectionLost, connection=number).reason == ""


def test_pieces_beyond_what_one_call_takes_arrive_in_order(stage: Stage) -> None:
    peer, number = stage.pair()
    pieces = tuple(b"%05d," % index for index in range(3_000))
    stage.do(Send(number, pieces), Send(number, pieces), Close(number))
    assert read_all(peer) == b"".join(pieces) * 2


def test_pieces_larger_than_the_buffers_arrive_in_order(stage: Stage) -> None:
    peer, number = stage.pair()
    pieces = tuple(memoryview(bytes([value]) * 300_001) for value in range(30))
    stage.do(Send(number, pieces), Send(number, b""), Send(number, (b"", b"tail", b"")), Close(number))
    assert read_all(peer) == b"".join(pieces) + b"tail"


def test_nothing_is_sent_after_close(stage: Stage) -> None:
    peer, number = stage.pair()
    body = b"x" * 8_000_000
    stage.do(Send(number, body), Close(number), Send(number, b"more"), SendEof(number), Close(number))
    assert read_all(peer) == body


def test_abort_resets_the_connection(stage: Stage) -> None:
    for peer, number in (stage.pair(), stage.origin()):
        stage.do(Abort(number))
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
        assert stage.wait(ConnectionLost, connection=number).reason == ""


def test_abort_throws_away_what_close_still_sends(stage: Stage) -> None:
    peer, number = stage.pair()
    stage.do(Send(number, b"x" * 16_000_000), Close(number))
    read_exactly(peer, 1)
    stage.do(Abort(number))
    stage.wait(ConnectionLost, connection=number)
    with pytest.raises(ConnectionResetError):
        read_all(peer)


def test_reset_by_the_peer_has_a_reason(stage: Stage) -> None:
    peer, number = stage.pair()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    assert stage.wait(ConnectionLost) == ConnectionLost(number, "connection reset by peer")


def test_reset_by_the_peer_is_found_when_sending(stage: Stage) -> None:
    """Reading is paused, so nothing but the next write can tell."""
    peer, number = stage.pair()
    stage.do(PauseReading(number))
    stage.do(Send(number, b"x"))
    read_exactly(peer, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    stage.do(Send(number, b"x"), Send(number, b"x"), Send(number, (b"x",)))
    assert stage.wait(ConnectionLost).reason in ("connection reset by peer", "broken pipe")


def test_reset_by_the_peer_is_found_when_ending_the_stream(stage: Stage) -> None:
    peer, number = stage.pair()
    stage.do(PauseReading(number), Send(number, b"x"))
    read_exactly(peer, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    stage.do(SendEof(number))
    assert stage.wait(ConnectionLost, connection=number).reason, "this is not an orderly end"


def test_reset_by_the_peer_while_much_is_buffered(stage: Stage) -> None:
    peer, number = stage.pair()
    stage.do(Send(number, b"x" * 16_000_000))
    read_exactly(peer, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    assert stage.wait(ConnectionLost, connection=number).reason in ("connection reset by peer", "broken pipe")


def test_commands_for_a_connection_that_is_gone_are_ignored(stage: Stage) -> None:
    _peer, number = stage.pair()
    stage.do(Abort(number))
    stage.wait(ConnectionLost)
    every = (
        Send(number, b"x"),
        Send(number, (b"x",)),
        SendEof(number),
        PauseReading(number),
        ResumeReading(number),
        Close(number),
        Abort(number),
        StopListening("none"),
        Send(4, b"never was"),
        Close(4),
        Abort(4),
    )
    stage.do(*every)
    other, _ = stage.pair()
    other.sendall(b"alive")
    stage.wait(Received, data=b"alive")
    assert stage.count(ConnectionLost) == 1


def test_connect_refused(stage: Stage) -> None:
    with reserved_port() as port:
        stage.do(Connect(2, "127.0.0.1", port, 5.0))
        assert stage.wait(ConnectFailed) == ConnectFailed(2, "connection refused")


def test_connect_times_out(stage: Stage) -> None:
    with socket.socket() as listener:
        port = fill_backlog(stage, listener)
        stage.do(Connect(2, "127.0.0.1", port, 0.25))
        assert stage.wait(ConnectFailed) == ConnectFailed(2, "timed out after 0.25 s")


@pytest.mark.parametrize("end", [Abort(2), Close(2)])
def test_pending_connect_is_given_up(stage: Stage, end: Abort | Close) -> None:
    with socket.socket() as listener:
        port = fill_backlog(stage, listener)
        stage.do(Connect(2, "127.0.0.1", port, 60.0))
        stage.do(end)
        assert stage.wait(ConnectFailed) == ConnectFailed(2, "aborted")


def test_connect_is_given_up_in_the_turn_it_is_asked_for(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stage.do(Connect(2, "127.0.0.1", listener.getsockname()[1], 60.0), Abort(2))
        assert stage.wait(ConnectFailed) == ConnectFailed(2, "aborted")


def test_connect_to_what_is_not_an_address(stage: Stage) -> None:
    stage.do(Connect(2, "a" * 64 + ".example", 80, 5.0))
    assert stage.wait(ConnectFailed).reason == "invalid address"
    stage.do(Connect(4, "127.0.0.1", 70_000, 5.0))
    assert stage.wait(ConnectFailed).reason
    stage.do(Connect(6, "255.255.255.255", 80, 5.0))
    assert stage.wait(ConnectFailed).reason


def fill_backlog(stage: Stage, listener: socket.socket) -> int:
    """Make a listener that answers no further connection, as one behind a firewall that drops packets."""
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(3):
        waiting = stage.keep(socket.socket())
        waiting.setblocking(False)
        assert waiting.connect_ex(listener.getsockname()) == errno.EINPROGRESS
    return int(listener.getsockname()[1])


def test_what_was_received_is_not_lost_when_a_write_fails(stage: Stage) -> None:
    """A peer that answers early and resets the connection: reading is paused, so that only a write can notice it."""
    for peer, number in (stage.pair(), stage.origin()):
        stage.do(PauseReading(number))
        stage.do(Send(number, b"the beginning"))
        assert read_exactly(peer, 13) == b"the beginning"
        peer.sendall(b"an early answer")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()

        def lost(number: int = number) -> bool:
            stage.do(Send(number, bytes(4_096)))
            return stage.count(ConnectionLost, connection=number) == 1

        wait_until(lost, "the connection is lost")
        assert stage.received(number) == b"an early answer"
        assert stage.wait(ConnectionLost, connection=number).reason != ""
