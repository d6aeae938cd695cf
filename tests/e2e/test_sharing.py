"""Several requests in one tunnel, and several agents on one endpoint: the trouble of one does not harm the others."""

import collections
import contextlib
import http.client
import queue
import statistics
import threading
import time

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.harness import AT_ONCE_S, LOCAL, MIB, Fleet
from tests.e2e.origin import HangUpError, Origin, Visit, large
from tests.e2e.wire import dial, receive_response, request, request_bytes
from tests.waiting import PATIENCE_S, wait_until

STALLED_BYTES = 50 * MIB


def latency_s(stack: Stack, count: int = 200) -> float:
    """Do some requests and return the first decile of their durations: the latency when the machine has time."""
    taken = []
    with dial(stack.port) as wire:
        for _ in range(count):
            began_at = time.monotonic()
            wire.send(request_bytes("origin", "/describe"))
            assert receive_response(wire)[0].status == 200
            taken.append(time.monotonic() - began_at)
    return statistics.quantiles(taken, n=10)[0]


def test_a_client_that_does_not_read_slows_no_other_client(stack: Stack) -> None:
    sent = []

    def large(visit: Visit) -> None:
        visit.begin(f"Content-Length: {STALLED_BYTES}\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(STALLED_BYTES // MIB):
                visit.wire.send(bytes(MIB))
                sent.append(MIB)
        raise HangUpError

    path = stack.origin.handle(large)
    before_s = latency_s(stack)
    processes = (stack.server.process, stack.agent)
    for process in processes:
        process.reset_peak()
    held = [process.resident_bytes() for process in processes]
    with contextlib.ExitStack() as wires:
        for _ in range(5):
            wires.enter_context(dial(stack.port)).send(request_bytes("origin", path))
        during_s = latency_s(stack)
        assert sum(sent) < 5 * STALLED_BYTES  # the origin is held back, too
        for process, bytes_before in zip(processes, held, strict=True):
            assert process.peak_bytes() - bytes_before < 16 * MIB
    print(f"latency {before_s * 1e3:.2f} ms, beside five stalled clients {during_s * 1e3:.2f} ms")
    assert during_s < 5 * before_s + 0.002


def test_a_stalled_client_gets_all_of_it_in_the_end(stack: Stack) -> None:
    with dial(stack.port) as wire:
        wire.send(request_bytes("origin", stack.origin.handle(large)))
        latency_s(stack, 20)
        head = wire.receive_head()
        assert len(wire.receive_body(head)) == 20 * MIB


def test_agents_of_one_endpoint_share_the_load(fleet: Fleet, stack: Stack) -> None:
    origins = [Origin() for _ in range(3)]
    try:
        for each in origins:
            fleet.agent(stack.server, "balanced", each.port)
        with dial(stack.port) as wire:
            for _ in range(300):
                wire.send(request_bytes("balanced", "/describe"))
                assert receive_response(wire)[0].status == 200
        served = [len(each.requests) for each in origins]
        assert sum(served) == 300
        assert min(served) >= 30, "an agent that ends its streams late, as on a busy machine, gets fewer, but gets some"
        for each in origins:
            each.check()
    finally:
        for each in origins:
            each.close()


def test_the_agent_with_the_fewest_requests_in_flight_is_chosen(fleet: Fleet, stack: Stack) -> None:
    go_on = threading.Event()
    origins = [Origin() for _ in range(2)]

    def held(visit: Visit) -> None:
        busy.put(visit.head["host"])
        go_on.wait(PATIENCE_S)
        visit.respond(b"late")

    busy: queue.Queue[str] = queue.Queue()
    paths = [each.handle(held) for each in origins]
    assert paths[0] == paths[1]
    try:
        for each in origins:
            fleet.agent(stack.server, "uneven", each.port)
        with dial(stack.port) as first, dial(stack.port) as second:
            first.send(request_bytes("uneven", paths[0]))
            busy.get(timeout=PATIENCE_S)
            idle = [each for each in origins if not each.requests]
            assert len(idle) == 1
            for _ in range(20):
                second.send(request_bytes("uneven", "/describe"))
                assert receive_response(second)[0].status == 200
            assert len(idle[0].requests) == 20
            go_on.set()
            assert receive_response(first)[1] == b"late"
    finally:
        for each in origins:
            each.close()


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_killed_agent_costs_no_idempotent_request(fleet: Fleet, stack: Stack, method: str) -> None:
    """Requests run all the time; those the killed agent had in flight are sent to the other one."""
    statuses: collections.Counter[int] = collections.Counter()
    failures: list[Exception] = []
    done = threading.Event()
    held: queue.Queue[None] = queue.Queue()
    let_go = threading.Event()
    let_go.set()

    def think(visit: Visit) -> None:
        try:
            visit.body()
        except AssertionError as error:  # the agent was killed between the head and the body
            raise HangUpError from error
        if not let_go.is_set():
            held.put(None)
            assert let_go.wait(PATIENCE_S)
        visit.respond(b"thought")

    path = stack.origin.handle(think)
    agents = [fleet.agent(stack.server, f"killed-{method}", stack.origin.port) for _ in range(2)]

    def ask() -> None:
        connection = http.client.HTTPConnection(LOCAL, stack.port, timeout=PATIENCE_S)
        try:
            while not done.is_set():
                body = b"body" if method == "PUT" else None
                connection.request(method, path, body, {"Host": f"killed-{method}.pico.test"})
                response = connection.getresponse()
                response.read()
                statuses[response.status] += 1
        except Exception as error:  # noqa: BLE001 - the test's own thread asks for it
            failures.append(error)
        connection.close()

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    wait_until(lambda: statuses[200] > 100, "requests run")
    let_go.clear()
    for _ in clients:
        held.get(timeout=PATIENCE_S)
    agents[0].kill()
    held.get(timeout=PATIENCE_S)  # one of its requests comes again
    let_go.set()
    since = statuses[200]
    wait_until(lambda: statuses[200] > since + 200 or failures, "requests still run")
    done.set()
    for client in clients:
        client.join()
    assert not failures
    assert set(statuses) == {200}


def test_a_post_in_flight_is_not_sent_twice(fleet: Fleet, stack: Stack) -> None:
    arrived: queue.Queue[Visit] = queue.Queue()

    def pay(visit: Visit) -> None:
        visit.body()
        arrived.put(visit)
        visit.await_end()
        raise HangUpError

    path = stack.origin.handle(pay)
    agents = [fleet.agent(stack.server, "payment", stack.origin.port) for _ in range(2)]
    with dial(stack.port) as wire:
        wire.send(request_bytes("payment", path, "POST", body=b"100"))
        arrived.get(timeout=PATIENCE_S)
        agents[0].kill()
        agents[1].kill()  # which of the two had it is not known: sent again by the first, it would arrive here
        head, _ = receive_response(wire)
        assert head.status == 502
    assert arrived.empty()


def test_the_only_agent_comes_back(fleet: Fleet, stack: Stack) -> None:
    """The server forgets a lost tunnel at once, and uses the next one at once."""
    agent = fleet.agent(stack.server, "returning", stack.origin.port)
    for _ in range(3):
        assert request(stack.port, "returning", "/describe")[0].status == 200
        agent.kill()
        wait_until(
            lambda: request(stack.port, "returning", "/describe")[0].status == 502, "the loss is noticed", AT_ONCE_S
        )
        agent = fleet.agent(stack.server, "returning", stack.origin.port)
    assert request(stack.port, "returning", "/describe")[0].status == 200
