"""The server node as a machine."""
