"""A private copy of the library with a configuration of its own, and its calls as plain codes."""

from __future__ import annotations

import ctypes
import os
import shutil
import threading
from ctypes import byref, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, Self

from tests.engine.driver import LSILOGIC, MONOLITHIC_FLAT, SECTOR, CreateParams, LogFunction

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

VIX_ASYNC = 25000

CompletionFunction = ctypes.CFUNCTYPE(None, c_void_p, c_uint64)


class ConnectParams(ctypes.Structure):
    """``VixDiskLibConnectParams``, of which only the first two fields are used here."""

    _fields_ = (("vmx_spec", ctypes.c_char_p), ("server", ctypes.c_char_p), ("rest", c_uint64 * 14))


class Session:
    """Init on entry, Exit at the end; ``config`` is the text of the configuration file."""

    def __init__(self, library: Path, folder: Path, config: str | None = None) -> None:
        """Copy and load the library."""
        copy = folder / f"session-{len(list(folder.iterdir()))}.so"
        shutil.copy(library, copy)
        self.dll = ctypes.CDLL(str(copy), mode=os.RTLD_LOCAL | os.RTLD_NOW)
        self.folder = folder
        self.logged: list[str] = []
        self.warned: list[str] = []
        self._callbacks = [self._logger(self.logged), self._logger(self.warned)]
        self._file = folder / f"{copy.stem}.conf"
        if config is not None:
            self._file.write_text(config, "utf-8")

    @staticmethod
    def _logger(lines: list[str]) -> Any:  # noqa: ANN401 (ctypes' callback type is made at run time)
        vsnprintf = ctypes.CDLL(None).vsnprintf
        vsnprintf.argtypes = (c_void_p, ctypes.c_size_t, ctypes.c_char_p, c_void_p)

        def receive(text: bytes, arguments: int) -> None:
            line = ctypes.create_string_buffer(4096)
            vsnprintf(line, len(line), text, arguments)
            lines.append(line.value.decode())

        return LogFunction(receive)

    def code(self, function: str, *arguments: Any) -> int:  # noqa: ANN401 (what ctypes takes)
        """Call a function that returns a VixError."""
        call = self.dll[f"VixDiskLib_{function}"]
        call.restype = c_uint64
        return int(call(*arguments))

    def init(self, major: int = 7) -> int:
        """Call InitEx."""
        return self.code("InitEx", major, 0, *self._callbacks, None, None, os.fsencode(self._file))

    def exit(self) -> None:
        """Call Exit."""
        self.dll.VixDiskLib_Exit()

    def __enter__(self) -> Self:
        """Init."""
        assert self.init() == 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Exit."""
        self.exit()

    def connect(self) -> c_void_p:
        """Return a local connection."""
        connection = c_void_p()
        assert self.code("Connect", None, byref(connection)) == 0
        return connection

    def open(self, connection: c_void_p, sectors: int = 65536 + 77, flags: int = 0) -> c_void_p:
        """Return the handle of a flat disk, made if it is not there."""
        path = os.fsencode(self.folder / "disk.vmdk")
        params = CreateParams(MONOLITHIC_FLAT, LSILOGIC, 13, sectors, 0, 0)
        if not os.path.exists(path):  # noqa: PTH110 (bytes)
            assert self.code("Create", connection, path, byref(params), None, None) == 0
        handle = c_void_p()
        assert self.code("Open", connection, path, c_uint32(flags), byref(handle)) == 0
        return handle


class Completions:
    """Callback of asynchronous calls that remembers results, and what it keeps alive."""

    def __init__(self) -> None:
        """Have no result yet."""
        self.results: list[int] = []
        self.threads: set[int] = set()
        self.function = CompletionFunction(self._receive)

    def _receive(self, _data: int, result: int) -> None:
        self.threads.add(threading.get_native_id())
        self.results.append(result)


def sectors(count: int) -> ctypes.Array[ctypes.c_char]:
    """Return a buffer."""
    return ctypes.create_string_buffer(count * SECTOR)
