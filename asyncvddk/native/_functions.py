"""The one table of all functions of ``vixDiskLib.h``, and ``bind``, which finds them in a loaded library."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from asyncvddk.errors import LibraryLoadError, NotSupportedError
from asyncvddk.native._structs import (
    BlockList,
    CEnum,
    CompletionCB,
    Connection,
    ConnectParams,
    CreateParams,
    Handle,
    Info,
    LogFunc,
    ProgressFunc,
    SectorType,
    VixError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Thread(Enum):
    """Which thread may call a function."""

    MAIN = "main"
    """One thread of the process, before all other calls or after them."""
    OPEN_CLOSE = "open/close"
    """Never two of these at once in the process."""
    HANDLE = "handle"
    """Any thread, but one at a time for each handle."""
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the C interface."""

    name: str
    argtypes: tuple[Any, ...]
    thread: Thread
    restype: Any = VixError
    """``None`` is ``void``; a text that must be freed is a ``c_void_p``, one that must not a ``c_char_p``."""
    since: str = "5.0"
    """Version of the first header that has it."""
    optional: bool = False
    """A library may lack it: an older one, or one that offers only the reading and writing of disks."""
    instead: str = ""
    """Function that does in its place where it is missing, with less to say."""
    blocking: bool = True
    """It may wait for disk or network, or compute for long."""


_MAIN, _OPEN_CLOSE, _HANDLE, _ANY = Thread.MAIN, Thread.OPEN_CLOSE, Thread.HANDLE, Thread.ANY
_Buffer = c_void_p
_Text = c_void_p
_Params = POINTER(ConnectParams)
_Progress = (ProgressFunc, c_void_p)
_Logs = (LogFunc, LogFunc, LogFunc)

FUNCTIONS: Final = (
    # The library.
    Function("VixDiskLib_InitEx", (c_uint32, c_uint32, *_Logs, c_char_p, c_char_p), _MAIN, instead="VixDiskLib_Init"),
    Function("VixDiskLib_Init", (c_uint32, c_uint32, *_Logs, c_char_p), _MAIN, optional=True),
    Function("VixDiskLib_Exit", (), _MAIN, None),
    Function("VixDiskLib_ListTransportModes", (), _ANY, c_char_p, optional=True, blocking=False),
    Function("VixDiskLib_GetErrorText", (VixError, c_char_p), _ANY, _Text, blocking=False),
    Function("VixDiskLib_FreeErrorText", (_Text,), _ANY, None, blocking=False),
    Function("VixDiskLib_Cleanup", (_Params, POINTER(c_uint32), POINTER(c_uint32)), _OPEN_CLOSE, optional=True),
    # Connections.
    Function("VixDiskLib_AllocateConnectParams", (), _ANY, _Params, since="6.7", optional=True, blocking=False),
    Function("VixDiskLib_FreeConnectParams", (_Params,), _ANY, None, optional=True, blocking=False),
    Function("VixDiskLib_GetConnectParams", (Connection, POINTER(_Params)), _ANY, optional=True, blocking=False),
    Function("VixDiskLib_Connect", (_Params, POINTER(Connection)), _OPEN_CLOSE, optional=True),
    Function(
        "VixDiskLib_ConnectEx",
        (_Params, c_bool, c_char_p, c_char_p, POINTER(Connection)),
        _OPEN_CLOSE,
        instead="VixDiskLib_Connect",
    ),
    Function("VixDiskLib_Disconnect", (Connection,), _OPEN_CLOSE),
    Function("VixDiskLib_PrepareForAccess", (_Params, c_char_p), _OPEN_CLOSE, optional=True),
    Function("VixDiskLib_EndAccess", (_Params, c_char_p), _OPEN_CLOSE, optional=True),
    # Open disks.
    Function("VixDiskLib_Open", (Connection, c_char_p, c_uint32, POINTER(Handle)), _OPEN_CLOSE),
    Function("VixDiskLib_Close", (Handle,), _OPEN_CLOSE),
    Function("VixDiskLib_GetTransportMode", (Handle,), _ANY, c_char_p, blocking=False),
    Function("VixDiskLib_GetInfo", (Handle, POINTER(POINTER(Info))), _HANDLE),
    Function("VixDiskLib_FreeInfo", (POINTER(Info),), _ANY, None, blocking=False),
    Function(
        "VixDiskLib_QueryAllocatedBlocks",
        (Handle, SectorType, SectorType, SectorType, POINTER(POINTER(BlockList))),
        _HANDLE,
        since="6.7",
        optional=True,
    ),
    Function("VixDiskLib_FreeBlockList", (POINTER(BlockList),), _ANY, since="6.7", optional=True, blocking=False),
    # Data.
    Function("VixDiskLib_Read", (Handle, SectorType, SectorType, _Buffer), _HANDLE),
    Function("VixDiskLib_Write", (Handle, SectorType, SectorType, _Buffer), _HANDLE),
    Function(
        "VixDiskLib_ReadAsync",
        (Handle, SectorType, SectorType, _Buffer, CompletionCB, c_void_p),
        _HANDLE,
        since="5.5",
        optional=True,
        blocking=False,
    ),
    Function(
        "VixDiskLib_WriteAsync",
        (Handle, SectorType, SectorType, _Buffer, CompletionCB, c_void_p),
        _HANDLE,
        since="5.5",
        optional=True,
        blocking=False,
    ),
    Function("VixDiskLib_Wait", (Handle,), _HANDLE, since="6.5", optional=True),
    Function("VixDiskLib_Flush", (Handle,), _HANDLE, since="5.5"),
    # Metadata.
    Function(
        "VixDiskLib_ReadMetadata",
        (Handle, c_char_p, _Buffer, c_size_t, POINTER(c_size_t)),
        _HANDLE,
        optional=True,
    ),
    Function("VixDiskLib_WriteMetadata", (Handle, c_char_p, c_char_p), _HANDLE, optional=True),
    Function("VixDiskLib_GetMetadataKeys", (Handle, _Buffer, c_size_t, POINTER(c_size_t)), _HANDLE, optional=True),
    # Maintenance of local disks.
    Function(
        "VixDiskLib_Create",
        (Connection, c_char_p, POINTER(CreateParams), *_Progress),
        _OPEN_CLOSE,
        optional=True,
    ),
    Function("VixDiskLib_CreateChild", (Handle, c_char_p, CEnum, *_Progress), _OPEN_CLOSE, optional=True),
    Function("VixDiskLib_Unlink", (Connection, c_char_p), _OPEN_CLOSE, optional=True),
    Function("VixDiskLib_Grow", (Connection, c_char_p, SectorType, c_bool, *_Progress), _OPEN_CLOSE, optional=True),
    Function("VixDiskLib_Shrink", (Handle, *_Progress), _HANDLE, optional=True),
    Function("VixDiskLib_Defragment", (Handle, *_Progress), _HANDLE, optional=True),
    Function("VixDiskLib_Rename", (c_char_p, c_char_p), _OPEN_CLOSE, optional=True),
    Function(
        "VixDiskLib_Clone",
        (Connection, c_char_p, Connection, c_char_p, POINTER(CreateParams), *_Progress, c_bool),
        _OPEN_CLOSE,
        optional=True,
    ),
    Function("VixDiskLib_IsAttachPossible", (Handle, Handle), _HANDLE, optional=True),
    Function("VixDiskLib_Attach", (Handle, Handle), _OPEN_CLOSE, optional=True),
    Function("VixDiskLib_SpaceNeededForClone", (Handle, CEnum, POINTER(c_uint64)), _HANDLE, optional=True),
    Function("VixDiskLib_CheckRepair", (Connection, c_char_p, c_bool), _OPEN_CLOSE, optional=True),
)
"""Every function of the header, in its order."""

_BY_NAME: Final = {function.name: function for function in FUNCTIONS}


class Bound:
    """The functions of one loaded library. Using one that it lacks is a ``NotSupportedError``."""

    def __init__(self, library: str, pointers: Mapping[str, Callable[..., Any]]) -> None:
        """Hold the typed ``pointers`` by name; ``library`` names the file in errors."""
        self._library = library
        self._pointers = dict(pointers)
        self._addresses = {name: _address(pointer) for name, pointer in pointers.items()}

    @property
    def missing(self) -> frozenset[str]:
        """Names of the functions that this library lacks."""
        return frozenset(_BY_NAME.keys() - self._pointers.keys())

    def __contains__(self, name: str) -> bool:
        """Tell whether the library has the function."""
        return name in self._pointers

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """Return the function, its types set, for a call on this very thread; ctypes releases the GIL for it.

        Raises NotSupportedError (the library lacks it), KeyError (no header has it).
        """
        self._require(name)
        return self._pointers[name]

    def address(self, name: str) -> int:
        """Return where the function is, for a call on another thread. Raises as indexing does."""
        self._require(name)
        return self._addresses[name]

    def name_at(self, address: int) -> str | None:
        """Return the name of the function at ``address``."""
        return next((name for name, at in self._addresses.items() if at == address), None)

    def _require(self, name: str) -> None:
        """Raise unless the library has the function."""
        if name not in self._pointers:
            raise NotSupportedError(
                f"{name}: {self._library} lacks this function; VDDK has it since {_BY_NAME[name].since}"
            )


def bind(dll: ctypes.CDLL) -> Bound:
    """Find all functions of the table in ``dll`` and set their types.

    Nothing is called. The function objects are the result's own: those that others got from ``dll`` keep
    their types. Raises LibraryLoadError: required functions are missing; the message names all of them.
    """
    pointers = {function.name: pointer for function in FUNCTIONS if (pointer := _find(dll, function))}
    lacking = [f.name for f in FUNCTIONS if not f.optional and not {f.name, f.instead} & pointers.keys()]
    if lacking:
        raise LibraryLoadError(
            f"{dll._name}: not a usable VixDiskLib library, it lacks {_listing(lacking)}; "  # noqa: SLF001
            "give the root folder of VDDK 6.5 or newer, or none for the bundled engine"
        )
    return Bound(str(dll._name), pointers)  # noqa: SLF001


def _find(dll: ctypes.CDLL, function: Function) -> Callable[..., Any] | None:
    """Return the function with its types set, ``None`` when the library has no such symbol."""
    try:
        pointer = dll[function.name]
    except AttributeError:
        return None
    pointer.restype = function.restype
    pointer.argtypes = function.argtypes
    return pointer


def _address(pointer: Any) -> int:  # noqa: ANN401  (ctypes' function pointer types are private)
    """Return the address of a function that was found."""
    address = ctypes.cast(pointer, c_void_p).value
    if address is None:
        raise AssertionError(f"{pointer}: found, but at address 0")
    return address


def _listing(names: Iterable[str]) -> str:
    """Return names as an enumeration for a sentence."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
