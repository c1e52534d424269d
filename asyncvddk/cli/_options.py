"""Options that every command has, and the types of others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  (cyclopts reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from asyncvddk.cli._text import parse_duration, parse_size
from asyncvddk.models import AdapterType, DiskType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token

Flag = Parameter(negative="", show_default=False)
"""For an option that is either there or not."""


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """What every command takes."""

    libdir: Path | None = None
    """Folder of another VDDK, the one that holds lib64 (default: ASYNCVDDK_LIBDIR, else the open engine)."""
    config: Path | None = None
    """Configuration file of the library."""
    verbose: Annotated[bool, Parameter(alias="-v", negative="", show_default=False)] = False
    """Show what the library logs."""
    debug: Annotated[bool, Parameter(env_var="ASYNCVDDK_DEBUG", negative="", show=False)] = False
    """Show tracebacks of errors."""


COMMON: Final = Common()


def _size(_: object, tokens: Sequence[Token]) -> int:
    return parse_size(tokens[0].value)


def size_parameter(**options: Any) -> Parameter:  # noqa: ANN401  (those of cyclopts' Parameter)
    """Return the parameter of a size in bytes, as 512, 64K or 10G."""
    return Parameter(converter=_size, n_tokens=1, metavar="SIZE", **options)


def _duration(_: object, tokens: Sequence[Token]) -> float:
    return parse_duration(tokens[0].value)


def duration_parameter(**options: Any) -> Parameter:  # noqa: ANN401  (those of cyclopts' Parameter)
    """Return the parameter of a time in seconds, as 30m, 12h or 7d."""
    return Parameter(converter=_duration, n_tokens=1, metavar="TIME", **options)


TypeName = Literal[
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "vmfs",
    "streamOptimized",
]
"""Kinds of disks as their descriptors spell them."""

DISK_TYPES: Final[dict[str, DiskType]] = {
    "monolithicSparse": DiskType.MONOLITHIC_SPARSE,
    "monolithicFlat": DiskType.MONOLITHIC_FLAT,
    "twoGbMaxExtentSparse": DiskType.SPLIT_SPARSE,
    "twoGbMaxExtentFlat": DiskType.SPLIT_FLAT,
    "vmfs": DiskType.VMFS_FLAT,
    "streamOptimized": DiskType.STREAM_OPTIMIZED,
}

AdapterName = Literal["ide", "buslogic", "lsilogic"]
"""Controllers as descriptors spell them."""

ADAPTERS: Final[dict[str, AdapterType]] = {
    "ide": AdapterType.IDE,
    "buslogic": AdapterType.SCSI_BUSLOGIC,
    "lsilogic": AdapterType.SCSI_LSILOGIC,
}


def adapter_name(adapter: AdapterType) -> str:
    """Return the spelling of ``adapter``."""
    return next((name for name, value in ADAPTERS.items() if value is adapter), "unknown")
