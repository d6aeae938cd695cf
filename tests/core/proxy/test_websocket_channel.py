"""Raw bytes inside a WebSocket: what the plays of the TCP route and the forwarder leave out."""

import random

import pytest

from pico_core.boundary import Abort, Close, Command, PauseReading, ResumeReading, Send
from pico_core.machine.channel import TcpChannel
from pico_core.proxy.websocket_channel import WebSocketChannel
from pico_core.websocket.encoding import encode_close, encode_control, encode_frame
from tests.core.machine.channels import User, no_turns
from tests.play import joined

PONG = 0xA


def server_side(*, peer_closes: bool = True) -> tuple[WebSocketChannel, TcpChannel, list[Command]]:
    commands: list[Command] = []
    inner = TcpChannel(3, "192.0.2.7", commands.append, lambda connection: None, no_turns())
    return WebSocketChannel(inner, None, peer_closes=peer_closes), inner, commands


def test_no_data_follows_our_close_frame() -> None:
    channel, _, commands = server_side()
    channel.send((b"a", memoryview(b"b")))
    channel.send_eof()
    channel.send(b"c")
    channel.send_eof()
    channel.close()
    close = Send(3, encode_close(1000, "", None))
    assert commands == [Send(3, b"\x82\x02ab"), close, Close(3)]


def test_a_pong_means_nothing() -> None:
    channel, inner, commands = server_side()
    user = channel.user = User()
    data = encode_control(PONG, b"x", random.Random(1)) + joined(encode_frame((b"a",), 1, random.Random(1)))
    inner.user.on_data(data, 0.0)
    assert (user.heard, commands) == ([b"a"], [])


def test_it_reads_and_writes_as_its_connection_does() -> None:
    channel, inner, commands = server_side()
    user = channel.user = User()
    channel.pause_reading()
    channel.resume_reading()
    inner.user.on_writable(0.0)
    writable = [channel.writable]
    inner.writable = False
    writable.append(channel.writable)
    inner.user.on_lost(0.0)
    assert writable == [True, False]
    assert user.heard == ["writable", "lost"]
    channel.abort()
    assert commands == [PauseReading(3), ResumeReading(3), Abort(3)]


@pytest.mark.parametrize(("peer_closes", "heard"), [(True, ["lost"]), (False, ["eof", "lost"])])
def test_a_bare_fin_is_an_end_only_of_a_peer_that_sends_no_close(peer_closes: bool, heard: list[str]) -> None:
    channel, inner, commands = server_side(peer_closes=peer_closes)
    user = channel.user = User()
    inner.user.on_eof(0.0)
    assert user.heard == heard
    assert commands == [Close(3)]


def test_a_fin_behind_a_close_is_an_end() -> None:
    channel, inner, _ = server_side()
    user = channel.user = User()
    inner.user.on_data(encode_close(1000, "", random.Random(1)), 0.0)
    inner.user.on_eof(0.0)
    assert user.heard == ["eof", "lost"]
