"""What every machine shares, and TCP connections as channels. Start at ``base.BaseMachine``."""
