"""The other nodes as a node knows them, and where to route."""
