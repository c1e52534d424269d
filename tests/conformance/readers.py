"""Other programs that read VMDKs: each opens a disk and gives a stream of its bytes."""

from __future__ import annotations

import io
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from tests.conformance.disks import run
from tests.fix_tools import QEMU_IMG, SEVEN_ZIP, find, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


class Stream(Protocol):
    """What the readers have in common."""

    def seek(self, offset: int, whence: int = ..., /) -> object:
        """Go to ``offset``."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes."""


def load(module: str, package: str) -> Any:  # noqa: ANN401 (modules without types)
    """Import a reader's module, or leave the test."""
    try:
        return import_module(module)
    except ImportError:
        unavailable(f"{module} is missing (PyPI package {package})")


@contextmanager
def by_qemu_img(path: Path) -> Iterator[Stream]:
    """``qemu-img convert``, to a sparse file."""
    raw = path.with_suffix(".qemu")
    run(find(QEMU_IMG), "convert", "-f", "vmdk", "-O", "raw", path, raw)
    with raw.open("rb") as stream:
        yield stream
    raw.unlink()


@contextmanager
def by_seven_zip(path: Path) -> Iterator[Stream]:
    """``7z e``; it holds the disk in memory."""
    yield io.BytesIO(run(find(SEVEN_ZIP), "e", "-so", "-tvmdk", path))


@contextmanager
def by_libvmdk(path: Path) -> Iterator[Stream]:
    """Python's binding of libvmdk; it is told the parent, as it looks for none."""
    handle = load("pyvmdk", "libvmdk-python").handle()
    handle.open(str(path))
    try:
        handle.open_extent_data_files()
        if handle.parent_filename is None:
            yield handle
        else:
            with by_libvmdk(path.parent / handle.parent_filename) as parent:
                handle.set_parent(parent)
                yield handle
    finally:
        handle.close()


@contextmanager
def by_dissect(path: Path) -> Iterator[Stream]:
    """Fox-IT's dissect, in Python; it leaves its files to the garbage collector."""
    yield load("dissect.hypervisor.disk.vmdk", "dissect.hypervisor").VMDK(path)


READERS: dict[str, Callable[[Path], AbstractContextManager[Stream]]] = {
    "qemu-img": by_qemu_img,
    "libvmdk": by_libvmdk,
    "dissect": by_dissect,
    "7-Zip": by_seven_zip,
}
