"""The Prometheus text format, read by prometheus-client's parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pico_core.plain.exposition import Exposition, Histogram, labels


def parsed(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by its name and labels."""
    families = text_string_to_metric_families(text.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_the_bytes() -> None:
    out = Exposition()
    out.counter("things_total", "Things seen.", {labels(kind="a", size="b"): 3, labels(kind="c", size="d"): 4})
    out.gauge("level", "How high.", {"": -1})
    out.gauge("nothing", "Never there.", {})
    histogram = Histogram((0.5, 1.0))
    histogram.observe(0.25)
    histogram.observe(3.0)
    out.histogram("wait_seconds", "How long.", {labels(kind="a"): histogram})
    assert out.text() == (
        b"# HELP pico_things_total Things seen.\n"
        b"# TYPE pico_things_total counter\n"
        b'pico_things_total{kind="a",size="b"} 3\n'
        b'pico_things_total{kind="c",size="d"} 4\n'
        b"# HELP pico_level How high.\n"
        b"# TYPE pico_level gauge\n"
        b"pico_level -1\n"
        b"# HELP pico_nothing Never there.\n"
        b"# TYPE pico_nothing gauge\n"
        b"# HELP pico_wait_seconds How long.\n"
        b"# TYPE pico_wait_seconds histogram\n"
        b'pico_wait_seconds_bucket{kind="a",le="0.5"} 1\n'
        b'pico_wait_seconds_bucket{kind="a",le="1.0"} 1\n'
        b'pico_wait_seconds_bucket{kind="a",le="+Inf"} 2\n'
        b'pico_wait_seconds_sum{kind="a"} 3.25\n'
        b'pico_wait_seconds_count{kind="a"} 2\n'
    )


def test_a_histogram_without_labels() -> None:
    out = Exposition()
    out.histogram("size_bytes", "How big.", {"": Histogram((10,))})
    assert parsed(out.text()) == {
        ("pico_size_bytes_bucket", (("le", "10"),)): 0,
        ("pico_size_bytes_bucket", (("le", "+Inf"),)): 0,
        ("pico_size_bytes_sum", ()): 0,
        ("pico_size_bytes_count", ()): 0,
    }


@pytest.mark.parametrize("value", ["", 'a"b', "a\\b", "a\nb", "\\n", 'x",y="', "ä€𝄞", "a}b", "# HELP"])
def test_label_values_that_need_escaping(value: str) -> None:
    out = Exposition()
    out.gauge("level", "How high.", {labels(kind=value): 1})
    assert parsed(out.text()) == {("pico_level", (("kind", value),)): 1}


@given(st.dictionaries(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])), st.integers(0), max_size=5))
def test_any_label_values(values: dict[str, int]) -> None:
    out = Exposition()
    out.counter("things_total", "Things seen.", {labels(kind=kind): count for kind, count in values.items()})
    expected = {("pico_things_total", (("kind", kind),)): count for kind, count in values.items()}
    assert parsed(out.text()) == expected
