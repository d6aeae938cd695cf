"""Many streams over one connection (yamux)."""
