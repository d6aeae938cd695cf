"""A tunnel: yamux inside a WebSocket, both ends (``tunnel.Tunnel``), and its streams as channels (``channel``)."""
