"""The dashboards and the alerts: every name, label and value that a query uses is in a scrape of a server."""

import json
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pico_core.agent.machine import AgentMachine
from pico_core.agent.pages import metrics_text as agent_metrics_text
from pico_core.boundary import Received
from pico_core.config.forward import ForwardConfig, PortConfig
from pico_core.config.values import Address
from pico_core.forward.machine import ForwardMachine
from pico_core.forward.pages import ForwardPages
from pico_core.plain.process_metrics import process_text
from pico_core.proxy.reasons import REASONS
from pico_core.server.admin.metrics_text import metrics_text
from pico_core.server.metrics import METHODS, STATUSES
from pico_driver.process import measure
from tests.core.agent.scene import agent_config, registered
from tests.core.proxy.scene import CLIENT, GET, QUIET, proxy_play
from tests.core.server.admin.scene import node_appears
from tests.deploy.promql import parse
from tests.play import node_of

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
OF_PROMETHEUS = {"job", "instance", "namespace"}
"""Labels of the scrape job, not of the server."""

RUNBOOK = "https://github.com/pico-tunnel/pico/blob/main/"
VARIABLE = re.compile(r"\$\{?(\w+)\}?")

Scrape = dict[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def scrape() -> Scrape:
    """The labels of every sample by its name, from a server that counted each status, and forwarded a request."""
    play = proxy_play(QUIET)
    node_appears(play, "node-2", "10.0.0.2", **{"proxy_addr": "10.0.0.2:8000", "endpoint:e2": "3"})
    play >> Received(CLIENT, GET.replace(b"e1", b"e2"))
    facts = node_of(play).facts
    for status in STATUSES:
        for method in METHODS:
            facts.metrics.series(status, method).latency_s.observe(0.1)
    found: Scrape = {}
    for text in (metrics_text(facts, play.now), process_text(measure(0)), *agent_texts(), forwarder_text()):
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample.labels)
    # What a server has only after an endpoint was given up, by its name and labels in the documentation.
    found["pico_gossip_entries"].append({"node_id": "n", "internal": "false", "deleted": "true"})
    return found


def agent_texts() -> Iterator[bytes]:
    """Yield what an agent with an HTTP service tells, and one with a TCP service, whose services failed."""
    for protocol in ("http", "tcp"):
        agent = registered(agent_config(protocol)).machine
        assert isinstance(agent, AgentMachine)
        for listener in agent.listeners:
            listener.counts.failed("service-refused")
        yield agent_metrics_text(agent.listeners)


def forwarder_text() -> bytes:
    """Return what a forwarder tells."""
    port = PortConfig(addr=Address("127.0.0.1", 6379), endpoint_id="redis")
    return ForwardPages(ForwardMachine(ForwardConfig(ports=(port,)), random.Random(1)), "server").metrics_text()


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels(path: Path) -> Iterator[dict[str, Any]]:
    yield from json.loads(path.read_text())["panels"]


def queries() -> dict[str, tuple[str, str]]:
    """Return every query with the text that shows its labels, by where it stands."""
    found = {f"rules {rule['alert']}": (rule["expr"], " ".join(rule["annotations"].values())) for rule in rules()}
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel.get("targets", ()):
                found[f"{path.stem} {panel['title']} {target['refId']}"] = (target["expr"], target["legendFormat"])
    return found


QUERIES = queries()


def filled(expression: str) -> str:
    """Put in what Grafana puts in for its variables."""
    return VARIABLE.sub(lambda match: "5m" if match[1] == "__rate_interval" else ".*", expression)


def matches(operator: str, wanted: str, value: str) -> bool:
    if operator in ("=~", "!~"):
        return re.fullmatch(wanted, value) is not None
    return wanted == value


def test_there_are_three_dashboards() -> None:
    assert [path.stem for path in DASHBOARDS] == ["gossip", "nodes", "overview"]
    assert len(QUERIES) > 70


@pytest.mark.parametrize("place", QUERIES)
def test_a_query_finds_what_it_asks_for(place: str, scrape: Scrape) -> None:
    expression, shown = QUERIES[place]
    query = parse(filled(expression))
    assert query.selectors
    known = set(OF_PROMETHEUS)
    for metric, matchers in query.selectors:
        assert metric in scrape, f"no server has {metric}"
        series = scrape[metric]
        known |= {label for labels in series for label in labels}
        for label, operator, value in matchers:
            if label in OF_PROMETHEUS:
                continue
            values = {labels[label] for labels in series if label in labels}
            parts = value.split("|") if operator in ("=~", "!~") else [value]
            for part in parts:
                assert any(matches(operator, part, each) for each in values), f"no {metric} has {label}={part}"
    labels = set(re.findall(r"{{ *(?:\$labels\.)?(\w+) *}}", shown))
    assert labels | query.grouped <= known


AGGREGATED = [
    place
    for place, (expression, _) in QUERIES.items()
    if re.match(r"\s*(sum|max|min|avg|count|histogram_quantile)\b", expression)
]


@pytest.mark.parametrize("place", AGGREGATED)
def test_labels_that_are_shown_are_left_by_the_query(place: str) -> None:
    """What ``sum by`` leaves out cannot be shown."""
    expression, shown = QUERIES[place]
    labels = set(re.findall(r"{{ *(?:\$labels\.)?(\w+) *}}", shown))
    assert labels <= parse(filled(expression)).grouped


def test_names_that_no_query_uses(scrape: Scrape) -> None:
    """A new metric belongs on a dashboard: each counter and gauge is on one."""
    used = {metric for expression, _ in QUERIES.values() for metric, _ in parse(filled(expression)).selectors}
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in scrape} - stems == set()


def test_every_name_is_explained_to_operators() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    texts = (process_text(measure(0)), *agent_texts(), forwarder_text())
    heads = [line.split(" ") for text in texts for line in text.decode().splitlines() if line.startswith("# TYPE ")]
    assert [name for _, _, name, _ in heads if f"`{name}`" not in page] == []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_a_chapter(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook_url"].removeprefix(RUNBOOK).partition("#")
    heads = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads]
    assert anchor == rule["alert"].lower()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == f"pico-{path.stem}"
    names = {each["name"] for each in board["templating"]["list"]}
    used = {
        name for place, (text, _) in QUERIES.items() if place.startswith(path.stem) for name in VARIABLE.findall(text)
    }
    assert used - {"__rate_interval"} <= names
    ids = [panel["id"] for panel in panels(path)]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels(path):
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{panel['title']} covers another panel"
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("text", ["sum(a", "sum a)", "rate(a[5m)]", "a{b=c}", "a{b='c'}", "a +", "> a", "f(a)(", "sum"])
def test_what_is_not_a_query(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


OF_CLIENTS = {
    "no-endpoint", "tcp-endpoint", "http-endpoint", "bad-request", "not-found", "too-large", "request-timeout",
    "unauthorized", "forbidden", "rate-limited", "client-left", "taken", "draining",
}  # fmt: skip
"""Reasons without an alert: the client asked for what it does not get; the last two are for agents only."""


def test_an_alert_for_every_reason_but_the_clients_own() -> None:
    (rule,) = [each for each in rules() if each["alert"] == "PicoErrors"]
    (pattern,) = re.findall(r'reason=~"(.+?)"', rule["expr"])
    assert {reason for reason in REASONS if re.fullmatch(pattern, reason)} == set(REASONS) - OF_CLIENTS


@pytest.mark.debian
def test_the_alerts_fire_when_they_should() -> None:
    file = Path(__file__).parent / "rules_test.yaml"
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    text = (Path(__file__).parent / "rules_test.yaml").read_text()
    assert [rule["alert"] for rule in rules() if rule["alert"] not in text] == []
