"""The states of an exchange, and the calls that each of them permits.

Life of an exchange::

    CHOOSING --forward--> REQUESTED --response head--> RESPONDING --last piece--> OVER
       ^  |                   |  |                                                 ^
       |  |                   |  +------------- whole response, or lost -----------+
       +--|---- retry --------+  +--101--> PIPED --both directions ended-----------+
          +---- fail, or client lost ----------------------------------------------+

``TRANSITIONS`` says the same for every call. Three rules stand behind it:

1. A request goes back to CHOOSING only from REQUESTED: once the client has seen a byte of a response, nothing may be
   taken back. It goes back only while all that was sent of it is still kept and can be sent again.
2. A call that ends the exchange tells both ends before it returns. An upstream that is not wanted any more is given up,
   so that the service sees at once that its client is gone; a response that stops early is cut so that the client can
   tell. Therefore no call reaches an exchange that is OVER.
3. In PIPED the bytes pass from channel to channel, and only the pipe reports.

A call that its state does not permit is a mistake of ours: it raises ``LocalProtocolError`` and changes nothing.
"""

from enum import Enum


class ExchangeState(Enum):
    """Where an exchange stands; see the drawing at the top."""

    CHOOSING = "choosing"
    REQUESTED = "requested"
    RESPONDING = "responding"
    PIPED = "piped"
    OVER = "over"


# As globals because they are needed for every request: on CPython 3.11 a member costs 110 ns to look up in its class.
CHOOSING = ExchangeState.CHOOSING
REQUESTED = ExchangeState.REQUESTED
RESPONDING = ExchangeState.RESPONDING
PIPED = ExchangeState.PIPED
OVER = ExchangeState.OVER

TRANSITIONS: dict[ExchangeState, dict[str, frozenset[ExchangeState]]] = {
    CHOOSING: {
        "receive": frozenset({CHOOSING}),
        "forward": frozenset({REQUESTED}),
        "join": frozenset({PIPED}),
        "failed": frozenset({CHOOSING, OVER}),
        "give_up": frozenset({OVER}),
        "abandon_upstream": frozenset({CHOOSING}),
        "fail": frozenset({OVER}),
        "on_deadline": frozenset({OVER}),
        "client_error": frozenset({OVER}),
        "client_lost": frozenset({OVER}),
    },
    REQUESTED: {
        "receive": frozenset({REQUESTED}),
        "request_writable": frozenset({REQUESTED}),
        "respond_interim": frozenset({REQUESTED}),
        "respond": frozenset({RESPONDING, OVER}),
        "respond_whole": frozenset({OVER}),
        "switch_protocols": frozenset({PIPED}),
        "failed": frozenset({CHOOSING, OVER}),
        "give_up": frozenset({OVER}),
        "abandon_upstream": frozenset({REQUESTED, CHOOSING, OVER}),
        "response_writable": frozenset({REQUESTED}),
        "fail": frozenset({OVER}),
        "on_deadline": frozenset({OVER}),
        "client_error": frozenset({OVER}),
        "client_lost": frozenset({OVER}),
    },
    RESPONDING: {
        "receive": frozenset({RESPONDING}),
        "request_writable": frozenset({RESPONDING}),
        "respond_more": frozenset({RESPONDING, OVER}),
        "response_writable": frozenset({RESPONDING}),
        "failed": frozenset({OVER}),
        "abandon_upstream": frozenset({RESPONDING}),
        "on_deadline": frozenset({OVER}),
        "client_error": frozenset({OVER}),
        "client_lost": frozenset({OVER}),
    },
    PIPED: {
        "abandon_upstream": frozenset({PIPED}),
        "on_deadline": frozenset({OVER}),
    },
    OVER: {},
}
"""The calls that each state permits, with the states that each may lead to.

CHOOSING after a call that chooses again stands for the state that the router brings about next."""
