"""Bounds of ports and tunnels."""

from typing import Final

from pico_tunnel.limit_rows.row import Rows

ROWS: Final[Rows] = {
    "On the ports": (
        (
            "requests that wait for a crowded endpoint",
            "{server.crowding.MAX_WAITING}",
            "503",
            "each waits for a moment",
        ),
        (
            "of one endpoint",
            "one for {server.crowding.STREAMS_PER_WAITING} streams",
            "503 at once",
            "more would wait in vain",
        ),
        ("time they wait", "{server.crowding.WAIT_S:g} s", "503", "refusals have to come within 100 ms"),
        (
            "of them, looked at again in one check",
            "{server.crowding.MAX_TRIED}",
            "the others are next",
            "the next check is 10 ms later",
        ),
        (
            "upstreams that one request is sent to",
            "{proxy.exchange.MAX_TRIES}",
            "the last failure",
            "four failures in a row are not by chance",
        ),
        (
            "times that a request comes back from its own service",
            "{proxy.request_id.MAX_PASSES}",
            "508",
            "services that call each other come to a handful",
        ),
        (
            "a request body kept for another try",
            "{proxy.replay.MAX_REPLAY_BYTES} bytes",
            "no other try",
            "longer bodies are uploads, which clients repeat themselves",
        ),
        (
            "empty lines before a response",
            "{http.repair.MAX_LINE_ENDS_BYTES} bytes",
            "502",
            "services that send too many send one",
        ),
        (
            "pipelined requests kept",
            "{proxy.http1.downstream.MAX_BACKLOG_BYTES} bytes",
            "the client is not read",
            "clients that pipeline send some small requests",
        ),
        (
            "interim responses to a request",
            "{proxy.http1.upstream.MAX_INTERIM_RESPONSES}",
            "502",
            "services send one or two",
        ),
        ("digits of a Content-Length", "{http.grammar.MAX_LENGTH_DIGITS}", "400 or 502", "so many fit 64 bits"),
        ("the line of a chunk", "{http.body.MAX_CHUNK_LINE_BYTES} bytes", "400 or 502", "extensions are short"),
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
            "an address that such a chain names",
            "{proxy.client_address.MAX_NODE_BYTES} bytes",
            "it does not count, nor do those before it",
            "IPv6 in brackets with a port has 53",
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
            "pauses after a key set could not be fetched",
            "{server.key_sets.FETCH_RETRY_S:g} to {server.key_sets.MAX_FETCH_RETRY_S:g} s",
            "it is fetched again",
            "jwks.cache_ttl bounds them too; an issuer that restarts is asked soon",
        ),
        (
            "a key set",
            "{access.key_set.MAX_SET_BYTES} bytes, {access.key_set.MAX_SET_KEYS} keys",
            "the last good one is kept",
            "sets have a few keys",
        ),
        (
            "connections for which a port of operators or of gossip has a reserve",
            "{server.limits.MAX_RESERVED}, or a sixteenth of all",
            "an idle one is closed, else the new one is refused",
            "operators and other nodes need few, each for a moment",
        ),
        (
            "connections to the admin port of an agent or a forwarder, or to the inspector",
            "{plain.client_pages.MAX_OPERATORS}",
            "an idle one is closed, else the new one",
            "operators are few",
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
            "the oldest is closed",
            "bounds what refusals cost",
        ),
        (
            "a connection that lingers",
            (
                "{machine.lingering.SILENCE_S:g} s of silence, {machine.lingering.MAX_LINGER_S:g} s, "
                "{machine.lingering.MAX_LINGER_BYTES} bytes"
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
        (
            "what a reload has opened, in a line of the log",
            "{server.exposure.MAX_NAMED} patterns or tenants",
            "the line says how many there are",
            "a line that somebody reads",
        ),
    ),
    "Of tunnels": (
        (
            "window of a stream",
            "{mux.frame.INITIAL_WINDOW_BYTES} bytes",
            "the tunnel is closed",
            "the protocol says so",
        ),
        (
            "unread bytes of a tunnel",
            "{mux.windows.SHARED_BYTES} bytes",
            "windows get smaller",
            "32 streams have a full window",
        ),
        (
            "resets of a tunnel",
            "{mux.budget.RESETS_PER_SECOND:g} a second, {mux.budget.RESET_BURST} at once",
            "the tunnel is closed",
            "one stream in use is reset once",
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
            "{bounds.TUNNEL_STREAMS}",
            "none is opened",
            "as upstream.max_streams, its key at the server",
        ),
        (
            "tunnels that one agent opens for an endpoint",
            "{agent.growth.MAX_TUNNELS}",
            "no further one is opened; the server answers 503, or asks another agent",
            "they carry the highest max_streams",
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
        (
            "what an agent is told of itself",
            "{tunnel.agreement.MAX_TOLD_BYTES} bytes",
            "it is left out",
            "an address and an ID fit",
        ),
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
}
