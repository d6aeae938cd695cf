"""A request that failed goes elsewhere where that is proven to be right, and an upstream that fails is avoided."""

import pytest

from pico_core.boundary import Close, Connected, ConnectionLost, Received, Send, WritingPaused
from pico_core.server.node import ServerNode
from pico_core.server.retries import RESERVE, RetryBudget
from tests.core.proxy.scene import AGENT, CLIENT, GET, GET_SENT, NUMBERED, OK, client_joins, error, proxy_play
from tests.core.server.admin.scene import node_appears
from tests.core.server.test_peers import FROM_NODE, SEEMS_DEAD_S, clustered, dial, from_node
from tests.neighbours import know
from tests.play import PIKO, Data, Nothing, Open, Play, Reset, node_of

OTHER = 7
POST = GET.replace(b"GET", b"POST")
POST_SENT = GET_SENT.replace(b"GET", b"POST")
UNREACHABLE = error(502, "Bad Gateway", "upstream unreachable", reason="service-refused")


def failure(reason: str, status: str = "502 Bad Gateway") -> bytes:
    """Return an agent's answer that says what failed."""
    return f'HTTP/1.1 {status}\r\nX-Pico-Failure: {reason}\r\nContent-Length: 9\r\n\r\n{{"error"}}'.encode()


def two_agents() -> Play:
    """Return a server with two agents for one endpoint."""
    play = proxy_play()
    play.agent_registers(OTHER, "e1")
    return play


def served_by(play: Play, agent: int, request: bytes = GET) -> bool:
    """Let a client ask, and the agent answer; return whether that agent was asked."""
    cues = (play >> Received(CLIENT, request)).take()
    asked = [cue for cue in cues if isinstance(cue, Data)]
    (data,) = asked
    assert play >> Data(data.tunnel, data.stream, OK) << Send(CLIENT, OK)
    return data.tunnel == agent


@pytest.mark.parametrize("reason", ["service-refused", "agent-full", "stream-refused", "busy"])
@pytest.mark.parametrize(("request_head", "sent"), [(GET, GET_SENT), (POST, POST_SENT)])
def test_a_service_that_cannot_be_reached_was_not_asked_so_another_one_is(
    request_head: bytes, sent: bytes, reason: str
) -> None:
    play = two_agents() >> Received(CLIENT, request_head) << Open(AGENT, 2) << Data(AGENT, 2, sent)
    play >> Data(AGENT, 2, failure(reason)) << Open(OTHER, 2) << Data(OTHER, 2, sent)
    assert play >> Data(OTHER, 2, OK) << Send(CLIENT, OK)
    was_asked = any(served_by(play, AGENT) for _ in range(5))
    assert was_asked is (reason == "busy"), "an agent is avoided after a failure, and full tunnels are not a failure"


@pytest.mark.parametrize("reason", ["service-refused", "agent-full", "stream-refused", "agent-not-asked", "busy"])
@pytest.mark.parametrize("request_head", [GET, POST])
def test_what_an_agent_at_another_node_did_not_process_goes_elsewhere_too(request_head: bytes, reason: str) -> None:
    play = clustered() >> Received(CLIENT, request_head) << dial(2, 20) >> Connected(2, "192.0.2.20", 8000)
    play.take()
    know(play, 21)
    assert play >> Received(2, failure(reason)) << dial(4, 21)


def test_where_every_service_is_down_there_is_one_clear_answer() -> None:
    play = two_agents() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play >> Data(AGENT, 2, failure("service-refused"))
    play.take()
    assert play >> Data(OTHER, 2, failure("service-refused")) << UNREACHABLE


@pytest.mark.parametrize("reason", ["service-lost", "service-invalid", "service-timeout"])
def test_what_was_perhaps_processed_is_repeated_only_where_that_changes_nothing(reason: str) -> None:
    play = two_agents() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play >> Data(AGENT, 2, failure(reason))
    assert Open(OTHER, 2) in play.take()
    delete = GET.replace(b"GET", b"DELETE")
    play = two_agents() >> Received(CLIENT, delete)
    play.take()
    play >> Data(AGENT, 2, failure(reason))
    (answer, *_) = play.take()
    assert isinstance(answer, Send)
    assert b"50" in answer.data[:12]
    assert b"X-Pico-Failure" not in answer.data


def test_only_another_upstream_is_asked_again_after_it_was_perhaps_processed() -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    invalid = error(502, "Bad Gateway", "the service's response was not valid HTTP")
    assert play >> Data(AGENT, 2, failure("service-invalid")) << invalid


def test_an_unknown_failure_is_an_ordinary_response_without_the_field() -> None:
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    answer = failure("not-invented-yet")
    assert (
        play
        >> Data(AGENT, 2, answer)
        << Send(
            CLIENT,
            answer.replace(b"X-Pico-Failure: not-invented-yet\r\n", b"").replace(
                b"\r\n\r\n", b"\r\n" + NUMBERED + b"\r\n"
            ),
        )
    )


@pytest.mark.parametrize(
    "status", ["200 OK", "304 Not Modified", "421 Misdirected Request", "500 Internal Server Error"]
)
def test_what_failed_is_never_told_to_a_client(status: str) -> None:
    """Whatever the status, and though an agent that is not ours may pass on what its service made up."""
    play = proxy_play() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    lines = f"HTTP/1.1 {status}\r\nx-PICO-failure: made-up\r\nContent-Length: 0\r\n\r\n".encode()
    expected = lines.replace(b"x-PICO-failure: made-up\r\n", b"")
    if status >= "400":
        expected = expected[:-2] + NUMBERED + b"\r\n"
    assert play >> Data(AGENT, 2, lines) << Send(CLIENT, expected)


def test_an_agent_that_is_not_ours_is_not_believed_what_failed() -> None:
    """It passes on what its service says, so the answer is the service's: it is not tried elsewhere."""
    play = proxy_play(agent=(PIKO,))
    play.agent_registers(OTHER, "e1")
    assert play >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    answer = failure("service-refused")
    expected = answer.replace(b"X-Pico-Failure: service-refused\r\n", b"")
    expected = expected.replace(b"\r\n\r\n", b"\r\n" + NUMBERED + b"\r\n")
    assert play >> Data(AGENT, 2, answer) << Send(CLIENT, expected)


def test_an_upstream_that_failed_gets_single_requests_until_it_works() -> None:
    play = two_agents() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play >> Data(AGENT, 2, failure("service-refused"))
    play.take()
    assert play >> Data(OTHER, 2, OK) << Send(CLIENT, OK) >> 0.9
    assert not any(served_by(play, AGENT) for _ in range(4))
    play >> 1.0
    client_joins(play, 5) >> Received(CLIENT, GET) >> Received(5, GET)
    asked = [cue.tunnel for cue in play.take() if isinstance(cue, Data)]
    assert sorted(asked) == [AGENT, OTHER], "one request shows whether it works again"
    play >> Data(AGENT, 2, failure("service-refused"))
    *_, again = play.take()
    assert isinstance(again, Data)
    for stream in (2, again.stream):
        play >> Data(OTHER, stream, OK)
        play.take()
    play >> 2.9
    assert not any(served_by(play, AGENT) for _ in range(4)), "the pause is longer now"
    play >> 3.0
    assert any(served_by(play, AGENT) for _ in range(2))
    assert sum(served_by(play, AGENT) for _ in range(10)) == 5, "a success ends it"


def test_an_upstream_that_keeps_requests_waiting_is_avoided() -> None:
    play = two_agents() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT) >> 1.6
    for connection in (5, 9):
        client_joins(play, connection) >> Received(connection, GET)
    assert [cue.tunnel for cue in play.take() if isinstance(cue, Data)] == [OTHER, OTHER]


def stop(play: Play, agent: int) -> None:
    """Let an agent give no sign of life from now on."""
    play.tunnels[agent].tunnel.session.pause_output()


def go_on(play: Play, agent: int) -> None:
    """Let an agent that was stopped go on."""
    play.tunnels[agent].tunnel.session.resume_output()
    play >> Data(agent, 2, b"")


def test_a_safe_request_does_not_wait_for_an_agent_that_was_stopped() -> None:
    play = two_agents()
    stop(play, AGENT)
    play >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT) >> 1.4 << Nothing()
    assert play >> 2.1 << Reset(AGENT, 2) << Open(OTHER, 2) << Data(OTHER, 2, GET_SENT)
    assert play >> Data(OTHER, 2, OK) << Send(CLIENT, OK)


def test_a_post_is_not_sent_twice_though_its_agent_was_stopped() -> None:
    """The agent may go on at any moment, and find the request before the news that it is not wanted any more."""
    play = two_agents()
    stop(play, AGENT)
    assert play >> Received(CLIENT, POST) << Open(AGENT, 2) << Data(AGENT, 2, POST_SENT) >> 9.0 << Nothing()


def test_a_safe_request_waits_for_a_slow_service_whose_agent_lives() -> None:
    play = two_agents() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT) >> 5.0 << Nothing()
    assert play >> Data(AGENT, 2, OK) << Send(CLIENT, OK)


def test_an_agent_that_was_stopped_gets_no_single_requests_until_it_goes_on() -> None:
    play = two_agents()
    stop(play, AGENT)
    play >> Received(CLIENT, GET) >> 2.1
    play.take()
    play >> Data(OTHER, 2, OK)
    play.take()
    for second in range(3, 15):
        assert not served_by(play, AGENT), second
        play >> float(second)
    go_on(play, AGENT)
    client_joins(play, 5) >> Received(5, POST)
    play.take()
    play >> play.now + 0.6
    assert any(served_by(play, AGENT) for _ in range(4))


def _not_answered(reason: str) -> Send:
    failure = f"X-Pico-Failure: {reason}"
    return error(502, "Bad Gateway", "the agent does not respond", failure, client=9, reason=reason, entry=False)


def test_a_node_whose_agent_was_stopped_leaves_requests_to_other_nodes() -> None:
    play = clustered()
    play.agent_registers(AGENT, "e1")
    stop(play, AGENT)
    from_node(play)
    play.take()
    play >> 2.1
    answer = _not_answered("agent-silent")
    assert play << answer << Reset(AGENT, 2)
    answer = _not_answered("agent-not-asked")
    assert play >> Received(9, FROM_NODE.replace(b"GET", b"POST")) << answer, "it was not sent: it may go anywhere"


def test_an_upstream_that_takes_no_more_of_an_upload_is_avoided() -> None:
    head = b"POST / HTTP/1.1\r\nHost: e1.example.com\r\nContent-Length: 3\r\n\r\n"
    play = two_agents() >> Received(CLIENT, head) >> WritingPaused(AGENT) >> Received(CLIENT, b"a")
    play.take()
    play >> Received(CLIENT, b"b") >> 1.6
    play.take()
    for connection in (5, 9):
        client_joins(play, connection) >> Received(connection, GET)
    assert [cue.tunnel for cue in play.take() if isinstance(cue, Data)] == [OTHER, OTHER]


def test_an_upstream_whose_response_breaks_off_is_not_avoided() -> None:
    """A response that began shows that the agent and its service work; how it ends is the service's own business."""
    began = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
    play = two_agents() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    assert play >> Data(AGENT, 2, began) << Send(CLIENT, began) >> Reset(AGENT, 2) << Close(CLIENT)
    for connection in (5, 9):
        client_joins(play, connection) >> Received(connection, GET)
    assert sorted(cue.tunnel for cue in play.take() if isinstance(cue, Data)) == [AGENT, OTHER]


def test_an_upstream_whose_client_is_slow_to_upload_is_not_avoided() -> None:
    play = two_agents() >> Received(CLIENT, GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n")) >> 1.6
    play.take()
    for connection in (5, 9):
        client_joins(play, connection) >> Received(connection, GET)
    assert sorted(cue.tunnel for cue in play.take() if isinstance(cue, Data)) == [AGENT, OTHER]


def test_another_node_is_better_than_a_tunnel_here_that_fails() -> None:
    play = clustered()
    play.agent_registers(AGENT, "e1")
    play >> Received(CLIENT, POST) << Open(AGENT, 2) << Data(AGENT, 2, POST_SENT)
    assert play >> Data(AGENT, 2, failure("service-refused")) << dial(2, 20)
    client_joins(play, 5)
    assert play >> Received(5, GET) << dial(4, 20)


@pytest.mark.parametrize("trouble", ["draining", "unreachable"])
def test_a_node_in_trouble_is_not_better_than_a_tunnel_here_that_fails(trouble: str) -> None:
    """Found by seed 109 of the simulator: a request went to where a dead node had been."""
    play = clustered()
    play.agent_registers(AGENT, "e1")
    peer = know(play, 20)
    if trouble == "draining":
        peer.drains()
    else:
        peer.falls_silent()
    play >> SEEMS_DEAD_S
    assert [log.fields["node"] for log in play.logs if log.message == f"node {trouble}"] == ["node-20"]
    play >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT) >> SEEMS_DEAD_S + 2.0
    client_joins(play, 5)
    assert play >> Received(5, POST) << Open(AGENT, 4) << Data(AGENT, 4, POST_SENT)


def test_a_node_whose_agents_fail_is_avoided_for_that_endpoint_only() -> None:
    play = clustered() >> Received(CLIENT, POST) << dial(2, 20) >> Connected(2, "192.0.2.20", 8000)
    play.take()
    know(play, 21)
    know(play, 20, "e2")
    assert play >> Received(2, failure("service-refused")) << dial(4, 21)
    for connection in (11, 13, 15):
        client_joins(play, connection) >> Received(connection, GET)
        (command,) = play.take()
        assert command == dial(4 + (connection - 9), 21)
    client_joins(play, 17)
    (sent,) = (play >> Received(17, GET.replace(b"e1", b"e2"))).take()
    assert isinstance(sent, Send)
    assert sent.connection == 2, "node 20"


@pytest.mark.parametrize("answer", [OK, failure("service-lost")])
def test_nothing_is_kept_of_an_endpoint_that_a_node_no_longer_serves(answer: bytes) -> None:
    play = clustered() >> Received(CLIENT, POST) << dial(2, 20) >> Connected(2, "192.0.2.20", 8000)
    play.take()
    peer = node_of(play).facts.view.get("node-20")
    assert peer is not None
    know(play, 20, "").serves("e1", 0)
    assert (play >> Received(2, answer)).take()
    assert (peer.answered_at, peer.health) == ({}, {})


def test_a_node_tells_another_node_what_failed() -> None:
    play = clustered()
    play.agent_registers(AGENT, "e1")
    from_node(play)
    play.take()
    play >> Data(AGENT, 2, failure("service-refused"))
    assert play << error(
        502,
        "Bad Gateway",
        "upstream unreachable",
        "X-Pico-Failure: service-refused",
        client=9,
        entry=False,
        reason="service-refused",
    )
    assert b"x-pico-forward" in FROM_NODE


def test_a_client_does_not_see_what_peers_tell_each_other() -> None:
    play = clustered() >> Received(CLIENT, POST) << dial(2, 20) >> Connected(2, "192.0.2.20", 8000)
    play.take()
    assert (
        play
        >> Received(2, failure("service-lost"))
        << error(502, "Bad Gateway", "the service closed the connection without a response")
    )


def test_a_request_that_finds_no_route_is_sent_when_the_cluster_has_one() -> None:
    play = proxy_play() >> ConnectionLost(AGENT, "reset") >> Received(CLIENT, GET) << Nothing()
    know(play, 21)
    assert play << dial(2, 21)


def test_a_request_waits_for_the_address_of_a_node_whose_endpoints_are_known() -> None:
    """A node takes agents as soon as its ports are open, and may find out its own address only after that."""
    play = proxy_play() >> ConnectionLost(AGENT, "reset") >> Received(CLIENT, GET) << Nothing()
    cues = node_appears(play, "n21", "192.0.2.21", **{"endpoint:e1": "1", "proxy_addr": "192.0.2.21:8000"})
    assert dial(2, 21) in cues


def test_what_comes_through_another_node_does_not_wait_here() -> None:
    play = clustered()
    play.agent_registers(AGENT, "e1")
    play >> ConnectionLost(AGENT, "reset")
    assert from_node(play) << error(
        421,
        "Misdirected Request",
        "no available upstreams",
        "X-Pico-Failure: misdirected",
        client=9,
        reason="misdirected",
        entry=False,
    )


def test_a_retry_that_is_not_sent_is_neither_counted_nor_paid_for() -> None:
    play = proxy_play()
    machine = play.machine
    assert isinstance(machine, ServerNode)
    for _ in range(2 * int(RESERVE)):
        play >> Received(CLIENT, GET)
        *_, asked = play.take()
        assert isinstance(asked, Data)
        assert play >> Data(AGENT, asked.stream, failure("service-refused")) << UNREACHABLE
    assert (machine.facts.metrics.retries, machine.facts.metrics.retries_denied) == (0, 0)
    play.agent_registers(OTHER, "e1")
    play >> 10.0
    for connection in (5, 9):  # each agent is asked once
        client_joins(play, connection) >> Received(connection, GET)
    streams = {each.tunnel: each.stream for each in play.take() if isinstance(each, Data)}
    play >> Data(AGENT, streams[AGENT], failure("service-refused")) << Open(OTHER, 4)
    assert play << Data(OTHER, 4, GET_SENT)
    assert (machine.facts.metrics.retries, machine.facts.metrics.retries_denied) == (1, 0)


def test_a_request_that_could_not_be_sent_again_does_not_try_out_what_failed() -> None:
    play = two_agents() >> Received(CLIENT, GET) << Open(AGENT, 2) << Data(AGENT, 2, GET_SENT)
    play >> Data(AGENT, 2, failure("service-refused"))
    play.take()
    assert play >> Data(OTHER, 2, OK) << Send(CLIENT, OK) >> 2.0
    upload = b"POST / HTTP/1.1\r\nHost: e1.example.com\r\nContent-Length: 100000\r\n\r\n"
    client_joins(play, 5) >> Received(5, upload)
    client_joins(play, 7) >> Received(7, upload)
    assert {cue.tunnel for cue in play.take() if isinstance(cue, Data)} == {OTHER}
    play >> Received(CLIENT, GET)
    assert {cue.tunnel for cue in play.take() if isinstance(cue, Data)} == {AGENT}


def retries(budget: RetryBudget, endpoint: str, wanted: int) -> int:
    """Return how many of so many retries there are."""
    taken = 0
    for _ in range(wanted):
        if budget.has_left(endpoint):
            budget.take(endpoint)
            taken += 1
    return taken


def test_retries_are_a_share_of_the_requests() -> None:
    budget = RetryBudget()
    assert not budget.left
    assert retries(budget, "e1", 1_000) == RESERVE
    for _ in range(100):
        budget.request("e1")
    assert retries(budget, "e1", 100) in (19, 20)
    assert retries(budget, "e2", 1) == 1, "each endpoint has its own"
    for _ in range(2_000):
        budget.request("e1")
        budget.request("e2")
    assert not budget.left, "a full budget takes no memory"
