"""What goes wrong with a vCenter or an ESXi host.

::

    VSphereError
    ├── ServerConnectionError            not reachable, or the connection broke
    │   └── CertificateError             it is not the server that was expected: nothing was sent to it
    ├── LoginError                       the server refuses user or session
    ├── FaultError                       it refuses or fails what was asked
    │   ├── ObjectGoneError              that object does not exist any more
    │   └── NoPrivilegeError             the user's role lacks a privilege
    ├── NotFoundError                    nothing has that name
    ├── NotPossibleError                 this machine or disk cannot be treated so, and why
    └── JournalError                     the local record of what has to be undone cannot be kept or read
"""

from __future__ import annotations

from asyncvddk.errors import VddkError


class VSphereError(VddkError):
    """Base of the errors that have to do with a vCenter or an ESXi host."""


class ServerConnectionError(VSphereError):
    """The server cannot be reached, or the connection broke; whether the call had an effect is not known."""


class CertificateError(ServerConnectionError):
    """The server's certificate is not the one that was expected; nothing was sent to it, no password either."""


class LoginError(VSphereError):
    """The server refuses the user, or the session does not exist any more."""


class FaultError(VSphereError):
    """The server refuses, or failed to do, what was asked."""

    def __init__(self, what: str, fault: str, text: str) -> None:
        """Take the call as people name it, the fault's type, and the server's words."""
        super().__init__(what, fault, text)
        self.what = what
        """What was asked."""
        self.fault = fault
        """Type of the fault in VMware's interface, as ``TaskInProgress``."""
        self.text = text
        """The server's own words."""

    def __str__(self) -> str:
        """One line."""
        words = " ".join(self.text.split())
        return f"{self.what}: {self.fault}" + (f": {words}" if words and words != self.fault else "")


class ObjectGoneError(FaultError):
    """The object does not exist any more."""


class NoPrivilegeError(FaultError):
    """The role of the user lacks a privilege, which the message names."""


class NotFoundError(VSphereError):
    """Nothing in the inventory is what was asked for."""


class NotPossibleError(VSphereError):
    """This machine or disk cannot be treated so; nothing was changed."""


class JournalError(VSphereError):
    """The local record of what has to be undone cannot be kept or read."""
