"""Whom we talk to: a certificate is checked before the first byte of a request is sent, on every connection."""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING, Final, Self

from asyncvddk._params import normal_thumbprint
from asyncvddk.vsphere.errors import CertificateError

if TYPE_CHECKING:
    import os

_ALGORITHMS: Final = {40: "sha1", 64: "sha256"}


class _CheckedSocket(ssl.SSLSocket):
    """A TLS connection whose handshake fails unless the certificate is the pinned one."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  (as the standard library has it)
        """Shake hands, and check."""
        super().do_handshake(block)
        context = self.context
        if isinstance(context, ServerCertificate):
            try:
                context.check(self.getpeercert(binary_form=True))
            except CertificateError:
                self.close()  # the standard library closes for an OSError only
                raise


class ServerCertificate(ssl.SSLContext):
    """The TLS side of a server: trusted by its thumbprint, by a file of authorities, or by the system's authorities.

    pyVmomi can pin a thumbprint itself, but checks it for the first of its connections only: so this is done here.
    """

    sslsocket_class = _CheckedSocket

    _thumbprint: str | None = None
    _certificate: bytes | None = None

    @classmethod
    def expect(cls, *, thumbprint: str | None, ca_file: str | os.PathLike[str] | None) -> Self:
        """Make one. With both, both must hold; with neither, the system's authorities decide.

        Raises ValueError (``thumbprint`` is none), OSError (``ca_file``: missing, unreadable, or no certificates).
        """
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context._thumbprint = None if thumbprint is None else normal_thumbprint(thumbprint)
        if ca_file is not None:
            try:
                context.load_verify_locations(cafile=ca_file)
            except ssl.SSLError as error:
                raise OSError(f"{ca_file}: no certificates of authorities in PEM format: {error}") from None
        elif context._thumbprint is None:
            context.load_default_certs()
        else:  # the thumbprint says all
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def check(self, certificate: bytes | None) -> None:
        """Raise CertificateError unless ``certificate`` (DER) is the pinned one; remember it."""
        if certificate is None:
            raise CertificateError("the server showed no certificate")
        if self._thumbprint is not None:
            digits = self._thumbprint.replace(":", "")
            found = thumbprint(certificate, _ALGORITHMS[len(digits)])
            if found != self._thumbprint:
                raise CertificateError(
                    f"the server's certificate has the thumbprint {found}, expected was {self._thumbprint}: "
                    "either it was renewed, then ask its owner for the new one, or somebody is in between"
                )
        self._certificate = certificate

    @property
    def sha1(self) -> str | None:
        """SHA-1 of the certificate that was seen and trusted, as VDDK takes it; None before the first connection."""
        return None if self._certificate is None else thumbprint(self._certificate, "sha1")


def thumbprint(certificate: bytes, algorithm: str) -> str:
    """Return the thumbprint of a certificate (DER): capital pairs with colons."""
    return hashlib.new(algorithm, certificate, usedforsecurity=False).digest().hex(":").upper()
