"""What the standard library lacks for files: ``syncfs``."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syncfs.argtypes = (ctypes.c_int,)
_libc.syncfs.restype = ctypes.c_int


def syncfs(fd: int) -> None:
    """Bring all of the file system that holds ``fd`` to stable storage; other Python threads run meanwhile.

    Raises OSError, also for a write that failed in the background since ``fd`` was opened (Linux 5.8 and newer).
    """
    if _libc.syncfs(fd):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
