"""WebSocket (RFC 6455): both opening handshakes, and the frames after them.

A server calls ``handshake.accept_handshake``, then reads with ``decoding.FrameDecoder(masked=True)`` and writes with
``encoding.encode_frame`` and its siblings, without masking. A client drives a ``handshake.ClientHandshake``, then reads
with ``FrameDecoder(masked=False)`` and writes with the same functions, which it gives a ``masking.MaskSource``.

Only binary messages carry data, and their borders mean nothing: payload is a stream of bytes. There is never an
extension. A subprotocol may be agreed on (``proxy.websocket_channel``); it changes nothing about frames.
"""
