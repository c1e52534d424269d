"""Exit statuses. A signal that ends a command adds its number to 128, as shells do."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
"""Nothing was done."""
USAGE: Final = 2
PARTIAL: Final = 3
"""Some disks were done, others failed. This one and those from 10 on are restic's."""
NO_REPOSITORY: Final = 10
LOCKED: Final = 11
WRONG_PASSWORD: Final = 12
SIGNALLED: Final = 128
