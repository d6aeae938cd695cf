"""Conversations of a bench with a server, byte by byte."""

from pico_core.bench.machine import BenchMachine
from pico_core.bench.plan import Outcome, Plan
from pico_core.boundary import (
    Abort,
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    EofReceived,
    Exit,
    Received,
    Send,
    ShutdownRequested,
    Tick,
)
from pico_core.config.values import Origin
from tests.play import Play

SERVER = Origin("127.0.0.1", 8000, "http")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DONE = Exit(0, "")


def asked(number: int = 0, more: str = "") -> bytes:
    return f"GET /{number or ''} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n{more}\r\n".encode()


def bench(**plan: object) -> tuple[Play, BenchMachine]:
    shown: list[Outcome] = []
    machine = BenchMachine(Plan(server=SERVER, **plan), shown.append)  # type: ignore[arg-type]
    return Play(machine), machine


def connected(connection: int) -> Connected:
    return Connected(connection, "127.0.0.1", 8000)


def test_a_client_sends_its_next_request_after_the_response_to_the_last() -> None:
    play, machine = bench(clients=1, target=b"/{n}", duration_s=5.0)
    play >> Tick() << Connect(2, "127.0.0.1", 8000, 10.0)
    play >> connected(2) << Send(2, asked(1))
    play >> Received(2, OK[:10])
    play >> Received(2, OK[10:]) << Send(2, asked(2))
    play >> 5.0
    play >> Received(2, OK) << Abort(2) << DONE
    assert machine.outcome.statuses == {"200": 2}
    assert machine.outcome.latency.max_us == 5_000_000
    assert machine.outcome.connections == 1


def test_the_latency_of_a_rate_counts_from_when_a_request_was_due() -> None:
    """One client, ten requests a second, and a server that answers the first after half a second."""
    play, machine = bench(clients=1, rate=10.0, duration_s=0.45)
    play >> Tick() << Connect(2, "127.0.0.1", 8000, 10.0)
    play >> connected(2) << Send(2, asked())
    play >> 0.4 >> Received(2, OK) << Send(2, asked())
    play >> Received(2, OK) << Send(2, asked())
    play >> 0.45
    play >> Received(2, OK) << Abort(2) << DONE
    outcome = machine.outcome
    assert outcome.latency.count == 3
    assert outcome.latency.min_us == 250_000
    assert outcome.latency.max_us == 400_000
    assert outcome.late == 1


def test_endpoints_get_requests_in_turn() -> None:
    play, _ = bench(clients=2, endpoints=("a", "b"))
    play >> Tick() << Connect(2, "127.0.0.1", 8000, 10.0) << Connect(4, "127.0.0.1", 8000, 10.0)
    play >> connected(2) << Send(2, asked(more="X-Pico-Endpoint: b\r\n"))
    assert play >> connected(4) << Send(4, asked(more="X-Pico-Endpoint: a\r\n"))


def test_a_connection_for_each_request() -> None:
    play, machine = bench(clients=1, keep_alive=False)
    play >> Tick() << Connect(2, "127.0.0.1", 8000, 10.0)
    play >> connected(2) << Send(2, asked(more="Connection: close\r\n"))
    answer = b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n"
    play >> Received(2, answer + b"later") >> EofReceived(2) << Abort(2) << Connect(4, "127.0.0.1", 8000, 10.0)
    assert machine.outcome.refused == 1


def test_a_failure_is_counted_and_the_client_rests() -> None:
    play, machine = bench(clients=1)
    play >> Tick() << Connect(2, "127.0.0.1", 8000, 10.0)
    play >> ConnectFailed(2, "connection refused")
    play >> 0.1 << Connect(4, "127.0.0.1", 8000, 10.0)
    play >> connected(4) << Send(4, asked())
    play >> Received(4, OK[:-1]) >> ConnectionLost(4, "reset")
    play >> 0.2 << Connect(6, "127.0.0.1", 8000, 10.0)
    play >> connected(6) << Send(6, asked())
    play >> Received(6, b"SSH-2.0\r\n\r\n") << Abort(6)
    assert machine.outcome.failures == {
        "no connection: connection refused": 1,
        "response cut": 1,
        "not a valid response": 1,
    }


def test_a_request_that_meets_the_end_of_a_connection_goes_on_another_one() -> None:
    play, machine = bench(clients=1)
    play >> Tick() << Connect(2, "127.0.0.1", 8000, 10.0)
    play >> connected(2) << Send(2, asked())
    play >> Received(2, OK) << Send(2, asked())
    play >> EofReceived(2) << Abort(2) << Connect(4, "127.0.0.1", 8000, 10.0)
    play >> connected(4) << Send(4, asked())
    assert machine.outcome.failures == {}


def test_bytes_after_a_response_are_not_the_next_one() -> None:
    play, machine = bench(clients=1)
    play >> Tick() << Connect(2, "127.0.0.1", 8000, 10.0)
    play >> connected(2) << Send(2, asked())
    play >> Received(2, OK + OK) << Abort(2) << Connect(4, "127.0.0.1", 8000, 10.0)
    assert machine.outcome.latency.count == 1


def test_a_server_that_never_answers_is_told_of() -> None:
    play, _ = bench(clients=1, duration_s=1.0, timeout_s=2.0)
    play >> Tick() << Connect(2, "127.0.0.1", 8000, 2.0)
    play >> connected(2) << Send(2, asked())
    play >> 1.0
    assert play >> 2.5 << Abort(2) << Exit(1, "no response from http://127.0.0.1:8000: timed out")


def test_an_interrupt_ends_it_with_what_there_is() -> None:
    play, _ = bench(clients=1)
    play >> Tick() << Connect(2, "127.0.0.1", 8000, 10.0)
    play >> connected(2) << Send(2, asked())
    play >> Received(2, OK) << Send(2, asked())
    assert play >> ShutdownRequested() << Abort(2) << DONE


def test_a_load_whose_server_answers_no_more_is_not_shorter() -> None:
    play, machine = bench(clients=1, duration_s=10.0)
    play >> Tick() << Connect(2, "127.0.0.1", 8000, 10.0)
    play >> connected(2) << Send(2, asked())
    play >> 2.0 >> Received(2, OK) << Send(2, asked())
    play >> 10.0
    play >> 12.0 << Abort(2) << DONE
    assert machine.outcome.failures == {"timed out": 1}
    assert machine.outcome.summary()["elapsed_s"] == 10.0
    assert machine.outcome.summary()["per_second"] == 0.1
