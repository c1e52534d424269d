"""ConnectParams: where a remote disk is and who asks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from asyncvddk._secret import Secret

_THUMBPRINT: Final = re.compile(r"(?:[0-9A-F]{40}|[0-9A-F]{64})")


@dataclass(frozen=True, slots=True)
class StorageObject:
    """A first-class disk (FCD) instead of a disk of a virtual machine; library 6.7 or newer."""

    disk_id: str
    datastore_moref: str
    """Managed object of the datastore, as ``datastore-15``."""
    snapshot_id: str | None = None
    """Snapshot of the first-class disk; ``None``: the disk as it is now."""


@dataclass(frozen=True, slots=True)
class DatastoreFolder:
    """Disks in a folder of a datastore, of no virtual machine; library 8.0.1 or newer, by nbd, nbdssl or hotadd.

    Neither snapshots nor changed-block tracking work this way (VMware's release notes).
    """

    datastore_moref: str
    """Managed object of the datastore, as ``datastore-15``."""
    folder: str
    """Folder of the disks on the datastore."""
    spec_type: int = 2
    """Number of this kind in ``VixDiskLibSpecType``. Public sources disagree: VMware's release notes of 8.0.1 count to
    2, VMware's own Java binding of 7.0 has 128 for it. The open engine takes both."""

    def __post_init__(self) -> None:
        """Refuse the number of another kind, and one that C would cut."""
        if not 1 < self.spec_type < 1 << 32:
            raise ValueError(f"spec_type={self.spec_type}: it lies in 2..4294967295 (0 and 1 are other kinds)")


@dataclass(frozen=True, slots=True)
class ConnectParams:
    """Where a remote disk is and who asks. A local (hosted) disk needs none.

    Who asks: either ``user`` and ``password``, or ``cookie``, the value of the SOAP session cookie
    (vmware_soap_session) of a session that is logged in; ``user`` and ``key`` of the session may accompany it. The
    interface knows no SAML token: log in with the token elsewhere (pyVmomi's LoginByToken) and give the cookie of
    that session. Of its other two kinds, SSPI exists on Windows only, and no public header says what a ticket is
    (``VixDiskLibTicketIdCreds``), so neither is offered; the private field vimApiVer is left empty.

    Where it is: one of ``vmx_spec``, ``storage_object`` and ``datastore``.

    A plain string for ``password``, ``cookie`` or ``key`` becomes a ``Secret``. The secrets are the caller's: no
    connection wipes them; see ``wipe``. Raises ValueError.
    """

    server: str
    """Name or address of the vCenter or ESXi host."""
    vmx_spec: str | None = None
    """``moref=vm-16``, or ``dir/x.vmx?dcPath=...&dsName=...``."""
    user: str | None = None
    password: Secret | None = None
    cookie: Secret | None = None
    thumbprint: str | None = None
    """SHA-1 of the server's certificate, 20 hexadecimal pairs; any letter case, with or without colons (kept with
    colons and capitals). See ``Vddk.thumbprint_of``. The 32 pairs of a SHA-256 are passed on as well, but all public
    sources speak of SHA-1: whether a library takes them is not known. A wrong thumbprint is error 1 of ``open``."""
    port: int = 0
    """TCP port of the SOAP service; 0 is the library's default, 443."""
    nfc_port: int = 0
    """TCP port of the NFC service; 0 is the library's default, 902."""
    storage_object: StorageObject | None = None
    datastore: DatastoreFolder | None = None
    key: Secret | None = None
    """Accompanies ``cookie`` only; ``None``: ``password`` does."""

    def __post_init__(self) -> None:
        """Refuse what crashes the native library: a missing server, user, password or disk."""
        for name in ("password", "cookie", "key"):
            object.__setattr__(self, name, Secret.of(getattr(self, name)))
        if not self.server:
            raise ValueError("server: name or address of the vCenter or ESXi host is needed")
        if not self.cookie and not (self.user and self.password):
            raise ValueError("credentials: give user and password, or cookie")
        if self.key and not self.cookie:
            raise ValueError("key: it belongs to a session, give its cookie as well")
        if sum(spec is not None for spec in (self.vmx_spec, self.storage_object, self.datastore)) != 1:
            raise ValueError("give exactly one of vmx_spec (as 'moref=vm-16'), storage_object and datastore")
        if self.thumbprint is not None:
            object.__setattr__(self, "thumbprint", normal_thumbprint(self.thumbprint))
        for name, port in (("port", self.port), ("nfc_port", self.nfc_port)):
            if not 0 <= port < 1 << 16:
                raise ValueError(f"{name}={port}: a TCP port lies in 0..65535 (0: the library's default)")

    def wipe(self) -> None:
        """Overwrite password, cookie and key: they serve no connection that is made later. Open ones go on."""
        for secret in (self.password, self.cookie, self.key):
            if secret is not None:
                secret.wipe()


def normal_thumbprint(text: str) -> str:
    """Return a thumbprint as capital pairs with colons. Raises ValueError: it is none."""
    digits = text.strip().replace(":", "").upper()
    if not _THUMBPRINT.fullmatch(digits):
        raise ValueError(
            f"thumbprint={text!r}: it is 20 hexadecimal pairs with colons (SHA-1), as "
            "'openssl x509 -fingerprint -sha1' or Vddk.thumbprint_of give it"
        )
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
