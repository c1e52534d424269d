"""The C core: threads that make native calls, and the ring their answers come through (``core/*.c``).

Its functions never wait and hold their locks for an instant, so they are called without giving the interpreter up
(``PyDLL``): handing it over at each submit would let a busy Python thread delay every disk. Two functions are the
exceptions: one joins a thread, the other writes to a file on the thread that calls it.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import c_bool, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asyncvddk.errors import LibraryLoadError

PATH: Final = Path(__file__).with_name("lib_core.so")

ARGUMENTS: Final = 8
"""Most arguments of a command; the rest are zeros."""

COMMAND: Final = struct.Struct("=11Q")
"""``struct core_command``: tag, function, mode, arguments."""

COMPLETION: Final = struct.Struct("=QQ")
"""``struct core_completion``: tag, result."""

SERIAL: Final = 1
ASYNC: Final = 2
POST: Final = 4

PROGRESS: Final = 1 << 63
LOGGED: Final = 1 << 31

_LOG_TEXT: Final = 4096


class _LogHead(ctypes.Structure):
    _fields_ = (("tag", c_uint64), ("worker", c_uint32), ("level", c_uint32))


@dataclass(frozen=True, slots=True)
class LogMessage:
    """One message of the library."""

    tag: int
    """Command during which it came, 0 when on a thread of the library's own."""
    worker: int
    level: int
    """0 log, 1 warning, 2 panic."""
    data: bytearray
    """The text, in UTF-8 as a rule; it may hold a secret."""


def _load() -> ctypes.PyDLL:
    try:
        return ctypes.PyDLL(str(PATH))
    except OSError as exc:
        raise LibraryLoadError(
            f"{PATH}: the package's own core is not built; install the package (pip install .), "
            f"or run: python -m asyncvddk.engine.build ({exc})"
        ) from exc


_dll: Final = _load()
_waiting_dll: Final = ctypes.CDLL(str(PATH))


def _declare(name: str, restype: type | None, *argtypes: type) -> ctypes._NamedFuncPointer:
    function = getattr(_dll, name)
    function.restype = restype
    function.argtypes = argtypes
    return function  # type: ignore[no-any-return]


port_new: Final = _declare("core_port_new", c_void_p)
port_fd: Final = _declare("core_port_fd", c_int, c_void_p)
port_close: Final = _declare("core_port_close", None, c_void_p)
port_wake: Final = _declare("core_port_wake", None, c_void_p)
port_drain: Final = _declare("core_port_drain", c_uint32, c_void_p, c_void_p, c_uint32)

worker_start: Final = _declare("core_worker_start", c_void_p, c_void_p, c_uint32, c_char_p)
worker_submit: Final = _declare("core_worker_submit", c_bool, c_void_p, c_char_p, c_uint32)
worker_withdraw: Final = _declare("core_worker_withdraw", c_bool, c_void_p, c_uint64)
worker_oldest: Final = _declare("core_worker_oldest", c_uint64, c_void_p)
worker_stop: Final = _declare("core_worker_stop", None, c_void_p, c_uint64)
worker_abandon: Final = _declare("core_worker_abandon", c_uint64, c_void_p)
worker_join: Final = _waiting_dll.core_worker_join
worker_join.restype = None
worker_join.argtypes = (c_void_p,)
write_sparse: Final = _waiting_dll.core_write_sparse
write_sparse.restype = c_uint64
write_sparse.argtypes = (c_int, c_void_p, c_size_t, c_uint64, c_size_t)

progress_new: Final = _declare("core_progress_new", c_void_p, c_void_p, c_uint64)
progress_stop: Final = _declare("core_progress_stop", None, c_void_p)
progress_told: Final = _declare("core_progress_told", c_uint32, c_void_p)
progress_free: Final = _declare("core_progress_free", None, c_void_p)

log_attach: Final = _declare("core_log_attach", None, c_void_p)
_log_pop: Final = _declare("core_log_pop", c_bool, c_void_p, c_char_p, c_size_t)
log_dropped: Final = _declare("core_log_dropped", c_uint64)


def address(name: str) -> int:
    """Return the address of a function of the core, for a command or as a callback."""
    return ctypes.cast(getattr(_dll, name), c_void_p).value or 0


PROGRESS_CALLBACK: Final = address("core_progress_tell")
"""``VixDiskLibProgressFunc``; its data is what ``progress_new`` returned."""

LOG_CALLBACKS: Final = (address("core_log_info"), address("core_log_warn"), address("core_log_panic"))
"""``VixDiskLibGenericLogFunc`` for log, warn and panic."""

WRITE_SPARSE: Final = address("core_write_sparse")
NONZERO_RUNS: Final = address("core_nonzero_runs")
SYNC: Final = address("core_sync")


def pop_log() -> LogMessage | None:
    """Fetch the oldest waiting message of the library."""
    head, data = _LogHead(), bytearray(_LOG_TEXT)
    if not _log_pop(ctypes.byref(head), (c_char * _LOG_TEXT).from_buffer(data), _LOG_TEXT):
        return None
    del data[data.index(0) :]
    return LogMessage(head.tag, head.worker, head.level, data)
