"""Control sequences of terminals (ECMA-48): colours of the lines for people."""

RESET = "\x1b[0m"
DIM = "\x1b[2m"
RED = "\x1b[31m"
GREEN = "\x1b[32m"
YELLOW = "\x1b[33m"
CYAN = "\x1b[36m"

CLEAR_LINE = "\r\x1b[K"
"""Go to the beginning of the line, and erase the line."""
