"""``python -m pico_tunnel`` is the ``pico`` command."""

import sys

from pico_tunnel.cli import main

sys.exit(main())
