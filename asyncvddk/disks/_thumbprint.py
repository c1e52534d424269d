"""The thumbprint of a server's certificate, fetched without blocking the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import ssl
from typing import Final, Literal, TypeAlias

Algorithm: TypeAlias = Literal["sha1", "sha256"]

_ALGORITHMS: Final = ("sha1", "sha256")


async def fetch_thumbprint(host: str, port: int, algorithm: Algorithm, timeout_s: float) -> str:
    """See ``Vddk.thumbprint_of``."""
    address = _checked_host(host)
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"algorithm={algorithm!r}: it is one of {_ALGORITHMS}")
    if not 0 < port < 1 << 16:
        raise ValueError(f"port={port}: a TCP port lies in 1..65535")
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    try:
        async with asyncio.timeout(timeout_s):
            certificate = await _certificate(address, port)
    except TimeoutError as exc:
        raise TimeoutError(f"{place}: no certificate within {timeout_s} seconds") from exc
    except OSError as exc:
        raise ConnectionError(f"{place}: no certificate, is a TLS server there? {exc}") from exc
    return hashlib.new(algorithm, certificate, usedforsecurity=False).digest().hex(":").upper()


async def _certificate(address: str, port: int) -> bytes:
    """Return the server's certificate (DER). Whether it is trusted is for the owner of the thumbprint to say."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    name = "" if _is_address(address) else address
    _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
    try:
        certificate: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()  # nothing more to say; a polite end could wait for the server
    if certificate is None:
        raise ConnectionError("the server showed none")
    return certificate


def _checked_host(host: str) -> str:
    """Return ``host`` without the brackets of an IPv6 address. Raises ValueError: it is more than a host."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare and ("/" in bare or not bare.isprintable() or " " in bare):
        raise ValueError(f"host={host!r}: give the name or address alone, as 'vcenter.example'")
    if not bare or (":" in bare and not _is_address(bare)):
        raise ValueError(f"host={host!r}: give the name or address alone, and the port as port=...")
    return bare


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
