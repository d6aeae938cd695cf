"""What operators see of a server: health, metrics and status on the admin port, and the client that asks for it."""
