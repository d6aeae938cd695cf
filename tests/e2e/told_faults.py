"""The faults of ``test_told_faults``, and what ``pico explain`` and ``pico doctor`` tell of each: a table for people.

``python -m tests.e2e.told_faults`` prints it, for ``docs/troubleshooting.md``.
"""

import re
from typing import NamedTuple

PLACEHOLDERS = re.compile(r"\b(?:NODE|PORT|ID|FILE|TIME|N)\b")
"""Texts that differ from run to run."""


class Fault(NamedTuple):
    """A fault: how the test makes it, the command that is asked, what it says, and what it advises."""

    made: str
    command: str
    says: str
    advises: str


FAULTS = {
    "wrong token": Fault(
        "the agent has a token of another key",
        "pico doctor agent",
        "a Pico server, which answers 401: invalid token",
        "its key, audience or issuer is not what the server wants: see 'pico token inspect'",
    ),
    "agent down": Fault(
        "the only agent is stopped",
        "pico explain",
        "A request now would FAIL:  no-tunnel",
        "Start its agent, and compare the spelling of the endpoint.",
    ),
    "service down": Fault(
        "nothing listens where the agent connects to",
        "pico explain",
        "A request now would FAIL:  service-refused",
        "Start the service, or correct its address at the agent.",
    ),
    "service slow": Fault(
        "the service takes the request and does not answer",
        "pico explain",
        "A request now would FAIL:  service-timeout",
        "Look at the service; the timeout of the agent's listener is how long the agent waits.",
    ),
    "garbage from the service": Fault(
        "the service answers as an SSH server does",
        "pico explain",
        "A request now would FAIL:  service-invalid",
        "Check that the agent's address is that of an HTTP service, with https:// where it speaks TLS.",
    ),
    "stale route": Fault(
        "the agent leaves while its node's gossip is held up",
        "pico explain",
        "NODE has a stale route: it counts a tunnel at NODE, which has none",
        "Nothing, unless it stays: routes are a moment behind. Then look at the gossip ports.",
    ),
    "node draining": Fault(
        "the node gets SIGTERM",
        "pico explain",
        "NODE is draining: it is about to stop, takes no agents, and serves what still comes",
        "Nothing, if it is stopped on purpose: its agents go to other nodes.",
    ),
    "node paused": Fault(
        "the node gets SIGSTOP",
        "pico explain",
        "NODE does not answer the other nodes: it was killed, is paused or short of CPU, or its network is cut",
        "Look at the node, and at the network between the nodes.",
    ),
    "gossip cut one way": Fault(
        "no gossip reaches one of two nodes, its own reaches the other",
        "pico explain",
        "NODE is not reached by gossip, though its admin port answers",
        "Permit UDP and TCP between the gossip ports of all nodes, in both directions.",
    ),
    "DNS wrong": Fault(
        "the server's name does not resolve",
        "pico doctor agent",
        "FAIL  name nowhere.invalid               does not resolve",
        "check connect.url and the resolver of this machine",
    ),
    "balancer cutting upgrades": Fault(
        "a relay removes Upgrade and Connection",
        "pico doctor agent",
        "a Pico server, but the upgrade to WebSocket does not reach it",
        "let the balancer or proxy before it pass Upgrade and Connection",
    ),
    "endpoint misspelt": Fault(
        "two letters are exchanged",
        "pico explain",
        "A request now would FAIL:  no-tunnel",
        "Did you mean 'my-endpoint'?",
    ),
    "limit reached": Fault(
        "the agent permits one stream, and a request has it",
        "pico explain",
        "A request now would FAIL:  busy",
        "Start further agents, or raise upstream.max_streams and the agent's max_streams.",
    ),
    "certificate expired": Fault(
        "the upstream port has a certificate of last month",
        "pico doctor agent",
        "its certificate is refused: certificate has expired",
        "renew the certificate of the server",
    ),
    "clock wrong": Fault(
        "the server's clock is an hour behind",
        "pico doctor agent",
        "this machine's differs by +N s: tokens and certificates will look wrong",
        "synchronise both clocks (NTP)",
    ),
    "full disk for logs": Fault(
        "the server's standard output is /dev/full",
        "pico doctor server",
        "N lost: standard output or standard error did not take them",
        "is the disk full, or the collector of logs stuck? proxy.access_log.disable writes less",
    ),
    "descriptor limit": Fault(
        "the server may open 96 files, and clients have its connections",
        "pico doctor server",
        "reached: N of N in use; idle clients are closed, the longest idle first",
        "raise the limit of open files, or add nodes",
    ),
    "head too large": Fault(
        "a request has 2 MiB of header fields",
        "pico explain --request",
        "answered 431: too-large, decided by the server",
        "The text says which part; proxy.http.max_header_bytes and the endpoint's policy are the limits.",
    ),
    "body cut": Fault(
        "the service ends the connection within its response",
        "pico explain --request",
        "answered 200: service-lost, decided by the agent",
        "Look at the log of the service: it may have crashed.",
    ),
    "policy refusal": Fault(
        "the policy permits another network",
        "pico explain --request",
        "answered 403: forbidden, decided by the server: this client's network is not allowed here",
        "'pico server check' says which rule a request meets.",
    ),
}


def is_told(wanted: str, output: str) -> bool:
    """Return whether ``wanted`` is in an output, with anything for its placeholders."""
    pieces = PLACEHOLDERS.split(wanted)
    return re.search(r"\S+".join(map(re.escape, pieces)), output) is not None


def table() -> str:
    """Return the table as Markdown."""
    rows = ["| fault | made so | asked with | says | what to do |", "|---|---|---|---|---|"]
    for name, fault in FAULTS.items():
        says = re.sub(" {2,}", " ", fault.says)
        rows.append(f"| {name} | {fault.made} | `{fault.command}` | `{says}` | {fault.advises} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
