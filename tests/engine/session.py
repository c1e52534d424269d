"""A private copy of the library with a configuration of its own, and its calls as plain codes."""

from __future__ import annotations

import ctypes
import os
import shutil
import threading
from ctypes import byref, c_char_p, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, Self

from tests.engine.driver import LSILOGIC, MONOLITHIC_FLAT, READ_ONLY, SECTOR, CreateParams, LogFunction

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

VIX_ASYNC = 25000

CompletionFunction = ctypes.CFUNCTYPE(None, c_void_p, c_uint64)


class ConnectParams(ctypes.Structure):
    """``VixDiskLibConnectParams``; ``creds`` and ``spec`` are the strings of their unions, in order."""

    _fields_ = (
        ("vmx_spec", c_char_p),
        ("server", c_char_p),
        ("thumb_print", c_char_p),
        ("private_use", ctypes.c_long),
        ("cred_type", c_uint32),
        ("creds", c_char_p * 3),
        ("port", c_uint32),
        ("nfc_port", c_uint32),
        ("vim_api_version", c_char_p),
        ("reserved", ctypes.c_char * 8),
        ("state", c_void_p),
        ("spec", c_char_p * 3),
        ("spec_type", c_uint32),
    )


UID, SESSION_ID = 1, 2
VMX, FCD, DATASTORE = 0, 1, 2
USER, PASSWORD, COOKIE = b"backup", b"correct horse battery", b"52d1f9c7-session"


def remote(vmx_spec: bytes | None = b"moref=vm-1", server: bytes | None = b"vc", **fields: Any) -> ConnectParams:  # noqa: ANN401
    """Return complete parameters of a server; ``fields`` replace some."""
    params = ConnectParams(vmx_spec, server, cred_type=UID, creds=(USER, PASSWORD, None))
    for name, value in fields.items():
        setattr(params, name, value if name not in ("creds", "spec") else (c_char_p * 3)(*value))
    return params


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
        self.panicked: list[str] = []
        self._callbacks = [self._logger(lines) for lines in (self.logged, self.warned, self.panicked)]
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

    def init(self, major: int = 7, minor: int = 0) -> int:
        """Call InitEx."""
        return self.code("InitEx", major, minor, *self._callbacks, None, os.fsencode(self._file))

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

    def connect_failing(self) -> int:
        """Return what a local Connect says."""
        return self.code("Connect", None, byref(c_void_p()))

    def connect_to(
        self,
        params: ConnectParams | None,
        *,
        read_only: bool = False,
        snapshot: bytes | None = None,
        modes: bytes | None = None,
    ) -> c_void_p:
        """Return a connection to a server."""
        connection = c_void_p()
        found = byref(params) if params is not None else None
        code = self.code("ConnectEx", found, ctypes.c_char(read_only), snapshot, modes, byref(connection))
        assert code == 0, self.warned
        return connection

    def open_code(self, connection: c_void_p, path: bytes | None, flags: int = READ_ONLY) -> int:
        """Return what Open says; a disk that it opens is closed."""
        handle = c_void_p()
        code = self.code("Open", connection, path, c_uint32(flags), byref(handle))
        assert (code == 0) is (handle.value is not None)
        assert code or self.code("Close", handle) == 0
        return code

    def open_path(self, connection: c_void_p, path: bytes | None, flags: int = READ_ONLY) -> c_void_p:
        """Return the handle of a disk."""
        handle = c_void_p()
        assert self.code("Open", connection, path, c_uint32(flags), byref(handle)) == 0, self.warned
        return handle

    def transport(self, handle: c_void_p) -> str | None:
        """Call GetTransportMode."""
        call = self.dll.VixDiskLib_GetTransportMode
        call.restype = c_char_p
        found = call(handle)
        return found.decode() if found else None

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
