"""Bounds between nodes."""

from typing import Final

from pico_tunnel.limit_rows.row import Rows

ROWS: Final[Rows] = {
    "Between nodes": (
        ("questions passed on to other nodes", "{server.admin.pages.MAX_FORWARDS}", "503", "no operator has more"),
        (
            "time for their answer",
            "{server.admin.asking.FORWARD_TIMEOUT_S:g} s",
            "502",
            "less than 'pico server status' waits",
        ),
        (
            "dashboards that get events",
            "{server.admin.live.MAX_VIEWERS}, {server.admin.live.STREAM_S:g} s each",
            "503, and the page asks again",
            "no more people look on",
        ),
        (
            "nodes that a dashboard shows",
            "{server.admin.live.MAX_TOLD_NODES}, {server.admin.live.MAX_ASKED} of them asked at one time",
            "others are not shown; those are asked in turn",
            "a person reads no more, and a large cluster costs as a small one",
        ),
        (
            "what a dashboard is told of a node",
            "{server.admin.live.MAX_NODE_BYTES} bytes",
            "the node counts as silent",
            "20 failures and 200 nodes",
        ),
        (
            "idle connections to each node",
            (
                "{server.peers.MAX_IDLE_CONNECTIONS}, or {server.peers.MAX_RESERVED_IDLE} while those to all nodes fit "
                "into their reserve, an eighth of max_connections; {server.peers.IDLE_TIMEOUT_S:g} s"
            ),
            "they are closed",
            "requests to a node come in bursts; each takes a descriptor",
        ),
        (
            "connections to one node that are opened at once",
            "{server.peers.MAX_OPENING}",
            "requests wait for one that is open or free; endpoints take turns",
            "more would keep its other clients waiting",
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
            "as many as a cluster has nodes",
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
            "agents get a 503; what the node says is not taken",
            "the same on all nodes",
        ),
        (
            "states of all nodes",
            "{gossip.members.MAX_STATE_BYTES} bytes",
            "no further one is taken",
            "an eighth of the memory that a pod has",
        ),
        (
            "a node's own state",
            "{gossip.engine.MAX_LOCAL_BYTES} bytes",
            "it starts anew",
            "every other node keeps it too",
        ),
        (
            "the prefix of a node's ID",
            "{config.declare.MAX_PREFIX_CHARACTERS} characters",
            "the file is refused",
            "the random part has to fit behind it",
        ),
        (
            "an entry of gossip",
            (
                "{bounds.MAX_ID_CHARACTERS} characters of an ID, "
                "{gossip.wire.records.MAX_ADDR_CHARACTERS} of an "
                "address, {gossip.wire.records.MAX_KEY_CHARACTERS} of a key, "
                "{gossip.wire.records.MAX_VALUE_CHARACTERS} of a "
                "value, depth {gossip.wire.outline.MAX_NESTING}, {gossip.wire.writing.MAX_EMPTY_ENTRY_BYTES} bytes "
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
            "what is new comes by datagrams; this repairs what they lost",
        ),
        (
            "names of nodes to join",
            (
                "{gossip.seeds.LOOKUP_TIMEOUT_S:g} s for a lookup, {gossip.seeds.MAX_JOIN_RETRY_S:g} s until the next, "
                "{gossip.seeds.MAX_ADDRESSES_PER_NAME} addresses, {gossip.seeds.MAX_JOINS_IN_FLIGHT} joined at once"
            ),
            "the others are next",
            "bounds what a name can cost",
        ),
        (
            "sealed packets",
            (
                "{gossip.sealing.packets.MAX_PEERS} sessions, {gossip.sealing.packets.MAX_RECEIVERS} addresses, "
                "{gossip.sealing.packets.MAX_HELD_PACKETS} that wait for a hello, {gossip.sealing.packets.MAX_COUNTER} "
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
        (
            "a frame of a sealed stream",
            "{gossip.sealing.streams.MAX_SEALED_FRAME_BYTES} bytes",
            "it is closed",
            "the size of a record of TLS",
        ),
        ("agents told of an endpoint", "{server.claims.MAX_IDENTITIES}", "others are not named", "for warnings only"),
        ("targets asked for the own address", "{server.own_host.MAX_TARGETS}", "the others are next", "one suffices"),
        ("draws of a gossip port", "{config.server_ports.MAX_DRAWS}", "the start fails", "only where any port will do"),
    ),
}
