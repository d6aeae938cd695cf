"""HTTP/1.1 at the two ends of an exchange."""
