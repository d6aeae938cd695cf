"""What an agent records of requests and responses, shows on a page of its own, and sends again. Start at ``tap``."""
