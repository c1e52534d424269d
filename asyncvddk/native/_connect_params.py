""":class:`asyncvddk.ConnectParams` to ``VixDiskLibConnectParams`` and back; no secret stays behind on the way.

Libraries before 6.7 know the first 80 bytes of the structure and cannot allocate it: they get our own, of 128 bytes,
and of theirs no more than 80 are read.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_void_p
from typing import TYPE_CHECKING, Final

from asyncvddk._params import ConnectParams, DatastoreFolder, StorageObject
from asyncvddk.errors import NotSupportedError
from asyncvddk.native import _constants as c
from asyncvddk.native import _log, _memory, _structs
from asyncvddk.native._marshal import c_text, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncvddk._secret import Secret
    from asyncvddk.native._loader import Library

_ALLOCATE: Final = "VixDiskLib_AllocateConnectParams"
_FREE: Final = "VixDiskLib_FreeConnectParams"
_DATASTORES_SINCE: Final = (8, 0, 1)


class NativeConnectParams:
    """A filled ``VixDiskLibConnectParams`` and all memory that it points to, valid until :meth:`wipe`.

    It is the library's own where the library allocates it, which gives it the library's size. The library copies what
    it keeps, but a running call may still read it: wipe after the last one. Until then no message of the library shows
    a secret of it.
    """

    def __init__(self, library: Library) -> None:
        """Take a structure of the library, or memory of our own."""
        self._texts: list[ctypes.Array[ctypes.c_char]] = []
        self._secrets: list[ctypes.Array[ctypes.c_char]] = []
        self._hidden: list[_log.Hidden] = []
        self._free: Callable[[], object] | None = None
        if not knows_specs(library) or _FREE not in library.bound:
            self.struct = _structs.ConnectParams()
            return
        pointer = library.bound[_ALLOCATE]()
        if not pointer:
            raise MemoryError(_ALLOCATE)
        self.struct = pointer.contents
        self._free = lambda: library.bound[_FREE](pointer)

    @property
    def address(self) -> int:
        """Address of the structure, for a call on another thread."""
        return ctypes.addressof(self.struct)

    def wipe(self) -> None:
        """Overwrite the secrets with zeros, clear the pointers to all texts, free what is the library's. Idempotent."""
        for secret in self._secrets:
            _memory.overwrite(secret)
        for hidden in self._hidden:
            _log.show(hidden)
        for name in ("vmxSpec", "serverName", "thumbPrint"):
            setattr(self.struct, name, None)
        ctypes.memset(ctypes.byref(self.struct.creds), 0, ctypes.sizeof(_structs.Creds))
        ctypes.memset(ctypes.byref(self.struct.spec), 0, ctypes.sizeof(_structs.Spec))
        self._texts.clear()
        self._secrets.clear()
        self._hidden.clear()
        free, self._free = self._free, None
        if free is not None:
            self.struct = _structs.ConnectParams()
            free()

    def text(self, value: str | None, what: str) -> c_char_p:
        """Return a pointer to a copy of ``value`` that lives as long as this object, NULL for ``None``."""
        if value is None:
            return c_char_p()
        self._texts.append(ctypes.create_string_buffer(c_text(value, what)))
        return ctypes.cast(self._texts[-1], c_char_p)

    def secret(self, value: Secret | None, what: str) -> c_char_p:
        """As :meth:`text`; :meth:`wipe` overwrites the copy, which is made straight from the secret's own memory."""
        if value is None:
            return c_char_p()
        if value.wiped:
            raise ValueError(f"{what}: this Secret was wiped, its content is gone; make ConnectParams with a new one")
        if 0 in value.view():
            raise ValueError(f"{what}: it has an embedded NUL character")
        self._secrets.append(_memory.secret_copy(value))
        if value:
            self._hidden.append(_log.hide(value))
        return ctypes.cast(self._secrets[-1], c_char_p)


def knows_specs(library: Library) -> bool:
    """Tell whether the library's structure has ``spec`` and ``specType``: 6.7 brought them and its allocation."""
    return _ALLOCATE in library.bound


def connect_params(params: ConnectParams, library: Library, *, host_only: bool = False) -> NativeConnectParams:
    """Return the C form of ``params``; ``host_only`` leaves out what the connection leads to.

    Raises ValueError (a text has an embedded NUL, a secret was wiped), NotSupportedError (the library is too old for
    what the connection leads to).
    """
    if not host_only:
        _check_spec(params, library)
    native = NativeConnectParams(library)
    try:
        _fill_server(native, params)
        _fill_credentials(native, params)
        if not host_only:
            _fill_spec(native, params)
    except BaseException:
        native.wipe()
        raise
    return native


def _check_spec(params: ConnectParams, library: Library) -> None:
    """Refuse what an older library would not see: it would take the connection for a local one."""
    if params.storage_object and not knows_specs(library):
        raise NotSupportedError(f"storage_object: first-class disks need a library of version 6.7, {library}")
    if params.datastore and not (knows_specs(library) and library.is_at_least(*_DATASTORES_SINCE)):
        raise NotSupportedError(f"datastore: folders of a datastore need a library of version 8.0.1, {library}")


def _fill_server(native: NativeConnectParams, params: ConnectParams) -> None:
    struct = native.struct
    struct.serverName = native.text(params.server, "server")
    struct.thumbPrint = native.text(params.thumbprint, "thumbprint")
    struct.port = params.port
    struct.nfcHostPort = params.nfc_port


def _fill_credentials(native: NativeConnectParams, params: ConnectParams) -> None:
    """Choose the arm of ``creds``: a session cookie comes before user and password."""
    struct = native.struct
    if params.cookie is not None:
        struct.credType = c.VIXDISKLIB_CRED_SESSIONID
        struct.creds.sessionId.cookie = native.secret(params.cookie, "cookie")
        struct.creds.sessionId.userName = native.text(params.user, "user")
        key, name = (params.key, "key") if params.key is not None else (params.password, "password")
        struct.creds.sessionId.key = native.secret(key, name)
    else:
        struct.credType = c.VIXDISKLIB_CRED_UID
        struct.creds.uid.userName = native.text(params.user, "user")
        struct.creds.uid.password = native.secret(params.password, "password")


def _fill_spec(native: NativeConnectParams, params: ConnectParams) -> None:
    """Say what the connection leads to: a virtual machine, a first-class disk, or a folder of a datastore."""
    struct = native.struct
    struct.vmxSpec = native.text(params.vmx_spec, "vmx_spec")
    struct.specType = c.VIXDISKLIB_SPEC_VMX
    if disk := params.storage_object:
        struct.specType = c.VIXDISKLIB_SPEC_VSTORAGE_OBJECT
        struct.spec.vStorageObjSpec.id = native.text(disk.disk_id, "disk_id")
        struct.spec.vStorageObjSpec.datastoreMoRef = native.text(disk.datastore_moref, "datastore_moref")
        struct.spec.vStorageObjSpec.ssId = native.text(disk.snapshot_id or None, "snapshot_id")
    elif place := params.datastore:
        struct.specType = place.spec_type
        struct.spec.dsSpec.datastoreMoRef = native.text(place.datastore_moref, "datastore_moref")
        struct.spec.dsSpec.diskFolder = native.text(place.folder, "folder")


def read_connect_params(address: int, library: Library) -> ConnectParams:
    """Copy the ``VixDiskLibConnectParams`` at ``address``, which may be freed afterwards.

    Raises NotSupportedError: they are incomplete, or of a kind that ``ConnectParams`` does not have.
    """
    struct = _structs.ConnectParams.from_address(address)
    user, password, cookie, key = _read_credentials(struct, address)
    vmx_spec, disk, datastore = _read_spec(struct, library)
    try:
        return ConnectParams(
            text_of(struct.serverName) or "",
            vmx_spec=vmx_spec,
            user=user,
            password=password,
            cookie=cookie,
            key=key,
            thumbprint=text_of(struct.thumbPrint),
            port=struct.port,
            nfc_port=struct.nfcHostPort,
            storage_object=disk,
            datastore=datastore,
        )
    except ValueError as exc:
        raise NotSupportedError(f"GetConnectParams: the library tells less than a connection needs: {exc}") from exc


_Credentials = tuple[str | None, "Secret | None", "Secret | None", "Secret | None"]


def _read_credentials(struct: _structs.ConnectParams, address: int) -> _Credentials:
    """Return user, password, cookie and key; the secrets go from the library's memory straight into ours."""

    def secret(offset: int) -> Secret | None:
        at = address + _structs.ConnectParams.creds.offset + offset
        return _memory.secret_at(c_void_p.from_address(at).value)

    if struct.credType == c.VIXDISKLIB_CRED_UID:
        return text_of(struct.creds.uid.userName), secret(_structs.UidCreds.password.offset), None, None
    if struct.credType == c.VIXDISKLIB_CRED_SESSIONID:
        arm = _structs.SessionIdCreds
        return text_of(struct.creds.sessionId.userName), None, secret(arm.cookie.offset), secret(arm.key.offset)
    raise NotSupportedError(f"GetConnectParams: credentials of kind {struct.credType}, neither user nor session")


def _read_spec(
    struct: _structs.ConnectParams, library: Library
) -> tuple[str | None, StorageObject | None, DatastoreFolder | None]:
    """Return what the connection leads to, exactly one; a machine that is named comes before the kind."""
    vmx_spec = text_of(struct.vmxSpec)
    kind = struct.specType if knows_specs(library) else c.VIXDISKLIB_SPEC_VMX
    if vmx_spec or kind == c.VIXDISKLIB_SPEC_VMX:
        return vmx_spec, None, None
    if kind == c.VIXDISKLIB_SPEC_VSTORAGE_OBJECT:
        disk = struct.spec.vStorageObjSpec
        names = text_of(disk.id) or "", text_of(disk.datastoreMoRef) or "", text_of(disk.ssId)
        return None, StorageObject(*names), None
    place = struct.spec.dsSpec
    return None, None, DatastoreFolder(text_of(place.datastoreMoRef) or "", text_of(place.diskFolder) or "", kind)
