"""A TCP channel: calls become commands, and what was ended stays silent."""

from pico_core.boundary import Abort, Close, PauseReading, ResumeReading, Send, SendEof
from tests.core.machine.channels import User, tcp


def test_calls_become_commands() -> None:
    channel, commands, closing = tcp()
    channel.send(b"a")
    channel.pause_reading()
    channel.pause_reading()
    channel.resume_reading()
    channel.resume_reading()
    channel.send_eof()
    channel.close()
    assert commands == [Send(7, b"a"), PauseReading(7), ResumeReading(7), SendEof(7), Close(7)]
    assert closing == [7]


def test_nothing_follows_close_but_a_reset() -> None:
    channel, commands, closing = tcp()
    channel.close()
    channel.close()
    channel.send(b"a")
    channel.send_eof()
    channel.pause_reading()
    channel.resume_reading()
    channel.abort()
    channel.abort()
    assert commands == [Close(7), Abort(7)]
    assert closing == [7]


def test_nothing_follows_a_loss() -> None:
    channel, commands, closing = tcp()
    user = channel.user = User()
    channel.lost(1.0)
    channel.send(b"a")
    channel.close()
    channel.abort()
    assert (commands, closing, user.heard) == ([], [], ["lost"])


def test_the_user_of_a_channel_that_it_ended_hears_nothing_more() -> None:
    closed, closed_commands, _ = tcp()
    aborted, aborted_commands, _ = tcp()
    user = closed.user = aborted.user = User()
    closed.close()
    aborted.abort()
    for channel in (closed, aborted):
        channel.user.on_data(b"a", 1.0)
        channel.user.on_eof(1.0)
        channel.user.on_writable(1.0)
        channel.lost(1.0)
    assert (closed_commands, aborted_commands, user.heard) == ([Close(7)], [Abort(7)], [])
