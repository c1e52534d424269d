"""Small files of datastores, over the server's ``/folder``. Blocking."""

from __future__ import annotations

import re
from http.client import HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from asyncvddk.vsphere.errors import FaultError

if TYPE_CHECKING:
    import ssl

    from asyncvddk.vsphere._vim import Managed

_PATH = re.compile(r"\[([^\]]+)\]\s*(.+)")
_OK = 200


def split(path: str) -> tuple[str, str]:
    """Return datastore and path of ``[datastore] folder/file``. Raises ValueError."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise ValueError(f"{path!r}: no path of a datastore, as '[datastore1] folder/file'")
    return match[1], match[2]


def url_of(path: str, datacenter: str) -> str:
    """Return the path of the request for a file; ``datacenter`` is the inventory path, as ``DC0``."""
    datastore, file = split(path)
    return f"/folder/{quote(file)}?{urlencode({'dcPath': datacenter.strip('/'), 'dsName': datastore})}"


def fetch(stub: Managed, context: ssl.SSLContext, url: str, limit: int) -> bytes:
    """Return a file of at most ``limit`` bytes. Raises FaultError, and what the connection raises."""
    host = str(stub.host).rpartition(":")[0]
    connection = HTTPSConnection(host, stub.port, context=context, timeout=stub.schemeArgs.get("timeout"))
    try:
        connection.request("GET", url, headers={"Cookie": stub.cookie})
        answer = connection.getresponse()
        what = f"GET {url.partition('?')[0]}"
        if answer.status != _OK:
            raise FaultError(what, f"HTTP{answer.status}", answer.reason)
        data = answer.read(limit + 1)
        if len(data) > limit:
            raise FaultError(what, "TooLarge", f"the file has more than {limit} bytes")
        return data
    finally:
        connection.close()
