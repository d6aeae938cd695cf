"""The agent as a machine."""
