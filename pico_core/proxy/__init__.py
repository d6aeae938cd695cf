"""One request in, an upstream chosen, one response back."""
