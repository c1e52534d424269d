"""Imported first, and the only importer of pyVmomi: says what to install where the extra ``vsphere`` is missing.

pyVmomi makes its classes at run time, so for the type checker its objects are anything: ``Managed`` says so by name.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

try:
    import pyVmomi
    from pyVmomi import SoapAdapter, VmomiSupport
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"asyncvddk.vsphere needs {error.name}: pip install 'asyncvddk[vsphere]'", name=error.name
    ) from error

Managed: TypeAlias = Any
"""An object, a class or a value of pyVmomi. Asking a managed object for a property is a request to the server."""

_library: Final[Managed] = pyVmomi
vim: Final[Managed] = _library.vim
vmodl: Final[Managed] = _library.vmodl
Stub: Final[Managed] = _library.SoapStubAdapter

OLDEST: Final = "vim25/5.5"
_VERSION: Final = re.compile(r"vim25/(\d+(?:\.\d+)*)")


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version as ``8.0.3.0``; what is no number ends it."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def best_version(api_version: str) -> str:
    """Return pyVmomi's name of the newest interface that a server of ``api_version`` speaks, and pyVmomi too."""
    known = {match[1]: name for name in VmomiSupport.versionMap if (match := _VERSION.fullmatch(name))}
    fitting = [text for text in known if numbers(OLDEST[6:]) <= numbers(text) <= numbers(api_version)]
    newest = max(fitting, key=numbers, default=OLDEST[6:])
    return str(VmomiSupport.versionMap[known.get(newest, OLDEST)])


def to_xml(value: Managed, version: str) -> str:
    """Return a value as the interface of ``version`` (pyVmomi's name of it) has it on the wire."""
    text = SoapAdapter.Serialize(value, None, version)
    return text.decode() if isinstance(text, bytes) else str(text)


def moref(thing: Managed) -> str:
    """Return the identifier of a managed object, as ``vm-16``."""
    return str(thing._moId)  # noqa: SLF001  (pyVmomi has no public name for it before version 8)


def type_name(thing: Managed) -> str:
    """Return the interface's name of a value's type, as ``TaskInProgress``."""
    return str(getattr(type(thing), "_wsdlName", type(thing).__name__))
