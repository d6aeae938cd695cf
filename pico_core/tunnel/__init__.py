"""A tunnel: yamux inside a WebSocket, both ends, and its streams as channels."""
