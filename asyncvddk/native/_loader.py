"""Finding and loading a library with VixDiskLib's ABI.

The bundled engine needs nothing but itself. VMware's library loads others by bare name at run time, and the system's
loader reads ``LD_LIBRARY_PATH`` only when a process starts: so it must be set before Python starts, and the error says
so (nbdkit re-executes itself for the same reason).
"""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncvddk._events import Events
from asyncvddk.errors import LibraryLoadError
from asyncvddk.native import _log
from asyncvddk.native._functions import Bound, bind

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE: Final = "ASYNCVDDK_LIBDIR"
"""Environment variable that names the installation root when the program does not."""

ENGINE_ROOT: Final = Path(__file__).resolve().parent.parent / "engine"
"""Installation root of the bundled engine."""

_PLUGIN: Final = "libdiskLibPlugin.so"
_NAME: Final = re.compile(r"libvixDiskLib\.so((?:\.\d+)*)")

_logger = Events("asyncvddk")


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded library."""

    file: Path
    """The file itself, symbolic links resolved."""
    root: Path
    """Installation root, the folder that holds ``lib64``: what ``InitEx`` wants as ``libDir``."""
    bound: Bound
    named_version: tuple[int, ...]
    """Version by the file's name, as (6, 7, 0) or (8,); empty when it does not tell."""

    @property
    def version(self) -> tuple[int, ...]:
        """Version that the library told when it was initialised, else that of the file's name; empty: unknown."""
        told = _log.library_version
        return tuple(map(int, told.split("."))) if told else self.named_version

    @property
    def major(self) -> int | None:
        """First number of the version, ``None`` when it is unknown."""
        return next(iter(self.version), None)

    def is_at_least(self, *version: int) -> bool:
        """Tell whether the library is known to be of ``version`` or newer."""
        return self.version >= version

    def __str__(self) -> str:
        """Say which one it is, as the end of a sentence."""
        version = ".".join(map(str, self.version))
        return f"{self.file} is {version or 'of unknown version'}"

    @property
    def can_async(self) -> bool:
        """True when reads and writes can be in flight together; needs ``Wait`` (6.5), as 6.0 calls back otherwise."""
        needed = ("VixDiskLib_ReadAsync", "VixDiskLib_WriteAsync", "VixDiskLib_Wait")
        return all(name in self.bound for name in needed)


def find(libdir: str | os.PathLike[str] | None = None) -> Path:
    """Return the file that ``load`` would load, symbolic links resolved. Raises LibraryLoadError: there is none."""
    return _find(_root_of(libdir)).resolve()


def _root_of(libdir: str | os.PathLike[str] | None) -> Path:
    return _root(Path(libdir or os.environ.get(VARIABLE) or ENGINE_ROOT).absolute())


def load(libdir: str | os.PathLike[str] | None = None) -> Library:
    """Load the library of the installation root ``libdir``.

    Default: the folder that ``ASYNCVDDK_LIBDIR`` names, else the bundled engine. The ``lib64`` folder itself is taken
    as well. Raises LibraryLoadError: nothing there, or it cannot be loaded; the message says what to do.
    """
    root = _root_of(libdir)
    name = _find(root)
    file = name.resolve()
    try:
        dll = ctypes.CDLL(str(file))
    except OSError as exc:
        raise LibraryLoadError(_advice(file, str(exc))) from exc
    _warn_of_missing_path(file.parent)
    return Library(file, root, bind(dll), _named_version(file) or _named_version(name))


def _root(folder: Path) -> Path:
    return folder.parent if folder.name == "lib64" and not (folder / "lib64").exists() else folder


def _candidates(root: Path) -> Iterator[Path]:
    """Yield what may be the library: the newest version first, the name without a version last."""
    for folder in (root / "lib64", root):
        names = [file for file in folder.glob("libvixDiskLib.so*") if _NAME.fullmatch(file.name)]
        yield from sorted(names, key=lambda file: (_named_version(file), file.name), reverse=True)


def _named_version(file: Path) -> tuple[int, ...]:
    match = _NAME.fullmatch(file.name)
    return tuple(map(int, match[1].split(".")[1:])) if match else ()


def _find(root: Path) -> Path:
    for candidate in _candidates(root):
        if candidate.is_file():
            return candidate
    if root == ENGINE_ROOT:
        what = "the bundled engine is not built: pip install ., or python -m asyncvddk.engine.build"
    else:
        what = f"give the folder that holds lib64/libvixDiskLib.so.*, as libdir or in {VARIABLE}"
    raise LibraryLoadError(f"{root}: no lib64/libvixDiskLib.so.* here; {what}")


def _in_library_path(folder: Path) -> bool:
    return str(folder) in os.environ.get("LD_LIBRARY_PATH", "").split(":")


def _advice(file: Path, reason: str) -> str:
    if _in_library_path(file.parent):
        what = "LD_LIBRARY_PATH names its folder already: install the library that is named as missing"
    else:
        what = f"start the program with LD_LIBRARY_PATH={file.parent} (it must be set before Python starts)"
    return f"{file}: cannot be loaded: {reason}; {what}"


def _warn_of_missing_path(folder: Path) -> None:
    """VMware's library loads without the path, then misses its plugin: say it before transports are missing."""
    if (folder / _PLUGIN).exists() and not _in_library_path(folder):
        _logger.warning(
            "library_path_missing",
            folder=str(folder),
            advice="without it SAN and HotAdd are missing: set LD_LIBRARY_PATH to it before Python starts",
        )
