"""Tokens: the keys that verify them, what they permit, and the memory of verified ones. Start at ``gate``."""
