"""``pico explain``: what a request for an endpoint would do now, from each node, and why; or what one request did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import click

from pico_tunnel.answer import Unanswered, write, write_json
from pico_tunnel.complaints import complain
from pico_tunnel.status import StatusCommand, ask, given_token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pico_core.access.secret import Secret

SUCCEEDS, NO_ANSWER, FAILS, DISAGREE = 0, 1, 3, 4
"""Exit codes; 2 is a mistake in the command line."""

VERDICTS = {SUCCEEDS: "would SUCCEED", FAILS: "would FAIL", DISAGREE: "the nodes DISAGREE"}

NODES_ASKED = 100


ACTIVE, UNREACHABLE = "active", "unreachable"


class Asked(NamedTuple):
    """The answers of the nodes: ``silent`` says by node why it gave no document.

    ``unreachable`` are the nodes that the gossip of the asked node does not reach; some of them may have answered.
    """

    answers: list[Any]
    silent: dict[str, str]
    unreachable: list[str]


class Known(TypedDict):
    """The part that is read of what a node says about one that it knows."""

    id: str
    status: str


class Note(NamedTuple):
    """A fault of a node, and its remedy."""

    node: str
    text: str
    advice: str


class Asker:
    """Asks one admin port, and through it the other nodes."""

    def __init__(self, url: str, token: Secret | None, tls: dict[str, Any]) -> None:
        self._url = url
        self._token = token
        self._tls = tls

    def ask(self, path: str, node: str | None = None, kind: Any = dict[str, Any]) -> Any:
        """Return the document at ``path``. Raises ``Unanswered``, and ``ConfigError`` for a wrong URL or file."""
        return ask(self._url, path, node, kind, self._token, self._tls)

    def everywhere(self, path: str) -> Asked:
        """Ask all nodes, those that gossip does not reach too: their admin ports may answer."""
        asked = Asked([], {}, [])
        for node in self.ask("/status/cluster/nodes", kind=list[Known])[:NODES_ASKED]:
            name, status = node["id"], node["status"]
            if status == UNREACHABLE:
                asked.unreachable.append(name)
            elif status != ACTIVE:
                asked.silent[name] = status
                continue
            try:
                asked.answers.append(self.ask(path, name))
            except Unanswered as error:
                asked.silent[name] = status if status == UNREACHABLE else str(error)
        return asked


def endpoint_in(text: str) -> tuple[str, str]:
    """Return the endpoint that an argument names, an ID or a URL, and how it was read."""
    from urllib.parse import urlsplit

    if "://" not in text:
        return text.lower(), ""
    host = urlsplit(text).hostname or ""
    label, dot, _ = host.partition(".")
    if not dot or host.replace(".", "").isdigit():
        return "", f"'{host}' names no endpoint: send the header x-pico-endpoint"
    return label, f"'{label}' is taken for the endpoint: it is the first label of the host"


def explain(asker: Asker, target: str, *, tcp: bool, as_json: bool) -> int:
    """Print what a request for ``target`` would do; return the exit code. Raises ``Unanswered``."""
    from urllib.parse import quote

    from pico_core.config.values import without_credentials

    endpoint, note = endpoint_in(target)
    if "://" in target:
        target = without_credentials(target)
    if not endpoint and as_json:
        fails = Note("", note, "Name the endpoint, as the first label of the host or with x-pico-endpoint.")
        write_json({"endpoint": "", "verdict": "fails", "nodes": [], "silent": {}, "notes": [fails._asdict()]})
        return FAILS
    if not endpoint:
        write(f"{target}\n\n  A request would FAIL:  400 no-endpoint\n  {note}\n")
        return FAILS
    table = "explain-tcp" if tcp else "explain"
    asked = asker.everywhere(f"/status/{table}/{quote(endpoint, safe='')}")
    answers, silent, _ = asked
    if not answers:
        raise Unanswered("no node answered: " + "; ".join(f"{node}: {why}" for node, why in silent.items()))
    notes = [*_follow(answers), *_of_nodes(asked)]
    reasons = {each["reason"] for each in answers}
    code = DISAGREE if len(reasons) > 1 else FAILS if answers[0]["reason"] else SUCCEEDS
    if as_json:
        verdict = {SUCCEEDS: "succeeds", FAILS: "fails", DISAGREE: "nodes disagree"}[code]
        told = [each._asdict() for each in notes]
        document = {"endpoint": endpoint, "verdict": verdict, "nodes": answers, "silent": silent, "notes": told}
        write_json(document)
    else:
        write("\n".join([*_told(endpoint, note, code, answers, silent), *_noted(notes)]) + "\n")
    return code


def _follow(answers: list[Any]) -> list[Note]:
    """Let a node that would send a request on to another one fail where that one would; return what is stale.

    What it knows of the other is a moment old; what the other says of its own tunnels is not.
    """
    stale = []
    by_node = {each["node"]: each["reason"] for each in answers}
    for each in answers:
        each["sends_to"] = [] if each["reason"] or each["tunnels"] else [node["node"] for node in each["nodes"]]
    for each in answers:
        reasons = [by_node.get(node, "") for node in each["sends_to"]]
        if reasons and all(reasons):
            each["reason"] = reasons[0]
            told = next(other for other in answers if other["node"] in each["sends_to"] and other["reason"])
            each["meaning"], each["advice"] = told["meaning"], told["advice"]
            if not told["tunnels"]:
                text = f"has a stale route: it counts a tunnel at {told['node']}, which has none"
                advice = "Nothing, unless it stays: routes are a moment behind. Then look at the gossip ports."
                stale.append(Note(each["node"], text, advice))
    return stale


def _of_nodes(asked: Asked) -> Iterable[Note]:
    """Return the faults of the nodes themselves."""
    for node in asked.unreachable:
        if node in asked.silent:
            text = "does not answer the other nodes: it was killed, is paused or short of CPU, or its network is cut"
            yield Note(node, text, "Look at the node, and at the network between the nodes.")
        else:
            text = "is not reached by gossip, though its admin port answers"
            yield Note(node, text, "Permit UDP and TCP between the gossip ports of all nodes, in both directions.")
    for each in asked.answers:
        if each.get("phase") == "draining":  # nodes of earlier versions do not tell it
            text = "is draining: it is about to stop, takes no agents, and serves what still comes"
            yield Note(each["node"], text, "Nothing, if it is stopped on purpose: its agents go to other nodes.")


def _noted(notes: list[Note]) -> Iterable[str]:
    for note in notes:
        yield ""
        yield f"  {note.node} {note.text}"
        yield f"  So: {note.advice}"


def _told(endpoint: str, note: str, code: int, answers: list[Any], silent: dict[str, str]) -> Iterable[str]:
    worst = next((each for each in answers if each["reason"]), answers[0])
    worst_reason = f":  {worst['reason']}" if code == FAILS else ""
    subject = "" if code == DISAGREE else "A request now "
    yield f"{endpoint}   {subject}{VERDICTS[code]}{worst_reason}"
    yield ""
    if note:
        yield f"  {note}"
    for each in answers:
        way = f"sends it to {', '.join(each['sends_to'])}" if each["sends_to"] else "has a tunnel that works"
        if each["reason"]:
            way = f"{each['reason']} at {', '.join(each['sends_to'])}" if each["sends_to"] else each["reason"]
        yield f"  {each['node']:<24}{way}"
    for node, why in silent.items():
        yield f"  {node:<24}not asked: {why}"
    for each in answers:
        for tunnel in each["tunnels"]:
            yield _tunnel(each["node"], tunnel)
    if worst["policy"]:
        yield f"  policy                  {worst['policy']}: see 'pico server check --request'"
    if worst["wants_token"]:
        yield "  token                   the proxy port asks for one"
    yield from _failures(answers)
    if worst["reason"]:
        yield ""
        yield f"  {worst['meaning']}"
        yield f"  So: {worst['advice']}"
        if worst["similar"]:
            yield f"  Did you mean {' or '.join(repr(name) for name in worst['similar'])}?"


def _tunnel(node: str, tunnel: dict[str, Any]) -> str:
    version = f" {tunnel['version']}" if tunnel["version"] else ""
    state = ", avoided after failures" if tunnel["failing"] else ""
    speaks = tunnel["protocol"] or "unknown protocol"
    return (
        f"  tunnel at {node}: agent{version} at {tunnel['agent']}, {speaks}, open {_duration(tunnel['open_s'])}, "
        f"{tunnel['in_flight']} of {tunnel['max_streams']} streams in use{state}"
    )


def _failures(answers: list[Any]) -> Iterable[str]:
    stories = {story["request_id"]: story for each in answers for story in each["failures"]}
    if stories:
        yield ""
        yield "  last failures"
    for story in sorted(stories.values(), key=lambda story: story["at_s"], reverse=True)[:5]:
        yield f"    {_story(story)}"


def _story(story: dict[str, Any]) -> str:
    why = story["reason"] or "the service's own answer"
    what = f"{story['method']} {story['path']}"
    return f"{_clock(story['at_s'])}  {story['status']}  {why}  {what}  {story['request_id']}"


def explain_request(asker: Asker, request_id: str, *, as_json: bool) -> int:
    """Print what one request did at each node that still knows it; return the exit code. Raises ``Unanswered``."""
    from urllib.parse import quote

    answers, silent, _ = asker.everywhere(f"/status/requests/{quote(request_id, safe='')}")
    unknown = [node for node, why in silent.items() if "unknown request" in why]
    for node in unknown:
        del silent[node]
    if as_json:
        write_json({"request_id": request_id, "hops": answers, "silent": silent})
    elif answers:
        write("\n".join(_hops(request_id, answers, silent)) + "\n")
    if answers:
        return SUCCEEDS
    more = "".join(f"; {node}: {why}" for node, why in silent.items())
    raise Unanswered(f"no node knows request '{request_id}': each keeps its last 1,000 errors{more}")


def _hops(request_id: str, answers: list[Any], silent: dict[str, str]) -> Iterable[str]:
    from pico_core.config.values import show_figure

    yield f"request {request_id}"
    for story in sorted(answers, key=lambda story: story["hop"] != "entry"):
        yield ""
        what = f"{story['method']} {story['path']} for '{story['endpoint']}'" if story["method"] else "not a request"
        yield f"  {story['hop']:<10}{_clock(story['at_s'])}  {what}"
        yield f"            from {story['client']}, {show_figure(story['duration_ms'])} ms"
        for number, attempt in enumerate(story["attempts"], 1):
            detail = f" ({attempt['detail']})" if attempt["detail"] else ""
            yield f"            attempt {number}: {attempt['via'] or 'nowhere'}: {attempt['reason']}{detail}"
        why = f"{story['reason']}, decided by the {story['by']}" if story["reason"] else "the service's own answer"
        said = f": {story['detail']}" if story.get("detail") else ""  # nodes of earlier versions do not tell it
        yield f"            answered {story['status']}: {why}{said}"
    for node, reason in silent.items():
        yield f"  {node} was not asked: {reason}"
    # The node with the tunnel knows the cause; to the one before it that node, or its answer, is all there is to see.
    last = next((each["reason"] for each in answers if each["hop"] != "entry" and each["reason"]), answers[0]["reason"])
    if last:
        from pico_core.proxy.reasons import REASONS

        if last in REASONS:
            yield ""
            yield f"  {REASONS[last].meaning}"
            yield f"  So: {REASONS[last].advice}"


def _clock(at_s: float) -> str:
    import time

    return time.strftime("%H:%M:%S", time.localtime(at_s)) if at_s else "--:--:--"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"


@click.command(
    "explain",
    cls=StatusCommand,
    watches=False,
    forwards=False,
    short_help="Why does a request fail, or what would it do?",
    examples="""\
What would a request for an endpoint do now, at each node?
  pico explain my-endpoint
  pico explain http://my-endpoint.pico.example.com/ --server.url http://10.26.104.14:8002
Why did a request fail? Its ID is in X-Pico-Request-ID of the answer:
  pico explain --request 5f0c9a31d2b84e17""",
)
@click.argument("target", metavar="[ENDPOINT|URL]", required=False)
@click.option("--request", "request_id", metavar="ID", help="Tell what became of one request instead.")
@click.option("--tcp", is_flag=True, help="Explain a TCP connection instead of an HTTP request.")
def explain_command(
    target: str | None,
    request_id: str | None,
    tcp: bool,
    as_json: bool,
    server_url: str,
    token: str | None,
    token_file: str | None,
    **tls: Any,
) -> int:
    """Ask all nodes of a cluster, through the admin port of one, what a request for an endpoint would do now, and why.

    Nothing is sent to the service. Exits with 0 if the request would succeed, with 3 if it would fail, with 4 if the
    nodes disagree, and with 1 if no node answers.
    """
    if (target is None) is (request_id is None):
        raise click.UsageError("give either an endpoint or a URL, or a request with --request ID")
    asker = Asker(server_url, given_token(token, token_file), tls)
    try:
        if request_id is not None:
            return explain_request(asker, request_id, as_json=as_json)
        return explain(asker, target or "", tcp=tcp, as_json=as_json)
    except Unanswered as error:
        complain(str(error))
        return error.code
