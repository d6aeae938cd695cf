"""WebSocket (RFC 6455): both handshakes, and the frames after them.

Server: ``handshake.accept_handshake``, then ``decoding.FrameDecoder(masked=True)``, and ``encoding.encode_frame``
without entropy. Client: ``handshake.ClientHandshake``, then ``FrameDecoder(masked=False)``, and ``encode_frame`` with
entropy.
Only binary messages carry data, and their borders mean nothing. There is never an extension or a subprotocol.
"""
