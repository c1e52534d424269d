"""From pyVmomi's exceptions to ours: the border of the control plane. Blocking."""

from __future__ import annotations

import ssl
from http.client import HTTPException
from typing import TYPE_CHECKING, Final, TypeVar
from xml.parsers.expat import ExpatError

from asyncvddk.vsphere._vim import Managed, moref, type_name, vim, vmodl
from asyncvddk.vsphere.errors import (
    CertificateError,
    FaultError,
    LoginError,
    NoPrivilegeError,
    ObjectGoneError,
    ServerConnectionError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

IN_PROGRESS: Final = frozenset({"TaskInProgress", "ConcurrentAccess", "VAppTaskInProgress"})
"""Faults that say: somebody else is at it, ask again."""


class SessionEndedError(LoginError):
    """The session does not exist (any more); nothing was done."""


def translated(function: Callable[[], T], what: str) -> T:
    """Call ``function``, which uses pyVmomi; ``what`` names it for people.

    Raises SessionEndedError, LoginError, FaultError, ServerConnectionError.
    """
    try:
        return function()
    except (vmodl.MethodFault, vim.fault.VimFault) as fault:
        raise fault_error(fault, what) from None
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message or str(error)
        raise CertificateError(
            f"{what}: the server's certificate is not trusted ({reason}): give its thumbprint, or the file of the "
            "authority that signed it"
        ) from None
    except TimeoutError as error:
        raise ServerConnectionError(f"{what}: no answer in time") from error
    except (OSError, HTTPException, ExpatError) as error:
        raise ServerConnectionError(f"{what}: {str(error) or type(error).__name__}") from error


def fault_error(fault: Managed, what: str) -> FaultError | LoginError:
    """Return the error for a fault, thrown by a call or found in a task."""
    name = type_name(fault)
    text = _words(fault)
    if isinstance(fault, vim.fault.NotAuthenticated):
        return SessionEndedError(f"{what}: not logged in (any more)")
    if isinstance(fault, vim.fault.InvalidLogin):
        return LoginError(f"{what}: the server does not accept this user and password")
    if isinstance(fault, vim.fault.NoPermission):
        missing = fault.privilegeId or ", ".join(
            privilege for entry in getattr(fault, "missingPrivileges", None) or () for privilege in entry.privilegeIds
        )
        place = f" on {moref(fault.object)}" if fault.object else ""
        return NoPrivilegeError(what, name, f"the privilege {missing or '(not named)'}{place} is missing")
    if isinstance(fault, vmodl.fault.ManagedObjectNotFound):
        return ObjectGoneError(what, name, f"{moref(fault.obj)} does not exist any more" if fault.obj else text)
    return FaultError(what, name, text)


def _words(fault: Managed) -> str:
    """Return what the server says about a fault: its message, and those of what caused it."""
    details = [str(message.message) for message in getattr(fault, "faultMessage", None) or () if message.message]
    cause = getattr(fault, "faultCause", None)
    deeper = [_words(cause)] if cause is not None else []
    return "; ".join(part for part in (str(getattr(fault, "msg", "") or ""), *details, *deeper) if part)
