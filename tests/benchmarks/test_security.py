"""The judgement of ``make security``, and how payloads are led to the service."""

import base64
import json
from pathlib import Path

import pytest

from benchmarks.security import fuzzing, tables
from benchmarks.security.corpus import LED, payloads
from benchmarks.security.site import Figure, at_most, exactly


def test_a_figure_holds_up_to_its_limit() -> None:
    assert at_most("cost", 1.6, 1.6, "x").holds
    broken = at_most("cost", 1.61, 1.6, "x", "seven rounds")
    assert not broken.holds
    assert "1.61x (seven rounds)" in str(broken)
    assert str(broken).endswith("BROKEN")
    assert exactly("failed", 0, 0).holds
    assert not exactly("failed", 1, 0).holds
    assert str(Figure("for information", "3")).split() == ["for", "information", "3"]


def test_a_gossip_packet_under_a_key_costs_little() -> None:
    found = tables.gossip()
    assert len(found) == 2
    assert all(figure.holds for figure in found), [*map(str, found)]


def test_payloads_are_led_to_the_service(tmp_path: Path) -> None:
    rows = [
        ("a", "reject", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("b", "accept", b"GET / HTTP/1.1\r\nHost: other\r\n\r\n"),
        ("c", "reject", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
    ]
    lines = [
        json.dumps({"id": name, "expect": wanted, "b64": base64.b64encode(data).decode()})
        for name, wanted, data in rows
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    first, second, third = payloads(tmp_path)
    assert first == ("a", "reject", b"GET / HTTP/1.1\r\nHost: strict.example.com\r\n" + LED + b"\r\n\r\n")
    assert second == ("b", "accept", b"GET / HTTP/1.1\r\n" + LED + b"\r\nHost: other\r\n\r\n")
    assert third == rows[2]  # nothing is added to what must be refused


def test_a_folder_without_payloads_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no \*\.jsonl"):
        list(payloads(tmp_path))


def test_a_parser_is_fuzzed_alone() -> None:
    assert fuzzing.paths("") == ["fuzz"]
    assert fuzzing.paths("gossip,http") == ["fuzz/test_gossip.py", "fuzz/test_http.py"]
    each = fuzzing.paths("each")
    assert {"fuzz/test_gossip.py", "fuzz/test_mux.py", "fuzz/test_tls.py"} <= set(each)
    assert all((fuzzing.PROJECT / path).is_file() for path in each)
    with pytest.raises(ValueError, match="nothing to fuzz by the name of gosip; there are each, client_address"):
        fuzzing.paths("http,gosip")
