"""The base of every machine, and TCP connections as channels. Start at ``base.BaseMachine``."""
