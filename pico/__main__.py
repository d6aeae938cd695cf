"""``python -m pico`` is the ``pico`` command."""

import sys

from pico.cli import main

sys.exit(main())
