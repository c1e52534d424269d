"""What the commands of a vCenter share: which one, and who asks."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  (cyclopts reads the annotations)
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import CycloptsError, Parameter

from asyncvddk._secret import Secret
from asyncvddk.cli._config_file import find_server
from asyncvddk.cli._repository import ask, first_line

if TYPE_CHECKING:
    from asyncvddk.vsphere import VSphere

_KEYRING: Final = "asyncvddk"


@Parameter(name="*")
@dataclass(frozen=True)
class Server:
    """Which vCenter or ESXi host, and who asks."""

    server: Annotated[str | None, Parameter(env_var="ASYNCVDDK_SERVER")] = None
    """vCenter or ESXi host: address, or name in the configuration file."""
    user: Annotated[str | None, Parameter(env_var="ASYNCVDDK_USER")] = None
    """User of the server."""
    server_password_file: Annotated[Path | None, Parameter(env_var="ASYNCVDDK_SERVER_PASSWORD_FILE")] = None
    """File whose first line is the user's password (else ASYNCVDDK_SERVER_PASSWORD, the keyring, a question)."""
    thumbprint: Annotated[str | None, Parameter(env_var="ASYNCVDDK_THUMBPRINT")] = None
    """SHA-1 or SHA-256 of the server's certificate, if no authority of this machine signed it."""
    ca_file: Annotated[Path | None, Parameter(env_var="ASYNCVDDK_CA_FILE")] = None
    """File with the authority that signed the certificate."""
    port: int | None = None
    """Port of the server (default: 443)."""

    def session(self) -> VSphere:
        """Return a session, to be entered. Raises CycloptsError, ValueError, OSError."""
        from asyncvddk.vsphere import VSphere  # noqa: PLC0415  (pyVmomi takes its time to load)
        from asyncvddk.vsphere._session import PORT  # noqa: PLC0415

        if self.server is None:
            raise CycloptsError(msg="which server? give --server or ASYNCVDDK_SERVER")
        found = find_server(self.server)
        user = self.user or found.user
        if user is None:
            raise CycloptsError(msg=f"who asks {self.server}? give --user or ASYNCVDDK_USER")
        return VSphere(
            found.host,
            user=user,
            password=self._password(user, found.host, self.server_password_file or found.password_file),
            port=self.port or found.port or PORT,
            thumbprint=self.thumbprint or found.thumbprint,
            ca_file=self.ca_file or found.ca_file,
        )

    @staticmethod
    def _password(user: str, host: str, file: Path | None) -> Secret:
        """Return the user's password from where it is."""
        if file is not None:
            return Secret(first_line(file))
        if given := os.environ.get("ASYNCVDDK_SERVER_PASSWORD") or _from_keyring(user, host):
            return Secret(given)
        if sys.stdin.isatty():
            return ask(f"password of {user} at {host}", twice=False)
        raise CycloptsError(
            msg=f"no password of {user} at {host}: give --server-password-file or ASYNCVDDK_SERVER_PASSWORD, or store "
            f"it by: keyring set {_KEYRING} {user}@{host}"
        )


SERVER: Final = Server()


def _from_keyring(user: str, host: str) -> str | None:
    """Return the password from the desktop's or system's keyring, where the package keyring is installed."""
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return None
    try:
        found = keyring.get_password(_KEYRING, f"{user}@{host}")
    except keyring.errors.KeyringError:  # none that is unlocked, or that is usable here
        return None
    return None if found is None else str(found)
