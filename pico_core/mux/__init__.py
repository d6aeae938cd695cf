"""yamux: many streams with flow control inside one connection. Start at ``session.Session``."""
