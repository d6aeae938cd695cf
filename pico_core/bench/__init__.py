"""Load for a server, and what its clients notice: what ``pico bench http`` runs. Start at ``machine``."""
