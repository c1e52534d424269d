"""Structures and callback types of ``vixDiskLib.h`` for ctypes: 64-bit Linux, longest form (7.0 and newer).

Older libraries know a prefix: 80 bytes of ``ConnectParams`` (to 6.5), 24 of ``CreateParams``, 56 of ``Info``.
Alignment is the compiler's natural one, ``_pack_`` is never set. Sizes and offsets are checked at import
against numbers measured with a C compiler, so that a slip shows before any library is loaded.
"""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_char, c_char_p, c_int, c_long, c_uint16, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CEnum = c_uint32
"""Every enumeration of the header."""

SectorType = c_uint64
"""A count of sectors of 512 bytes, or the number of one."""

VixError = c_uint64


class Connection(c_void_p):
    """``VixDiskLibConnection``, opaque."""


class Handle(c_void_p):
    """``VixDiskLibHandle``, opaque."""


LogFunc = ctypes.CFUNCTYPE(None, c_char_p, c_void_p)
"""``VixDiskLibGenericLogFunc *``. A ``va_list`` arrives as one pointer on x86_64 and aarch64 Linux."""

ProgressFunc = ctypes.CFUNCTYPE(c_bool, c_void_p, c_int)
"""``VixDiskLibProgressFunc``: user data, percent."""

CompletionCB = ctypes.CFUNCTYPE(None, c_void_p, VixError)
"""``VixDiskLibCompletionCB`` as from 6.5 on: user data, result."""


def _layout(size: int, **offsets: int) -> Callable[[type[Any]], type[Any]]:
    """Return a decorator that refuses a structure of another size, or with a field at another offset."""

    def check(cls: type[Any]) -> type[Any]:
        found = {name: getattr(cls, name).offset for name, *_ in cls._fields_}
        if (ctypes.sizeof(cls), found) != (size, offsets):
            raise AssertionError(
                f"{cls.__name__}: {ctypes.sizeof(cls)} bytes, offsets {found}; must be {size}, {offsets}"
            )
        return cls

    return check


@_layout(16, userName=0, password=8)
class UidCreds(ctypes.Structure):
    """``VixDiskLibUidPasswdCreds``."""

    _fields_ = (("userName", c_char_p), ("password", c_char_p))


@_layout(24, cookie=0, userName=8, key=16)
class SessionIdCreds(ctypes.Structure):
    """``VixDiskLibSessionIdCreds``: value of the SOAP session cookie, user, password."""

    _fields_ = (("cookie", c_char_p), ("userName", c_char_p), ("key", c_char_p))


@_layout(24, uid=0, sessionId=0, ticketId=0)
class Creds(ctypes.Union):
    """``VixDiskLibCreds``; ``credType`` tells which."""

    _fields_ = (("uid", UidCreds), ("sessionId", SessionIdCreds), ("ticketId", c_void_p))


@_layout(24, id=0, datastoreMoRef=8, ssId=16)
class VStorageObjectSpec(ctypes.Structure):
    """``VixDiskLibVStorageObjectSpec``: a first-class disk and perhaps its snapshot."""

    _fields_ = (("id", c_char_p), ("datastoreMoRef", c_char_p), ("ssId", c_char_p))


@_layout(16, datastoreMoRef=0, diskFolder=8)
class DatastoreSpec(ctypes.Structure):
    """``VixDiskLibDatastoreSpec`` (8.0.1)."""

    _fields_ = (("datastoreMoRef", c_char_p), ("diskFolder", c_char_p))


@_layout(24, vStorageObjSpec=0, dsSpec=0)
class Spec(ctypes.Union):
    """The union ``spec`` of ``ConnectParams``; ``specType`` tells which, ``vmxSpec`` is outside of it."""

    _fields_ = (("vStorageObjSpec", VStorageObjectSpec), ("dsSpec", DatastoreSpec))


@_layout(
    128,
    vmxSpec=0,
    serverName=8,
    thumbPrint=16,
    privateUse=24,
    credType=32,
    creds=40,
    port=64,
    nfcHostPort=68,
    vimApiVer=72,
    reserved=80,
    state=88,
    spec=96,
    specType=120,
)
class ConnectParams(ctypes.Structure):
    """``VixDiskLibConnectParams``. All zero means local disks."""

    _fields_ = (
        ("vmxSpec", c_char_p),
        ("serverName", c_char_p),
        ("thumbPrint", c_char_p),
        ("privateUse", c_long),
        ("credType", CEnum),
        ("creds", Creds),
        ("port", c_uint32),
        ("nfcHostPort", c_uint32),
        ("vimApiVer", c_char_p),
        ("reserved", c_char * 8),
        ("state", c_void_p),
        ("spec", Spec),
        ("specType", CEnum),
    )


@_layout(32, diskType=0, adapterType=4, hwVersion=8, capacity=16, logicalSectorSize=24, physicalSectorSize=28)
class CreateParams(ctypes.Structure):
    """``VixDiskLibCreateParams``. Capacity in sectors; sector sizes in bytes, 0 for 512."""

    _fields_ = (
        ("diskType", CEnum),
        ("adapterType", CEnum),
        ("hwVersion", c_uint16),
        ("capacity", SectorType),
        ("logicalSectorSize", c_uint32),
        ("physicalSectorSize", c_uint32),
    )


@_layout(12, cylinders=0, heads=4, sectors=8)
class Geometry(ctypes.Structure):
    """``VixDiskLibGeometry``."""

    _fields_ = (("cylinders", c_uint32), ("heads", c_uint32), ("sectors", c_uint32))


@_layout(
    64,
    biosGeo=0,
    physGeo=12,
    capacity=24,
    adapterType=32,
    numLinks=36,
    parentFileNameHint=40,
    uuid=48,
    logicalSectorSize=56,
    physicalSectorSize=60,
)
class Info(ctypes.Structure):
    """``VixDiskLibInfo``. Capacity in sectors; a library before 7.0 allocates only the first 56 bytes."""

    _fields_ = (
        ("biosGeo", Geometry),
        ("physGeo", Geometry),
        ("capacity", SectorType),
        ("adapterType", CEnum),
        ("numLinks", c_int),
        ("parentFileNameHint", c_char_p),
        ("uuid", c_char_p),
        ("logicalSectorSize", c_uint32),
        ("physicalSectorSize", c_uint32),
    )


@_layout(16, offset=0, length=8)
class Block(ctypes.Structure):
    """``VixDiskLibBlock``, in sectors."""

    _fields_ = (("offset", SectorType), ("length", SectorType))


@_layout(24, numBlocks=0, blocks=8)
class BlockList(ctypes.Structure):
    """``VixDiskLibBlockList``: ``numBlocks`` blocks, 0 or more, from the offset of ``blocks`` on."""

    _fields_ = (("numBlocks", c_uint32), ("blocks", Block * 1))


STRUCTS: Final[dict[str, type[ctypes.Structure | ctypes.Union]]] = {
    "VixDiskLibUidPasswdCreds": UidCreds,
    "VixDiskLibSessionIdCreds": SessionIdCreds,
    "VixDiskLibCreds": Creds,
    "VixDiskLibVStorageObjectSpec": VStorageObjectSpec,
    "VixDiskLibDatastoreSpec": DatastoreSpec,
    "VixDiskLibConnectParams": ConnectParams,
    "VixDiskLibCreateParams": CreateParams,
    "VixDiskLibGeometry": Geometry,
    "VixDiskLibInfo": Info,
    "VixDiskLibBlock": Block,
    "VixDiskLibBlockList": BlockList,
}
"""C name to class, for all of the header."""
