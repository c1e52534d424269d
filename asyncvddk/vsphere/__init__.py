"""Virtual machines of a vCenter or an ESXi host: found, backed up, restored. Needs the extra ``vsphere``.

``VSphere`` is the object to begin with. Sizes and offsets are bytes.
"""

import asyncvddk.vsphere._vim  # noqa: F401  (first: it says what is missing)
from asyncvddk.vsphere._session import About, VSphere
from asyncvddk.vsphere.errors import (
    CertificateError,
    FaultError,
    JournalError,
    LoginError,
    NoPrivilegeError,
    NotFoundError,
    NotPossibleError,
    ObjectGoneError,
    ServerConnectionError,
    VSphereError,
)

__all__ = [
    "About",
    "CertificateError",
    "FaultError",
    "JournalError",
    "LoginError",
    "NoPrivilegeError",
    "NotFoundError",
    "NotPossibleError",
    "ObjectGoneError",
    "ServerConnectionError",
    "VSphere",
    "VSphereError",
]
