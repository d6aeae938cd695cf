"""A dial tries every address of its server in turn, within its time, and says what went wrong."""

import random

import pytest

from pico_core.boundary import (
    Abort,
    Close,
    Connect,
    Connected,
    ConnectFailed,
    Received,
    Resolve,
    Resolved,
    Send,
    ShutdownRequested,
)
from pico_core.config.values import Origin
from pico_core.dial import (
    AVOIDED_S,
    FALLBACK_S,
    HANDSHAKE_S,
    MAX_ADDRESSES_TRIED,
    REMINDER_S,
    SILENT_S,
    Backoff,
    Complaints,
    Server,
)
from pico_core.websocket.handshake import accept_handshake
from tests.core.dial_scene import A, B, C, dialing, first_address
from tests.play import Nothing, Play, joined


def test_an_address_is_not_looked_up() -> None:
    play, machine = dialing("192.0.2.9")
    assert play << Connect(2, "192.0.2.9", 8001, 10.0) >> ConnectFailed(2, "connection refused")
    assert machine.outcomes == ["connection refused"]


def test_a_dial_uses_the_tls_profile_of_its_server() -> None:
    """The certificate must be for the name in the URL, whichever of its addresses is tried."""
    play, _ = dialing("192.0.2.9", tls="servers")
    assert play << Connect(2, "192.0.2.9", 8001, 10.0, "servers", "192.0.2.9")
    play, _ = dialing(tls="servers")
    play << Resolve(1, "pico.example.com", 10.0) >> Resolved(1, (A,), "")
    assert play << Connect(2, A, 8001, 10.0, "servers", "pico.example.com")


def test_a_name_is_looked_up_and_its_addresses_are_tried_in_turn() -> None:
    play, machine = dialing()
    play << Resolve(1, "pico.example.com", 10.0) >> Resolved(1, (A, B, C), "")
    (first,) = play.take()
    assert isinstance(first, Connect)
    assert (first.port, first.timeout_s) == (8001, FALLBACK_S)
    play >> ConnectFailed(2, "connection refused")
    second = first_address(play)
    play >> 1.0 >> ConnectFailed(4, "connection refused")
    (third,) = play.take()
    assert isinstance(third, Connect)
    assert third.timeout_s == 9.0
    assert {first.host, second, third.host} == {A, B, C}
    assert play >> ConnectFailed(6, "no route to host")
    assert machine.outcomes == ["no route to host"]


def test_the_next_attempt_begins_with_another_address() -> None:
    """Every address accepts and is silent; each attempt looks the name up anew and goes on where the last one ended."""
    play, machine = dialing()
    seen: list[str] = []
    for number in range(4):
        play << Resolve(number + 1, "pico.example.com", 10.0) >> Resolved(number + 1, (B, A, C), "")
        while len(machine.outcomes) == number:
            for connect in play.take():
                if isinstance(connect, Connect):
                    seen.append(connect.host)
                    play >> Connected(connect.connection, connect.host, 8001)
            play.take()
            play >> play.now + 1.0
        play.take()
        play >> ShutdownRequested()
    play.take()
    assert set(seen[:3]) == {A, B, C}
    assert seen[3:] == seen[:-3]
    assert machine.outcomes == ["the server did not answer within 10 s"] * 4


def test_an_address_that_accepts_and_never_answers_is_left_for_the_next_one() -> None:
    play, machine = dialing()
    play.take()
    play >> Resolved(1, (A, B), "")
    silent = first_address(play)
    play >> Connected(2, silent, 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    play >> HANDSHAKE_S - 0.1 << Nothing() >> HANDSHAKE_S + 0.6 << Close(2)
    other = first_address(play)
    assert {silent, other} == {A, B}
    play >> Connected(4, other, 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert play >> Received(4, accept_handshake(joined(request.data)))
    assert machine.outcomes == ["open "]


def test_the_only_address_has_all_the_time() -> None:
    play, machine = dialing("192.0.2.9")
    play.take()
    play >> Connected(2, "192.0.2.9", 8001)
    play.take()
    assert play >> 9.9 << Nothing() >> 10.6 << Close(2)
    assert machine.outcomes == ["the server did not answer within 10 s"]


def answers(play: Play, connection: int, address: str, answer: bytes) -> Play:
    """Let the connection open, and what is behind it answer the request."""
    play >> Connected(connection, address, 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    return play >> Received(connection, answer)


LEAVING = b"HTTP/1.1 503 Service Unavailable\r\nX-Pico-Refused: leaving\r\nContent-Length: 2\r\n\r\n{}"
FOREIGN = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nhtml"
OWN = b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 15\r\n\r\n{"error":"why"}'


@pytest.mark.parametrize(("answer", "kind"), [(LEAVING, "leaving 503"), (FOREIGN, "foreign 404")])
def test_a_node_that_leaves_or_a_foreign_answer_is_not_the_last_word(answer: bytes, kind: str) -> None:
    play, machine = dialing()
    play.take()
    play >> Resolved(1, (A, B), "")
    answers(play, 2, first_address(play), answer) << Close(2)
    assert answers(play, 4, first_address(play), answer) << Close(4)
    (outcome,) = machine.outcomes
    assert outcome.startswith(kind)


def test_the_servers_own_refusal_is_the_last_word() -> None:
    play, machine = dialing()
    play.take()
    play >> Resolved(1, (A, B), "")
    assert answers(play, 2, first_address(play), OWN) << Close(2)
    assert machine.outcomes == ["passing 502 why"]


def test_one_attempt_tries_four_addresses_and_the_next_one_goes_on_behind_them() -> None:
    addresses = tuple(f"192.0.2.{number}" for number in range(1, 9))
    server = Server(Origin("pico", 1, "http"), random.Random(1))
    first = server.turns(addresses, 0.0)
    for address in first:
        server.tried(address)
    second = server.turns(addresses, 0.0)
    assert len(first) == MAX_ADDRESSES_TRIED
    assert set(first) | set(second) == set(addresses)


def reaches(server: Server, addresses: tuple[str, ...]) -> str:
    """Let a dial succeed at its first address, and return that one."""
    address = server.turns(addresses, 0.0)[0]
    server.tried(address)
    server.reached(address)
    return address


@pytest.mark.parametrize("seed", range(5))
def test_clients_spread_over_the_addresses_and_those_of_a_lost_node_over_the_others(seed: int) -> None:
    """Twenty listeners of one agent share its entropy; twenty agents do not."""
    shared = random.Random(seed)
    for entropies in ([shared] * 20, [random.Random(f"{seed} {number}") for number in range(20)]):
        servers = [Server(Origin("pico", 1, "http"), entropy) for entropy in entropies]
        at = {server: reaches(server, (A, B, C)) for server in servers}
        counts = [list(at.values()).count(address) for address in (A, B, C)]
        assert min(counts) >= 1
        assert max(counts) <= 14
        lost = [server for server in servers if at[server] == B]
        assert B not in {reaches(server, (A, B, C)) for server in lost}


def test_a_listener_that_lost_its_node_goes_to_any_of_the_others() -> None:
    chosen = set()
    for seed in range(20):
        server = Server(Origin("pico", 1, "http"), random.Random(seed))
        lost = reaches(server, (A, B, C))
        chosen.add((lost, reaches(server, (A, B, C))))
    assert chosen == {(lost, other) for lost in (A, B, C) for other in (A, B, C) if lost != other}


def test_an_address_that_was_silent_comes_last_for_a_while() -> None:
    server = Server(Origin("pico", 1, "http"), random.Random(1))
    server.failed(B, SILENT_S, 0.0)
    server.failed(C, SILENT_S / 2, 0.0)
    for _ in range(10):
        turns = server.turns((A, B, C), AVOIDED_S - 1)
        assert turns[-1] == B
        server.reached(turns[0])
    firsts = {server.turns((A, B, C), AVOIDED_S)[0] for _ in range(30)}
    assert B in firsts, "it may have recovered"


def test_an_address_that_answers_again_is_not_avoided() -> None:
    server = Server(Origin("pico", 1, "http"), random.Random(1), keeps=True)
    server.failed(B, SILENT_S, 0.0)
    server.reached(B)
    assert server.turns((A, B, C), 1.0)[0] == B


def test_only_so_many_silent_addresses_are_remembered() -> None:
    server = Server(Origin("pico", 1, "http"), random.Random(1))
    silent = [f"192.0.2.{number}" for number in range(100, 101 + 16)]
    for address in silent:
        server.failed(address, SILENT_S, 0.0)
    assert server.turns((silent[0], silent[1]), 0.0) == [silent[0], silent[1]]
    assert server.turns((silent[1], A), 0.0) == [A, silent[1]]


def test_a_forwarder_keeps_the_address_that_worked_until_that_one_fails() -> None:
    server = Server(Origin("pico", 1, "http"), random.Random(1), keeps=True)
    server.tried(B)
    server.reached(B)
    server.tried(A)  # another connection is on its way there
    assert {server.turns((A, B, C), 0.0)[0] for _ in range(20)} == {B}
    server.failed(A, 0.0, 0.0)
    assert server.turns((A, B, C), 0.0)[0] == B
    server.failed(B, 0.0, 0.0)
    server.tried(B)
    assert server.turns((A, B, C), 0.0)[0] == C


def silent_for(play: Play, seconds: float) -> str:
    """Let the address that a dial connects to accept, and say nothing for so long; return it."""
    (connect,) = play.take()
    assert isinstance(connect, Connect)
    play >> Connected(connect.connection, connect.host, 8001)
    play.take()
    play >> play.now + seconds
    return connect.host


def test_a_dial_tells_which_address_was_silent() -> None:
    play, machine = dialing()
    play.take()
    play >> Resolved(1, (A, B), "")
    silent = silent_for(play, HANDSHAKE_S)
    (second,) = (each for each in play.take() if isinstance(each, Connect))
    play >> Connected(second.connection, second.host, 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    play >> Received(second.connection, accept_handshake(joined(request.data)))
    for number in range(2, 8):
        play >> ShutdownRequested()
        play.take()
        play >> Resolved(number, (A, B), "")
        assert first_address(play) == second.host != silent
        machine.dials[-1].cancel(play.now)
        play >> ConnectFailed(4 + 2 * (number - 1), "aborted")
        play.take()
    assert machine.outcomes == ["open "]


def test_a_dial_that_is_cancelled_tells_of_the_address_that_did_not_answer_until_then() -> None:
    play, machine = dialing()
    play.take()
    play >> Resolved(1, (A, B), "")
    silent = silent_for(play, SILENT_S)
    play.take()
    machine.dials[0].cancel(play.now)
    play.take()
    play >> ShutdownRequested()
    play.take()
    firsts = []
    for number in range(2, 8):
        play >> Resolved(number, (A, B), "")
        firsts.append(first_address(play))
        machine.dials[-1].cancel(play.now)
        play.take()
        play >> ShutdownRequested()
        play.take()
    assert firsts == [({A, B} - {silent}).pop()] * 6


@pytest.mark.parametrize(("error", "reason"), [("no such name", "no such name"), ("", "the name has no address")])
def test_a_name_that_does_not_resolve(error: str, reason: str) -> None:
    play, machine = dialing()
    play.take()
    assert play >> Resolved(1, (), error)
    assert machine.outcomes == [reason]


def test_a_name_that_resolves_when_the_time_is_over() -> None:
    """So it is in a process that was stopped meanwhile: what came is told before the deadline (seed 700735)."""
    play, machine = dialing()
    play.take()
    play.now = 10.5
    assert play >> Resolved(1, (A, B), "")
    assert machine.outcomes == ["the name was not resolved within 10 s"]


def test_an_open_websocket_is_handed_over_with_what_came_behind() -> None:
    play, machine = dialing("192.0.2.9")
    play.take()
    play >> Connected(2, "192.0.2.9", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert play >> Received(2, accept_handshake(joined(request.data)) + b"more")
    assert machine.outcomes == ["open more"]


def test_a_cancelled_dial_says_nothing() -> None:
    play, machine = dialing()
    play.take()
    machine.dials[0].cancel(play.now)
    assert play >> Resolved(1, (A,), "")
    play >> ShutdownRequested() << Resolve(2, "pico.example.com", 10.0) >> Resolved(2, (A,), "")
    play.take()
    machine.dials[1].cancel(play.now)
    assert play << Abort(2) >> ConnectFailed(2, "aborted")
    play >> ShutdownRequested()
    play.take()
    play >> Resolved(3, (A,), "")
    play.take()
    play >> Connected(4, A, 8001)
    play.take()
    machine.dials[2].cancel(play.now)
    assert play << Close(4)
    assert machine.outcomes == []


def test_a_reason_is_warned_of_once_a_minute() -> None:
    complaints = Complaints()
    due = [complaints.is_due("refused", now) for now in (5.0, 5.1, 5.0 + REMINDER_S - 0.1, 5.0 + REMINDER_S)]
    assert due == [True, False, False, True]
    complaints.clear()
    assert complaints.is_due("refused", 6.0 + REMINDER_S), "another outage"


def test_only_so_many_reasons_are_warned_of_in_a_minute() -> None:
    complaints = Complaints()
    due = [complaints.is_due(f"reason {number}", 5.0) for number in range(9)]
    assert due == [True] * 8 + [False]


def test_pauses_double_up_to_the_last_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(1.0, 4.0, random.Random(1))
    bounds = [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (2.0, 4.0)]
    for least_s, most_s in bounds:
        assert least_s <= backoff.next_s() <= most_s
    backoff.reset()
    assert 0.5 <= backoff.next_s() <= 1.0


def test_the_path_of_the_url_comes_before_the_target() -> None:
    play, _ = dialing("192.0.2.9", "/tunnels")
    play.take()
    play >> Connected(2, "192.0.2.9", 8001)
    (request,) = play.take()
    assert isinstance(request, Send)
    assert joined(request.data).startswith(b"GET /tunnels/t HTTP/1.1\r\n")
