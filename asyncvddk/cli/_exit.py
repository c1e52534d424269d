"""Exit statuses. A signal that ends a command adds its number to 128, as shells do."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
"""Nothing was done."""
USAGE: Final = 2
PARTIAL: Final = 3
"""Some disks were done, others failed."""
SIGNALLED: Final = 128
