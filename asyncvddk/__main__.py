"""``python -m asyncvddk``: the command line."""

import sys

from asyncvddk.cli import main

if __name__ == "__main__":
    sys.exit(main())
