"""Small HTTP/1.1 on h11, where speed does not matter: a server for the admin port, and a client for one request."""
