"""Several processes that serve the same ports, each a node of the cluster, and the machine that watches them."""
