"""What a node knows of the others, and where to route."""
