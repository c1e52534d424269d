"""The engine's library through plain ctypes, one method per call that the tests make. Sectors, as in C."""

from __future__ import annotations

import ctypes
import os
import shutil
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    Progress: TypeAlias = Callable[[int], bool]

SECTOR = 512

LOADER_ENVIRONMENT = os.environ | {"LD_PRELOAD": os.environ.pop("LD_PRELOAD", "")}
"""For processes that load the library. A sanitizer's runtime is for them and for this one, not for QEMU."""

MONOLITHIC_SPARSE, MONOLITHIC_FLAT, SPLIT_SPARSE, SPLIT_FLAT, VMFS_FLAT, STREAM_OPTIMIZED, VMFS_THIN = range(1, 8)
UNBUFFERED, SINGLE_LINK, READ_ONLY = 1, 2, 4
IDE, BUSLOGIC, LSILOGIC = 1, 2, 3

LogFunction = ctypes.CFUNCTYPE(None, c_char_p, c_void_p)
ProgressFunction = ctypes.CFUNCTYPE(c_char, c_void_p, c_int)


def names(folder: Path) -> list[str]:
    """Return the sorted names of the files in a folder."""
    return sorted(file.name for file in folder.iterdir())


def progress_arguments(progress: Progress | None) -> tuple[Any, None]:
    """Return the last two arguments of long calls; ``progress`` returns False to cancel."""
    return (ProgressFunction(lambda _data, percent: bytes([progress(percent)])) if progress else None), None


class CreateParams(ctypes.Structure):
    """``VixDiskLibCreateParams``."""

    _fields_ = (
        ("disk_type", c_uint32),
        ("adapter_type", c_uint32),
        ("hw_version", c_uint16),
        ("capacity", c_uint64),
        ("logical_sector_size", c_uint32),
        ("physical_sector_size", c_uint32),
    )


class Info(ctypes.Structure):
    """``VixDiskLibInfo``."""

    _fields_ = (
        ("bios", c_uint32 * 3),
        ("geometry", c_uint32 * 3),
        ("capacity", c_uint64),
        ("adapter_type", c_uint32),
        ("links", c_int),
        ("parent_hint", c_char_p),
        ("uuid", c_char_p),
        ("logical_sector_size", c_uint32),
        ("physical_sector_size", c_uint32),
    )


class BlockList(ctypes.Structure):
    """Head of ``VixDiskLibBlockList``."""

    _fields_ = (("count", c_uint32), ("blocks", c_uint64 * 2 * 0))


class EngineError(Exception):
    """A call returned an error; ``text`` is what the library warned about meanwhile."""

    def __init__(self, function: str, code: int, text: str) -> None:
        """Keep the code and the warnings."""
        super().__init__(f"{function}: {code}: {text}")
        self.code = code
        self.text = text


class Engine:
    """A private copy of the library, so that other users of it in this process do not meddle."""

    def __init__(self, library: Path, folder: Path, config: str | None = None) -> None:
        """Load a copy made in ``folder``, initialise it with the text of a configuration file, connect."""
        copy = folder / "libvixDiskLib.so.8"
        shutil.copy(library, copy)
        self.dll = ctypes.CDLL(str(copy), mode=os.RTLD_LOCAL | os.RTLD_NOW)
        self.warnings: list[str] = []
        self._vsnprintf = ctypes.CDLL(None).vsnprintf
        self._vsnprintf.argtypes = (c_void_p, c_size_t, c_char_p, c_void_p)
        self._log = LogFunction(lambda _format, _arguments: None)
        self._warn = LogFunction(self._on_warning)
        self.connection = c_void_p()
        settings = folder / "settings.conf"
        if config is not None:
            settings.write_text(config, "utf-8")
        self._call("InitEx", 8, 0, self._log, self._warn, None, None, None if config is None else bytes(settings))
        self._call("Connect", None, byref(self.connection))

    def _on_warning(self, text: bytes, arguments: int) -> None:
        line = ctypes.create_string_buffer(4096)
        self._vsnprintf(line, len(line), text, arguments)
        self.warnings.append(line.value.decode(errors="replace"))

    def code(self, function: str, *arguments: Any) -> int:  # noqa: ANN401 (what ctypes takes)
        """Call and return the VixError, warnings cleared before."""
        self.warnings.clear()
        call = self.dll[f"VixDiskLib_{function}"]
        call.restype = c_uint64
        return int(call(*arguments))

    def _call(self, function: str, *arguments: Any) -> None:  # noqa: ANN401 (as above)
        code = self.code(function, *arguments)
        if code:
            raise EngineError(function, code, " | ".join(self.warnings))

    call = _call

    def close(self) -> None:
        """Disconnect and Exit."""
        self._call("Disconnect", self.connection)
        self.dll.VixDiskLib_Exit()

    def create(
        self,
        path: Path,
        sectors: int,
        disk_type: int = MONOLITHIC_SPARSE,
        *,
        adapter: int = LSILOGIC,
        progress: Progress | None = None,
    ) -> Path:
        """Create a disk and return its path."""
        params = CreateParams(disk_type, adapter, 13, sectors, 0, 0)
        self._call("Create", self.connection, bytes(path), byref(params), *progress_arguments(progress))
        return path

    def unlink(self, path: Path) -> None:
        """Delete a disk."""
        self._call("Unlink", self.connection, bytes(path))

    def clone(
        self,
        to: Path,
        source: Path,
        disk_type: int | CreateParams = MONOLITHIC_SPARSE,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Path:
        """Copy a disk into a new one and return its path."""
        params = CreateParams(disk_type, LSILOGIC, 13, 0, 0, 0) if isinstance(disk_type, int) else disk_type
        places = self.connection, bytes(to), self.connection, bytes(source)
        told, data = progress_arguments(progress)
        self._call("Clone", *places, byref(params), told, data, c_char(overwrite))
        return to

    def grow(self, path: Path, sectors: int, *, geometry: bool = True, progress: Progress | None = None) -> None:
        """Give a disk a larger capacity."""
        told = progress_arguments(progress)
        self._call("Grow", self.connection, bytes(path), c_uint64(sectors), c_char(geometry), *told)

    def rename(self, source: Path, to: Path) -> None:
        """Rename a disk with its extents."""
        self._call("Rename", bytes(source), bytes(to))

    def check(self, path: Path, *, repair: bool = False) -> None:
        """Check a disk, and repair it."""
        self._call("CheckRepair", self.connection, bytes(path), c_char(repair))

    @contextmanager
    def open(self, path: Path | str, flags: int = 0) -> Iterator[Disk]:
        """Open a disk; it is closed at the end, with its error raised unless there is one already."""
        handle = c_void_p()
        self._call("Open", self.connection, os.fsencode(path), c_uint32(flags), byref(handle))
        disk = Disk(self, handle)
        try:
            yield disk
        except BaseException:
            if disk.handle.value:
                self.code("Close", disk.handle)
            raise
        disk.close()

    def open_error(self, path: Path | str, flags: int = READ_ONLY) -> EngineError | None:
        """Return the error of opening and closing, None if it went well."""
        try:
            with self.open(path, flags):
                return None
        except EngineError as error:
            return error

    def read(self, path: Path, flags: int = READ_ONLY) -> bytearray:
        """Return the whole content of a disk."""
        with self.open(path, flags) as disk:
            return disk.read(0, disk.capacity)


class Disk:
    """An open disk."""

    def __init__(self, engine: Engine, handle: c_void_p) -> None:
        """Take over a handle."""
        self.engine = engine
        self.handle = handle

    def close(self) -> None:
        """Close once."""
        handle, self.handle = self.handle, c_void_p()
        if handle.value:
            self.engine.call("Close", handle)

    def read(self, start: int, count: int) -> bytearray:
        """Read sectors."""
        buffer = bytearray(count * SECTOR)
        target = (c_char * len(buffer)).from_buffer(buffer)
        self.engine.call("Read", self.handle, c_uint64(start), c_uint64(count), target)
        return buffer

    def write(self, start: int, data: bytes) -> None:
        """Write sectors."""
        assert len(data) % SECTOR == 0
        self.engine.call("Write", self.handle, c_uint64(start), c_uint64(len(data) // SECTOR), data)

    def flush(self) -> None:
        """Flush."""
        self.engine.call("Flush", self.handle)

    def create_child(self, path: Path, disk_type: int = MONOLITHIC_SPARSE, *, progress: Progress | None = None) -> Path:
        """Create an empty link on top of this disk and return its path."""
        told = progress_arguments(progress)
        self.engine.call("CreateChild", self.handle, bytes(path), c_uint32(disk_type), *told)
        return path

    def is_attach_possible(self, child: Disk) -> int:
        """Return the code of IsAttachPossible with this one as the parent."""
        return self.engine.code("IsAttachPossible", self.handle, child.handle)

    def attach(self, child: Disk) -> None:
        """Make this one and its parents the parents of ``child``."""
        self.engine.call("Attach", self.handle, child.handle)

    def space_for_clone(self, disk_type: int) -> int:
        """Return bytes that a clone takes."""
        needed = c_uint64()
        self.engine.call("SpaceNeededForClone", self.handle, c_uint32(disk_type), byref(needed))
        return needed.value

    def shrink(self, progress: Progress | None = None) -> None:
        """Free the grains that hold zeros."""
        self.engine.call("Shrink", self.handle, *progress_arguments(progress))

    def defragment(self, progress: Progress | None = None) -> None:
        """Put the grains into the order of the disk."""
        self.engine.call("Defragment", self.handle, *progress_arguments(progress))

    def info(self) -> dict[str, Any]:
        """Return the fields of VixDiskLibInfo."""
        pointer = POINTER(Info)()
        self.engine.call("GetInfo", self.handle, byref(pointer))
        found = {name: getattr(pointer.contents, name) for name, *_ in Info._fields_}
        found["geometry"], found["bios"] = tuple(found["geometry"]), tuple(found["bios"])
        self.engine.dll.VixDiskLib_FreeInfo(pointer)
        return found

    @property
    def capacity(self) -> int:
        """Sectors."""
        return int(self.info()["capacity"])

    def allocated(self, start: int = 0, count: int | None = None, chunk: int = 128) -> list[tuple[int, int]]:
        """Return (first sector, sectors) of the allocated areas of whole chunks."""
        if count is None:
            count = (self.capacity - start) // chunk * chunk
        pointer = POINTER(BlockList)()
        arguments = (c_uint64(start), c_uint64(count), c_uint64(chunk), byref(pointer))
        self.engine.call("QueryAllocatedBlocks", self.handle, *arguments)
        address = ctypes.addressof(pointer.contents) + BlockList.blocks.offset
        pairs = (c_uint64 * 2 * pointer.contents.count).from_address(address)
        found = [(pair[0], pair[1]) for pair in pairs]
        self.engine.call("FreeBlockList", pointer)
        return found

    def metadata_keys(self) -> list[str]:
        """Return the metadata keys."""
        return [key.decode() for key in self._text("GetMetadataKeys").split(b"\0") if key]

    def metadata(self, key: str) -> str:
        """Return one metadata value."""
        return self._text("ReadMetadata", key.encode()).rstrip(b"\0").decode()

    def set_metadata(self, key: str, value: str) -> None:
        """Set one metadata value."""
        self.engine.call("WriteMetadata", self.handle, key.encode(), value.encode())

    def _text(self, function: str, *arguments: bytes) -> bytes:
        required = c_size_t()
        code = self.engine.code(function, self.handle, *arguments, None, c_size_t(0), byref(required))
        if code != 24:
            raise EngineError(function, code, "expected VIX_E_BUFFER_TOOSMALL")
        buffer = ctypes.create_string_buffer(required.value)
        self.engine.call(function, self.handle, *arguments, buffer, required, None)
        return buffer.raw
