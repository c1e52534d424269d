"""Names of what local files hold now. Blocking, but quick: looks at no data."""

from __future__ import annotations

import os
import stat
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RACY_S: Final = 2.0
"""A file that was changed less than this ago may change again without a difference in its times."""


def files_state(files: Iterable[Path]) -> str | None:
    """Return a name that these files, which hold a disk, have only for as long as nothing is written to any of them.

    None where nobody can tell: one is missing, no regular file, or was changed just now.
    """
    digest = blake2b(digest_size=16)
    for file in files:
        try:
            facts = file.stat()
        except OSError:
            return None
        if not stat.S_ISREG(facts.st_mode) or time.time() - max(facts.st_mtime, facts.st_ctime) < RACY_S:
            return None
        one = (os.fspath(file), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        digest.update(repr(one).encode())
    return f"files:{digest.hexdigest()}"
