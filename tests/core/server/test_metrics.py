"""Counters of a server: what is counted where, and that clients cannot make them many."""

import random

import pytest

from pico_core.boundary import Accepted, Received
from pico_core.plain.exposition import Histogram
from pico_core.server.admin.metrics_text import metrics_text
from pico_core.server.metrics import LATENCY_BUCKETS_S, METHODS, OTHER, STATUSES
from tests.core.proxy.scene import AGENT, CLIENT, GET, OK, QUIET, client_joins, proxy_play, put
from tests.play import Data, Play, Reset, node_of


def series(play: Play) -> set[bytes]:
    """Return the names and labels of all samples."""
    play.take()
    lines = metrics_text(node_of(play).facts, play.now).splitlines()
    return {line.rpartition(b" ")[0] for line in lines if not line.startswith(b"#")}


def answered(play: Play, request: bytes, response: bytes) -> None:
    """Let the agent answer a request, on the stream it opened first."""
    play >> Received(CLIENT, request)
    play.take()
    play >> Data(AGENT, 2, response)
    play.take()


def test_a_value_on_a_bound_belongs_to_the_bucket_below() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 7.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 12.0


def test_an_answered_request() -> None:
    play = proxy_play(QUIET) >> Received(CLIENT, put(b"four"))
    play.take()
    metrics = node_of(play).facts.metrics
    assert metrics.requests_in_flight == 1
    play >> 0.2 >> Data(AGENT, 2, OK)
    play.take()
    counted = metrics.requests[200, b"PUT"]
    assert metrics.requests_in_flight == 0
    assert metrics.upstream_requests == 1
    assert counted.count == 1
    assert counted.latency_s.total == pytest.approx(0.2)
    assert counted.latency_s.counts[LATENCY_BUCKETS_S.index(0.25)] == 1
    assert (metrics.request_bytes.total, metrics.response_bytes.total) == (4, 2)


def test_what_is_answered_without_an_upstream_has_no_latency() -> None:
    play = proxy_play(QUIET) >> Received(CLIENT, GET.replace(b"e1", b"e2")) >> 0.2
    play.take()
    counted = node_of(play).facts.metrics.requests[502, b"GET"]
    assert counted.count == 1
    assert not any(counted.latency_s.counts)


def test_an_upgraded_connection_has_no_latency() -> None:
    play = proxy_play(QUIET)
    head = b"GET / HTTP/1.1\r\nHost: e1.example.com\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    answered(play, head, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    metrics = node_of(play).facts.metrics
    assert metrics.requests_in_flight == 1
    play >> 3600.0 >> Reset(AGENT, 2)
    play.take()
    assert metrics.requests_in_flight == 0
    assert metrics.requests[101, b"GET"].count == 1
    assert not any(metrics.requests[101, b"GET"].latency_s.counts)


def test_odd_statuses_share_a_label() -> None:
    play = proxy_play(QUIET)
    for status in (299, 418, 599):
        answered(play, GET, b"HTTP/1.1 %d Odd\r\nContent-Length: 0\r\n\r\n" % status)
    assert {key: each.count for key, each in node_of(play).facts.metrics.requests.items()} == {
        (0, b"GET"): 2,
        (418, b"GET"): 1,
    }


def test_methods_without_a_label_share_one_histogram() -> None:
    play = proxy_play(QUIET)
    for method in (b"BREW", b"PROPFIND", b"get"):
        answered(play, GET.replace(b"GET", method), OK)
    answered(play, GET.replace(b"GET", b"BREW"), b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    metrics = node_of(play).facts.metrics
    assert {key: each.count for key, each in metrics.requests.items()} == {(200, OTHER): 3, (404, OTHER): 1}
    assert sum(metrics.other_latency_s.counts) == 4


def test_what_is_not_a_request_is_counted() -> None:
    play = proxy_play(QUIET) >> Received(CLIENT, b"nonsense\r\n\r\n")
    play.take()
    assert node_of(play).facts.metrics.requests[400, OTHER].count == 1


def test_random_methods_hosts_and_endpoints_add_few_series() -> None:
    play = proxy_play(QUIET)
    answered(play, GET, OK)
    before = series(play)
    draw = random.Random(6)
    for number in range(100_000):
        word = f"{draw.getrandbits(48):x}"
        match number % 4:
            case 0:
                request = f"{word} / HTTP/1.1\r\nHost: e1.example.com\r\n\r\n"
            case 1:
                request = f"GET /{word} HTTP/1.1\r\nHost: {word}.example.com\r\n\r\n"
            case 2:
                request = f"{word} / HTTP/1.1\r\nHost: {word}\r\nx-pico-endpoint: {word}\r\n\r\n"
            case _:
                request = f"GET / HTTP/1.1\r\nHost: {word}\r\n\r\n"
        play.machine.handle(Received(CLIENT, request.encode()), play.now)
        if number % 4 == 0:
            play.take()
            play >> Data(AGENT, 2, OK if number % 8 else b"HTTP/1.1 501 No\r\nContent-Length: 0\r\n\r\n")
        if number % 1000 == 0:
            play.take()
    after = series(play)
    assert len(after - before) <= 20, sorted(after - before)
    assert sum(each.count for each in node_of(play).facts.metrics.requests.values()) == 100_001


def test_a_hostile_service_cannot_add_more_than_the_fixed_sets() -> None:
    play = proxy_play(QUIET)
    for status in range(200, 600):
        for method in (*METHODS[:-1], b"x", b"y"):  # TRACE reaches no service
            answered(play, GET.replace(b"GET", method), b"HTTP/1.1 %d Odd\r\nContent-Length: 0\r\n\r\n" % status)
    assert sum(each.count for each in node_of(play).facts.metrics.requests.values()) == 400 * 9
    per_histogram = len(LATENCY_BUCKETS_S) + 3
    assert len(node_of(play).facts.metrics.requests) <= (len(STATUSES) + 1) * (len(METHODS) + 1)
    assert len(series(play)) < (len(STATUSES) + 1) * (len(METHODS) * (per_histogram + 1) + 1) + 100


def test_secrets_never_appear() -> None:
    play = proxy_play(QUIET)
    canary = b"canary-7f3a"
    head = b"%b /%b?token=%b HTTP/1.1\r\nHost: e1.example.com\r\nAuthorization: Bearer %b\r\nCookie: %b\r\n\r\n"
    answered(play, head % ((canary,) * 5), OK)
    client_joins(play, 5) >> Received(5, b"GET / HTTP/1.1\r\nHost: %b.example.com\r\n\r\n" % canary)
    play >> Accepted(7, "upstream", "192.0.2.1", 9)
    play >> Received(7, b"GET /pico/v1/upstream/a%%20b HTTP/1.1\r\nHost: p\r\nAuthorization: %b\r\n\r\n" % canary)
    play.take()
    assert canary not in metrics_text(node_of(play).facts, play.now)
