"""TLS profiles: none is held yet, and a driver says so."""

from pico_core.boundary import Abort, Connect, ConnectFailed, Listen, ListenFailed, StopListening
from tests.adapters.stage import Stage


def test_listening_with_a_profile_that_is_not_held_fails(stage: Stage) -> None:
    stage.do(Listen("tcp", "127.0.0.1", 0, tls="inside"), StopListening("tcp"))
    assert stage.wait(ListenFailed) == ListenFailed("tcp", "no TLS profile named 'inside'")
    stage.peer(stage.listen())


def test_connecting_with_a_profile_that_is_not_held_fails_once(stage: Stage) -> None:
    port = stage.listen()
    stage.do(Connect(2, "127.0.0.1", port, 5.0, tls="outside"), Abort(2))
    assert stage.wait(ConnectFailed) == ConnectFailed(2, "no TLS profile named 'outside'")
    stage.do(Connect(4, "127.0.0.1", port, 5.0))
    stage.wait_until(lambda: len(stage.machine.contract.open) == 2, "both ends of the plain one")
    assert stage.count(ConnectFailed) == 1
