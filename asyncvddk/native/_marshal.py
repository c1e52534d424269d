""":mod:`asyncvddk.models` to C structures and back: models count bytes, C counts sectors."""

from __future__ import annotations

import ctypes
import os
from array import array
from ctypes import c_char_p
from typing import TYPE_CHECKING, Final

from asyncvddk.models import SECTOR_SIZE, AdapterType, DiskInfo, Geometry
from asyncvddk.native import _constants as c
from asyncvddk.native import _structs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncvddk.models import ConnectParams, CreateParams, DiskType, Secret

_SECTOR_SIZES_SINCE: Final = 7


def c_text(text: str, what: str, *, errors: str = "strict") -> bytes:
    """Return ``text`` as UTF-8 for C; ``what`` names it in errors, which never show it.

    ``errors`` says what becomes of characters that UTF-8 lacks, as for ``str.encode``. Raises ValueError: ``text`` has
    an embedded NUL, where C would end it.
    """
    return _refuse_nul(text.encode("utf-8", errors), what)


def c_path(path: str | os.PathLike[str]) -> bytes:
    """Return a path, local or on a datastore, as the file system's bytes for C.

    Raises ValueError: it is empty or has an embedded NUL.
    """
    if not (data := os.fsencode(path)):
        raise ValueError("path: it is empty")
    return _refuse_nul(data, "path")


def _refuse_nul(data: bytes, what: str) -> bytes:
    """Return ``data`` unless it has an embedded NUL."""
    if b"\0" in data:
        raise ValueError(f"{what}: it has an embedded NUL character")
    return data


class NativeConnectParams:
    """A filled ``VixDiskLibConnectParams`` and all memory that it points to, valid until :meth:`wipe`.

    The library copies what it keeps, but a running call may still read it: wipe after the last one.
    """

    def __init__(self, at: int | None = None) -> None:
        """Take memory of our own, or the structure at address ``at`` that ``AllocateConnectParams`` gave.

        What is at ``at`` stays the library's: the caller frees it, after :meth:`wipe`.
        """
        self._struct = _structs.ConnectParams() if at is None else _structs.ConnectParams.from_address(at)
        self._texts: list[ctypes.Array[ctypes.c_char]] = []
        self._secrets: list[ctypes.Array[ctypes.c_char]] = []

    @property
    def struct(self) -> _structs.ConnectParams:
        """The structure itself."""
        return self._struct

    @property
    def address(self) -> int:
        """Address of the structure, for a call on another thread."""
        return ctypes.addressof(self._struct)

    def wipe(self) -> None:
        """Overwrite password and cookie with zeros and clear the pointers to all texts. Idempotent.

        What Python itself made of a secret on the way (``str``, ``bytes``) cannot be overwritten.
        """
        for secret in self._secrets:
            ctypes.memset(secret, 0, len(secret))
        for name in ("vmxSpec", "serverName", "thumbPrint"):
            setattr(self._struct, name, None)
        ctypes.memset(ctypes.byref(self._struct.creds), 0, ctypes.sizeof(_structs.Creds))
        ctypes.memset(ctypes.byref(self._struct.spec), 0, ctypes.sizeof(_structs.Spec))
        self._texts.clear()
        self._secrets.clear()

    def text(self, value: str | None, what: str) -> c_char_p:
        """Return a pointer to a copy of ``value`` that lives as long as this object, NULL for ``None``."""
        return _keep(self._texts, value, what)

    def secret(self, value: Secret | None, what: str) -> c_char_p:
        """As :meth:`text`; :meth:`wipe` overwrites the copy."""
        return _keep(self._secrets, value.reveal() if value else None, what)


def _keep(buffers: list[ctypes.Array[ctypes.c_char]], value: str | None, what: str) -> c_char_p:
    """Copy ``value`` into a new buffer of ``buffers`` and return a pointer to it."""
    if value is None:
        return c_char_p()
    buffers.append(ctypes.create_string_buffer(c_text(value, what)))
    return ctypes.cast(buffers[-1], c_char_p)


def connect_params(params: ConnectParams, at: int | None = None) -> NativeConnectParams:
    """Return the C form of ``params``, in memory of our own or in the structure at ``at``.

    Raises ValueError: a text has an embedded NUL.
    """
    native = NativeConnectParams(at)
    try:
        _fill(native, params)
    except BaseException:
        native.wipe()
        raise
    return native


def _fill(native: NativeConnectParams, params: ConnectParams) -> None:
    """Set every field that is ours to set."""
    struct = native.struct
    struct.vmxSpec = native.text(params.vmx_spec, "vmx_spec")
    struct.serverName = native.text(params.server, "server")
    struct.thumbPrint = native.text(params.thumbprint, "thumbprint")
    struct.port = params.port
    struct.nfcHostPort = params.nfc_port
    _fill_credentials(native, params)
    _fill_spec(native, params)


def _fill_credentials(native: NativeConnectParams, params: ConnectParams) -> None:
    """Choose the arm of ``creds``: a session cookie comes before user and password."""
    struct = native.struct
    if params.cookie:
        struct.credType = c.VIXDISKLIB_CRED_SESSIONID
        struct.creds.sessionId.cookie = native.secret(params.cookie, "cookie")
        struct.creds.sessionId.userName = native.text(params.user, "user")
        struct.creds.sessionId.key = native.secret(params.password, "password")
    else:
        struct.credType = c.VIXDISKLIB_CRED_UID
        struct.creds.uid.userName = native.text(params.user, "user")
        struct.creds.uid.password = native.secret(params.password, "password")


def _fill_spec(native: NativeConnectParams, params: ConnectParams) -> None:
    """Say what the connection leads to: a virtual machine, or a first-class disk."""
    struct = native.struct
    struct.specType = c.VIXDISKLIB_SPEC_VMX
    if disk := params.storage_object:
        struct.specType = c.VIXDISKLIB_SPEC_VSTORAGE_OBJECT
        struct.spec.vStorageObjSpec.id = native.text(disk.disk_id, "disk_id")
        struct.spec.vStorageObjSpec.datastoreMoRef = native.text(disk.datastore_moref, "datastore_moref")
        struct.spec.vStorageObjSpec.ssId = native.text(disk.snapshot_id or None, "snapshot_id")


def create_params(params: CreateParams) -> _structs.CreateParams:
    """Return the C form of ``params``, always in its 32-byte form with 512-byte sectors."""
    return _structs.CreateParams(
        diskType=params.disk_type,
        adapterType=params.adapter,
        hwVersion=params.hw_version,
        capacity=params.size // SECTOR_SIZE,
    )


def clone_params(disk_type: DiskType, adapter: AdapterType, hw_version: int) -> _structs.CreateParams:
    """Return the C form of what a clone shall be; its capacity is that of its source."""
    return _structs.CreateParams(diskType=disk_type, adapterType=adapter, hwVersion=hw_version)


def disk_info(address: int, library_major: int | None) -> DiskInfo:
    """Copy the ``VixDiskLibInfo`` at ``address``, which may be freed afterwards.

    Before version 7 the structure ends ahead of the sector sizes: they are read only when ``library_major``
    is known to be at least 7.
    """
    info = _structs.Info.from_address(address)
    tells = library_major is not None and library_major >= _SECTOR_SIZES_SINCE
    return DiskInfo(
        size=info.capacity * SECTOR_SIZE,
        adapter=AdapterType(info.adapterType),
        links=info.numLinks,
        bios_geometry=_geometry(info.biosGeo),
        physical_geometry=_geometry(info.physGeo),
        parent_hint=_text(info.parentFileNameHint),
        uuid=_text(info.uuid),
        logical_sector_size=(info.logicalSectorSize or None) if tells else None,
        physical_sector_size=(info.physicalSectorSize or None) if tells else None,
    )


def _geometry(geometry: _structs.Geometry) -> Geometry:
    """Copy a geometry."""
    return Geometry(geometry.cylinders, geometry.heads, geometry.sectors)


def _text(data: bytes | None) -> str | None:
    """Decode a text of the library; an empty one counts as none."""
    return os.fsdecode(data) if data else None


def block_list(address: int) -> array[int]:
    """Copy the ``VixDiskLibBlockList`` at ``address``, which may be freed afterwards.

    Flat and in sectors: offset, length, offset, length, ... Half a million blocks are 8 MiB, no objects.
    """
    first = address + _structs.BlockList.blocks.offset
    count = _structs.BlockList.from_address(address).numBlocks
    return array("Q", ctypes.string_at(first, count * ctypes.sizeof(_structs.Block)))


def block_pairs(address: int) -> Iterator[tuple[int, int]]:
    """As :func:`block_list`, but in bytes and one (offset, length) at a time. The list is copied at once."""
    flat = block_list(address)
    return ((offset * SECTOR_SIZE, length * SECTOR_SIZE) for offset, length in zip(flat[::2], flat[1::2], strict=True))


def metadata_keys(data: bytes) -> list[str]:
    """Split what ``GetMetadataKeys`` wrote: names that end in NUL, one more NUL behind the last."""
    return [os.fsdecode(name) for name in data.split(b"\0\0", 1)[0].split(b"\0") if name]
