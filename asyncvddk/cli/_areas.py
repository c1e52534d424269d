"""Areas of a disk as text: a line each, and what they add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncvddk.cli._output import tell
from asyncvddk.cli._text import count_of, format_size

if TYPE_CHECKING:
    from asyncvddk.models import Block


def head() -> None:
    """Write what the columns are."""
    tell(f"{'OFFSET':>20} {'LENGTH':>20} {'END':>20}")


def line(block: Block) -> None:
    """Write an area."""
    tell(f"{block.offset:>20} {block.length:>20} {block.end:>20}")


def total(count: int, length: int, size: int, what: str) -> None:
    """Write how many there are, and which part of the disk is ``what``."""
    tell(f"{count_of(count, 'area')}: {format_size(length)} of {format_size(size)} {what} ({length / size:.1%})")


def as_json(block: Block) -> dict[str, int]:
    """Return what JSON says of an area."""
    return {"offset": block.offset, "length": block.length, "end": block.end}
