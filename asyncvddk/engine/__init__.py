"""The open engine: a library with VDDK's C interface for local disks, written in C and built at installation.

``lib64/libvixDiskLib.so.8`` is the library, ``include/vixDiskLib.h`` its interface, ``build`` compiles it.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent
"""Installation root in VDDK's sense: the folder with ``lib64``; any client's ``libdir``."""
