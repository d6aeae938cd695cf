"""The descriptors 0, 1 and 2 of a process that was started without them, as some supervisors and ``>&-`` do.

The first sockets would get these numbers otherwise. Then whatever a library prints goes to a peer, and uvloop ends the
process when it closes such a socket.
"""

import os


def fill_standard_descriptors() -> None:
    """Open the null device for each of them that is closed. To be called before anything else is opened."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # open takes the lowest number that is free
