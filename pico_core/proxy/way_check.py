"""The question of a forwarder whether an endpoint can be reached, without a connection to its service.

It is the request of a connection, with ``QUERY`` and without a key of a WebSocket. A Pico server answers ``REACHABLE``,
or as it would refuse the connection. Other servers, which do not know the question, miss the key and refuse it.
"""

QUERY = b"check"

REACHABLE_STATUS = 200
REACHABLE = "none: the endpoint can be reached"
"""The text of the answer where nothing stands in the way, in the form that all answers of the route have."""
