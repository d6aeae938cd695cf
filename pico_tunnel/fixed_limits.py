"""The limits that have no key, each with its value, what happens at it, and why nobody has to change it.

A value names its constants by module below ``pico_core``: ``{mux.budget.RESET_BURST}``. Every constant of ``pico_core``
whose name says that it is a limit has to be in a row here, or in ``pico_core.server.admin.limits``; a test looks.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from pico_tunnel import fixed_limits_of_programs as of_programs

ROWS: Final[dict[str, tuple[tuple[str, str, str, str], ...]]] = {
    "On the ports": (
        (
            "requests that wait for a crowded endpoint",
            "{server.crowding.MAX_WAITING}",
            "503",
            "each waits for a moment",
        ),
        ("time they wait", "{server.crowding.WAIT_S:g} s", "503", "refusals have to come within 100 ms"),
        ("of them, looked at again in one check", "{server.crowding.MAX_TRIED}", "the others are next", "bounds work"),
        ("upstreams that one request is sent to", "{proxy.exchange.MAX_TRIES}", "the last failure", "more only wait"),
        (
            "a request body kept for another try",
            "{proxy.replay.MAX_REPLAY_BYTES} bytes",
            "no other try",
            "bounds memory",
        ),
        (
            "pipelined requests kept",
            "{proxy.http1.downstream.MAX_BACKLOG_BYTES} bytes",
            "the client is not read",
            "bounds memory",
        ),
        ("interim responses to a request", "{proxy.http1.upstream.MAX_INTERIM_RESPONSES}", "502", "a broken service"),
        ("digits of a Content-Length", "{http.grammar.MAX_LENGTH_DIGITS}", "400 or 502", "so many fit 64 bits"),
        ("the line of a chunk", "{http.body.MAX_CHUNK_LINE_BYTES} bytes", "400 or 502", "nobody sends long extensions"),
        (
            "extensions of chunks ahead of the payload",
            "{http.body.MAX_IDLE_EXTENSION_BYTES} bytes",
            "400 or 502",
            "they are dropped, and must not be the bulk",
        ),
        ("trailers of a body", "{http.body.MAX_TRAILER_BYTES} bytes", "400 or 502", "they hold a checksum or a status"),
        (
            "a head that Pico reads for itself",
            "{http.message.MAX_OWN_HEAD_BYTES} bytes",
            "431",
            "browsers and proxies stay below 8 KiB, a token takes another 8",
        ),
        ("a question to an admin port", "{plain.server.QUESTION_TIMEOUT_S:g} s", "408", "operators ask at once"),
        (
            "a PROXY header",
            "{proxy_protocol.MAX_LINE_BYTES} bytes of version 1, {proxy_protocol.MAX_HEADER_BYTES} of version 2",
            "the connection is closed",
            "the longest line there is; addresses and names of certificates",
        ),
        (
            "proxies in a chain of addresses",
            "{proxy.client_address.MAX_HOPS}, {proxy.client_address.MAX_ELEMENT_BYTES} bytes for each",
            "those before them do not count",
            "a request passes four or five",
        ),
        (
            "a token",
            "{access.token.MAX_TOKEN_BYTES} bytes",
            "401, before it is parsed",
            "bounds the work for a stranger",
        ),
        ("endpoints named by a token", "{access.token.MAX_PATTERNS}", "401", "a token has hardly room for more"),
        ("keys tried for a token", "{access.token.MAX_CANDIDATES}", "401", "each costs a signature"),
        ("bits of an RSA key", "{access.keys.MAX_RSA_BITS}", "the key is refused", "a verification takes 2 ms"),
        (
            "a key set",
            "{access.key_set.MAX_SET_BYTES} bytes, {access.key_set.MAX_KEYS} keys",
            "the last good one is kept",
            "sets have a few keys",
        ),
        (
            "refused peers whose bytes are read",
            "{machine.admission.REFUSED_AT_ONCE}",
            "the next are closed at once",
            "bounds what refusals cost",
        ),
        (
            "connections that linger",
            "{machine.lingering.MAX_LINGERING}",
            "the next are closed at once",
            "bounds what refusals cost",
        ),
        (
            "a connection that lingers",
            (
                "{machine.lingering.SILENCE_S:g} s of silence, {machine.lingering.MOST_S:g} s, "
                "{machine.lingering.MOST_BYTES} bytes"
            ),
            "it is closed",
            "the peer has to read its answer",
        ),
        (
            "time to take the rest after a close",
            "{machine.base.CLOSE_LINGER_S:g} s",
            "it is reset",
            "slow networks need seconds",
        ),
        (
            "descriptors that are counted on",
            "{machine.admission.MAX_DESCRIPTORS}",
            "more are not used",
            "a node has no memory for more",
        ),
        (
            "lines of a kind in the log",
            (
                "{machine.logs.LINES_PER_WINDOW}, warnings {machine.logs.WARNINGS_PER_WINDOW}, in "
                "{machine.logs.WINDOW_S:g} s; "
                "{machine.logs.MAX_KINDS} kinds"
            ),
            "one line says how many were left out",
            "a stranger must not fill a disk",
        ),
    ),
    "Of tunnels": (
        (
            "window of a stream",
            "{mux.frame.INITIAL_WINDOW_BYTES} bytes",
            "the tunnel is closed",
            "the protocol says so",
        ),
        ("unread bytes of a tunnel", "{mux.windows.SHARED_BYTES} bytes", "windows get smaller", "bounds memory"),
        (
            "resets of a tunnel",
            "{mux.budget.RESETS_PER_SECOND:g} a second, {mux.budget.RESET_BURST} at once",
            "the tunnel is closed",
            "a flood",
        ),
        ("frames carried out in a turn", "{tunnel.tunnel.MAX_FRAMES_AT_ONCE}", "the rest is next", "a millisecond"),
        (
            "answers to pings and resets that wait",
            "{mux.incoming.MAX_PONGS_PER_OUTPUT} pongs, {mux.incoming.MAX_OUTPUT_BYTES} bytes",
            "pongs are dropped; the tunnel is closed",
            "a peer that causes more does not read",
        ),
        (
            "streams of a tunnel, where no key says",
            "{mux.session.MAX_OUTGOING_STREAMS}",
            "none is opened",
            "as upstream.max_streams, its key at the server",
        ),
        (
            "idle streams of a tunnel",
            "{server.tunnels.MAX_IDLE_STREAMS}",
            "they are closed",
            "leaves some for raw bytes",
        ),
        (
            "silent checks of a raw connection",
            "{server.routing.MAX_SILENT_CHECKS}",
            "504",
            "3 s, where the agent gives no sign of life",
        ),
        ("what an agent is told of itself", "{tunnel.agreement.MAX_TOLD_BYTES} bytes", "it is left out", "an address"),
        (
            "the answer to a WebSocket handshake",
            "{websocket.handshake.MAX_HANDSHAKE_RESPONSE_BYTES} bytes, body {websocket.handshake.MAX_REFUSAL_BYTES}",
            "the attempt has failed",
            "servers answer with a line",
        ),
        (
            "of a refusal that is repeated",
            (
                "{websocket.handshake.MAX_REASON_CHARACTERS} characters, "
                "{websocket.refusal.MAX_RETRY_AFTER_DIGITS} digits of Retry-After"
            ),
            "the rest is cut, or nothing",
            "it goes into a line of the log",
        ),
        (
            "a WebSocket frame",
            "{websocket.frame.MAX_FRAME_BYTES} bytes, {websocket.frame.MAX_CONTROL_BYTES} of a control frame",
            "the tunnel is closed with 1002",
            "RFC 6455, sections 5.2 and 5.5",
        ),
        ("a length of yamux", "{mux.frame.MAX_UINT32}", "cannot be said", "the protocol has 32 bits"),
    ),
    "Between nodes": (
        ("questions passed on to other nodes", "{server.admin.pages.MAX_FORWARDS}", "503", "no operator has more"),
        (
            "time for their answer",
            "{server.admin.pages.FORWARD_TIMEOUT_S:g} s",
            "502",
            "less than 'pico server status' waits",
        ),
        (
            "idle connections to each node",
            "{server.peers.MAX_IDLE_CONNECTIONS}, {server.peers.IDLE_TIMEOUT_S:g} s",
            "they are closed",
            "bounds descriptors",
        ),
        (
            "time to connect to a node",
            "{server.peers.CONNECT_TIMEOUT_S:g} s",
            "another node is tried",
            "nodes are near",
        ),
        ("time that a failing node is avoided", "{gossip.forwarding.MAX_AVOID_S:g} s", "it is tried", "it may be back"),
        (
            "gossip streams of strangers",
            "{server.gossip_budget.STRANGER_STREAMS}, {server.gossip_budget.STRANGER_STREAMS_PER_HOST} of one client",
            "the oldest of the client with most ends",
            "a node that starts needs one for some milliseconds",
        ),
        (
            "gossip streams of members",
            "{server.gossip_budget.MEMBER_STREAMS}, {server.gossip_budget.MEMBER_STREAMS_PER_HOST} of one node",
            "the oldest of the node with most ends",
            "a node has one or two",
        ),
        (
            "time for a gossip stream",
            "{server.gossip_streams.STREAM_TIMEOUT_S:g} s, {gossip.streams.REQUEST_TIMEOUT_S:g} s for our own",
            "it is closed",
            "the longest answer takes a second",
        ),
        ("a gossip stream", "{gossip.streams.MAX_STREAM_BYTES} bytes", "it is closed", "4096 nodes take 5 MiB"),
        (
            "work for gossip, in a second",
            (
                "{gossip.rate_limit.STRANGERS_US} us for strangers, {gossip.rate_limit.STRANGER_US} for one, "
                "{gossip.rate_limit.MEMBER_US} for a member"
            ),
            "datagrams are dropped",
            "nodes send a tenth of it",
        ),
        (
            "a stranger's datagrams",
            "{gossip.rate_limit.MAX_STRANGER_BYTES} bytes, {gossip.strangers.MAX_CREDIT_BYTES} bytes of answers",
            "they are dropped",
            "newcomers join over TCP",
        ),
        (
            "addresses known to gossip",
            (
                "{gossip.rate_limit.MAX_SOURCES} with work, {gossip.strangers.MAX_STRANGERS} strangers, "
                "{gossip.knowledge.MAX_STRANGERS_HEARD} nodes only heard of, "
                "{gossip.knowledge.MAX_ADDRESSES_REFUSED} unusable"
            ),
            "the first one is forgotten, or no further one taken",
            "bounds memory",
        ),
        (
            "nodes of a cluster",
            "{gossip.wire.records.MAX_NODES}, {gossip.members.MAX_REMOVED_NODES} that are gone",
            "no further one is taken",
            "the same on all nodes",
        ),
        (
            "endpoints of a node",
            "{gossip.state.MAX_ENDPOINTS}, {gossip.wire.records.MAX_ENTRIES} entries with those that are gone",
            "agents get a 503; the node's news is not taken",
            "the same on all nodes",
        ),
        ("states of all nodes", "{gossip.members.MAX_STATE_BYTES} bytes", "no further one is taken", "bounds memory"),
        (
            "a node's own state",
            "{gossip.engine.MAX_LOCAL_BYTES} bytes",
            "it starts anew",
            "bounds memory of the others",
        ),
        (
            "an entry of gossip",
            (
                "{bounds.MAX_ID_CHARACTERS} characters of an ID, "
                "{gossip.wire.records.MAX_ADDR_CHARACTERS} of an "
                "address, {gossip.wire.records.MAX_KEY_CHARACTERS} of a key, "
                "{gossip.wire.records.MAX_VALUE_CHARACTERS} of a "
                "value, depth {gossip.wire.outline.MAX_DEPTH}, {gossip.wire.writing.MAX_EMPTY_ENTRY_BYTES} bytes "
                "beside them"
            ),
            "the message is dropped",
            "the same on all nodes",
        ),
        (
            "versions of gossip",
            (
                "{gossip.wire.records.MAX_VERSION}; {gossip.local.MAX_FIRST_VERSION} at first, "
                "{gossip.local.MAX_VERSION_JUMP} at once, {gossip.knowledge.MAX_SUPERSEDED_VERSION} claimed for us"
            ),
            "the claim is dropped",
            "no process writes so often",
        ),
        ("entries of an answer", "{gossip.wire.records.MAX_REPLY_ENTRIES}", "the rest comes later", "16 MiB of them"),
        (
            "what is repeated of a node's report",
            "{gossip.failure.MAX_REPORTED} nodes, {gossip.failure.MAX_REPORTED_CHARACTERS} characters",
            "the rest is reported by others",
            "a report fits into a packet",
        ),
        (
            "pause between gossip streams to a node",
            "{gossip.stream_requests.MAX_SYNC_PAUSE_S:g} s",
            "it is asked",
            "news",
        ),
        (
            "names of nodes to join",
            (
                "{gossip.seeds.LOOKUP_TIMEOUT_S:g} s for a lookup, {gossip.seeds.MAX_RETRY_S:g} s until the next, "
                "{gossip.seeds.MAX_ADDRESSES_PER_NAME} addresses, {gossip.seeds.MAX_JOINS_IN_FLIGHT} joined at once"
            ),
            "the others are next",
            "bounds what a name can cost",
        ),
        (
            "sealed packets",
            (
                "{gossip.sealing.packets.MAX_PEERS} sessions, {gossip.sealing.packets.MAX_ADDRESSES} addresses, "
                "{gossip.sealing.packets.MAX_WAITING} that wait for a hello, {gossip.sealing.packets.MAX_COUNTER} "
                "in a session"
            ),
            "a new session begins; the oldest packet is lost",
            "twice the nodes of a cluster",
        ),
        (
            "proofs of nodes",
            "{gossip.sealing.proofs.MAX_SENDERS} senders",
            "all have to prove themselves again",
            "twice the nodes of a cluster",
        ),
        ("a frame of a sealed stream", "{gossip.sealing.streams.MAX_FRAME_BYTES} bytes", "it is closed", "as in TLS"),
        ("agents told of an endpoint", "{server.claims.MAX_IDENTITIES}", "others are not named", "for warnings only"),
        ("targets asked for the own address", "{server.own_host.MAX_TARGETS}", "the others are next", "one suffices"),
        ("draws of a gossip port", "{server.node.MAX_DRAWS}", "the start fails", "only where any port will do"),
    ),
    "What is remembered": (
        ("addresses with a rate", "{server.address_rate.MAX_ADDRESSES}", "the first one used is forgotten", "memory"),
        ("verified tokens", "{access.gate.MAX_REMEMBERED}", "the first one is verified again", "600 bytes each"),
        ("verdicts of policies", "{server.policies.MAX_REMEMBERED}", "all are decided anew", "bounds memory"),
        (
            "edited fields",
            "{server.field_edits.MAX_REMEMBERED} of {server.field_edits.MAX_REMEMBERED_BYTES} bytes",
            "they are edited again",
            "a megabyte",
        ),
        (
            "heads of a connection",
            (
                "{http.recent.MAX_REMEMBERED_BYTES} bytes, {http.learning.MAX_LEARNT_BYTES} of a shape with "
                "{http.shape.MAX_VALUES} values, {http.shape.MAX_SAME_SIZES} of the same size, "
                "{http.learning.MAX_MISSES} misses"
            ),
            "heads are parsed",
            "a connection has to stay small",
        ),
        ("endpoints with retries", "{server.retries.MAX_ENDPOINTS}", "the first one has its budget again", "memory"),
        ("endpoints whose route was lost", "{server.routeless.MAX_LOST}", "the first one is forgotten", "memory"),
        (
            "stories of failed requests",
            "{server.stories.MAX_STORIES} of a kind, {server.stories.MAX_PATH_CHARACTERS} characters of a path",
            "the oldest is forgotten",
            "half a megabyte",
        ),
        (
            "what is told of a failure",
            "{proxy.failures.MAX_DETAIL_CHARACTERS} characters",
            "the rest is cut",
            "one line of the log",
        ),
        ("tenants", "{config.ports.MAX_TENANTS}", "the file is refused", "a file of 1 MiB has room for no more"),
        (
            "a file of the configuration",
            (
                "{config.load.MAX_TEXT_LENGTH} characters, depth {config.document.MAX_DEPTH}, "
                "{config.document.MAX_ALIASES} aliases; {config.secrets.MAX_FILE_BYTES} bytes of a file that a "
                "value names"
            ),
            "it is refused",
            "a log file that was given by mistake does not fit",
        ),
        ("keys of gossip", "{config.gossip_key.MAX_KEYS}", "the file is refused", "a rotation has three"),
    ),
    **of_programs.ROWS,
}
"""By heading: what is bounded, the value, what happens at it, and why it has no key."""


def lines() -> Iterator[str]:
    """Yield the tables."""
    for heading, rows in ROWS.items():
        yield f"\n### {heading}\n\n| what | value | at the limit | why it has no key |\n|---|---|---|---|"
        for what, value, then, why in rows:
            yield f"| {what} | {_Values().format(value)} | {then} | {why} |"


def constants() -> set[str]:
    """Return the names of all constants in the tables, with their modules below ``pico_core``."""
    values = [value for rows in ROWS.values() for _, value, _, _ in rows]
    return {name for value in values for _, name, _, _ in string.Formatter().parse(value) if name}


class _Values(string.Formatter):
    """Takes the name of a field as that of a constant."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        module, _, name = field_name.rpartition(".")
        return getattr(import_module(f"pico_core.{module}"), name), field_name
