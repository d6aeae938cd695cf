"""Why a request was not answered by its service: the closed list of reasons, by the names that all of Pico uses.

Each answer that Pico makes itself carries one: in ``X-Pico-Error``, in its body, in the access log and in the metric
``pico_proxy_errors_total``. Next for an operator: ``docs/troubleshooting.md`` has a chapter for each.
"""

import msgspec

SERVER = "server"
AGENT = "agent"


CLIENT_GONE = 499
"""The status in logs and metrics of a request whose client left before the response (nginx's convention)."""

CLIENT_LEFT = "client-left"
"""Its reason."""


class Reason(msgspec.Struct, frozen=True):
    """One reason: ``by`` is what decided, ``meaning`` one sentence for the client, ``advice`` one for its operator."""

    by: str
    meaning: str
    advice: str


REASONS = {
    "no-endpoint": Reason(
        SERVER,
        "The request does not say which endpoint it is for.",
        "Name it as the first label of the host name, or with the header x-pico-endpoint.",
    ),
    "no-tunnel": Reason(
        SERVER,
        "No agent serves this endpoint at present.",
        "Start its agent, and compare the spelling of the endpoint.",
    ),
    "tunnel-lost": Reason(
        SERVER,
        "The tunnel to the agent broke while the request was in it.",
        "Look at the network between the agent and the server, and whether the agent was restarted.",
    ),
    "node-lost": Reason(
        SERVER,
        "The server node that has the tunnel broke off while it had the request.",
        "Look for the request's ID in the access log of that node, and whether it was stopped or is out of memory.",
    ),
    "node-unreachable": Reason(
        SERVER,
        "The server node that has the tunnel does not take connections from this one.",
        "Permit connections between the proxy ports of all nodes, and check proxy.advertise_addr.",
    ),
    "node-full": Reason(
        SERVER,
        "The server is out of descriptors for connections to its other nodes.",
        "Raise the limit of open files, or add nodes.",
    ),
    "misdirected": Reason(
        SERVER,
        "The node that was asked does not have the tunnel any more.",
        "Nothing: routes are a moment behind after a tunnel moved. If it stays, look at the gossip port.",
    ),
    "busy": Reason(
        SERVER,
        "All tunnels of the endpoint carry as many requests as they may.",
        "Start further agents, or raise upstream.max_streams and the agent's max_streams.",
    ),
    "loop": Reason(
        SERVER,
        "The service of the endpoint leads back to the server, so the request goes in a circle.",
        "Correct the address at the agent, or where its service passes the request on to.",
    ),
    "overloaded": Reason(
        SERVER,
        "The server takes no more at present.",
        "Look at 'pico server limits' for the limit that is reached; add nodes.",
    ),
    "draining": Reason(
        SERVER,
        "The node is about to stop, and takes no further agents.",
        "Nothing: the agent tries another node, or this one when it is back.",
    ),
    "tcp-endpoint": Reason(
        SERVER,
        "The endpoint takes TCP connections and no HTTP requests.",
        "Reach it with 'pico forward tcp', or register it with 'pico agent http'.",
    ),
    "http-endpoint": Reason(
        SERVER,
        "The endpoint takes HTTP requests and no TCP connections.",
        "Reach it with HTTP, or register it with 'pico agent tcp'.",
    ),
    "upstream-timeout": Reason(
        SERVER,
        "No answer came through the tunnel in time.",
        "Look at the service and at its agent; proxy.timeout is how long the server waits.",
    ),
    "agent-silent": Reason(
        SERVER,
        "The agent does not respond, though its connection is open.",
        "Look at the agent's machine: it was stopped, is overloaded, or sleeps.",
    ),
    "agent-not-asked": Reason(
        SERVER,
        "The only agent at a node does not respond, and was not asked.",
        "Look at the agent's machine: it was stopped, is overloaded, or sleeps.",
    ),
    "service-refused": Reason(
        AGENT,
        "The agent cannot connect to its service.",
        "Start the service, or correct its address at the agent.",
    ),
    "service-lost": Reason(
        AGENT,
        "The service closed the connection before its answer was whole.",
        "Look at the log of the service: it may have crashed.",
    ),
    "service-invalid": Reason(
        AGENT,
        "The answer of the service was not valid HTTP.",
        "Check that the agent's address is that of an HTTP service, with https:// where it speaks TLS.",
    ),
    "service-timeout": Reason(
        AGENT,
        "The service did not answer in time.",
        "Look at the service; the timeout of the agent's listener is how long the agent waits.",
    ),
    "app-failed": Reason(
        AGENT,
        "The application that the agent runs failed before its answer.",
        "Look at the log of the program: it has the error.",
    ),
    "stream-refused": Reason(
        AGENT,
        "The agent cannot connect to its TCP service.",
        "Start the service, or correct its address at the agent.",
    ),
    "agent-full": Reason(
        AGENT,
        "The agent is out of descriptors.",
        "Raise the limit of open files on the machine of the agent, or start further agents.",
    ),
    "bad-request": Reason(
        SERVER,
        "The request is not HTTP as its standard has it.",
        "The text says what is wrong with it. Look at the client, and at proxies before the server.",
    ),
    "not-found": Reason(
        SERVER,
        "The server has nothing under this path, which is not one of an endpoint.",
        "The route for TCP is /_pico/v1/tcp/{endpoint}; at the upstream port agents ask for "
        "/pico/v1/upstream/{endpoint}.",
    ),
    "too-large": Reason(
        SERVER,
        "The request, or a part of its head, is larger than the server takes.",
        "The text says which part; proxy.http.max_header_bytes and the endpoint's policy are the limits.",
    ),
    "request-timeout": Reason(
        SERVER,
        "The client did not send the whole request in time.",
        "Look at the client and its network; proxy.http has the times.",
    ),
    "unauthorized": Reason(
        SERVER,
        "The request has no token or password that lets it in.",
        "Give one that permits the endpoint: 'pico token inspect' explains a token.",
    ),
    "keys-unknown": Reason(
        SERVER,
        "The server cannot verify tokens yet.",
        "Look at the server's log: it fetches its set of keys, or does not know the time.",
    ),
    "forbidden": Reason(
        SERVER,
        "The endpoint's policy, or the allowed origins, do not let this client in.",
        "'pico server check' says which rule a request meets.",
    ),
    "taken": Reason(
        SERVER,
        "Another agent serves the endpoint, with another protocol or alone.",
        "Take another endpoint, stop the other agent, or change second_agent in the endpoint's policy.",
    ),
    "rate-limited": Reason(
        SERVER,
        "The client sends more than the endpoint's policy lets it.",
        "Slow the client down, or raise the limits in policies.",
    ),
    CLIENT_LEFT: Reason(
        SERVER,
        "The client closed its connection before the answer.",
        "Nothing, unless it happens often: then look at the client's own time limit.",
    ),
}
"""Every reason, by name."""

_OF_STATUS = {
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    408: "request-timeout",
    409: "taken",
    413: "too-large",
    414: "too-large",
    429: "rate-limited",
    431: "too-large",
    502: "service-invalid",
    503: "overloaded",
}


def reason_of(status: int) -> str:
    """Return the reason of an answer of Pico's own that says no more than its ``status``."""
    return _OF_STATUS.get(status, "bad-request")


def error_line(reason: str, by: str = SERVER) -> bytes:
    """Return the field line that names the reason of an answer of Pico's own, and what decided."""
    return b"X-Pico-Error: %b; by=%b\r\n" % (reason.encode("ascii"), by.encode("ascii"))
