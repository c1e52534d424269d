"""Sizes, times and errors as people write and read them. Pure."""

from __future__ import annotations

import re
from typing import Final

from asyncvddk.copy import EXISTS
from asyncvddk.errors import NativeError

_UNITS: Final = "BKMGTPE"
_SIZE: Final = re.compile(rf"([0-9]+)(?:\.([0-9]+))?\s*([{_UNITS}]?)(?:iB|B)?", re.IGNORECASE)
_MINUTE: Final = 60
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d+)([smhd])|0", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` (``512``, ``64K``, ``1.5G``, ``2TiB``; units are binary) stands for.

    Raises ValueError for anything else, and for a fraction of a byte.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write bytes, or a number with K, M, G or T, as 10G")
    whole, fraction, unit = (str(part or "") for part in match.groups())
    scaled = int(whole + fraction) << 10 * _UNITS.index(unit.upper() or "B")
    divisor: int = 10 ** len(fraction)
    size, rest = divmod(scaled, divisor)
    if rest:
        raise ValueError(f"{text!r} is no whole number of bytes")
    return size


def format_size(size: float) -> str:
    """Return ``size`` bytes with the unit that leaves one to four digits: ``1.5 GiB``."""
    if size < 1024:  # noqa: PLR2004
        return f"{size:.0f} B"
    power = 0
    while size >= 1000 and power < len(_UNITS) - 1:  # noqa: PLR2004
        size /= 1024
        power += 1
    digits = 1 if size < 100 else 0  # noqa: PLR2004
    return f"{size:.{digits}f} {_UNITS[power]}iB"


def format_seconds(seconds: float) -> str:
    """Return a duration: ``0.08 s``, ``1.2 s``, ``12 s``, ``3:05``, ``2:00:07``."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` (``90s``, ``30m``, ``12h``, ``7d``, or 0) stands for.

    Raises ValueError for anything else.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: write a number with s, m, h or d, as 12h, or 0")
    return float(match[1]) * _SECONDS[match[2].lower()] if match[1] else 0.0


def count_of(count: int, what: str) -> str:
    """Return a number of things in words: ``1 disk``, ``2 disks``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def describe(error: Exception) -> str:
    """Return one line that names the file, the reason and, if there is one, the way out."""
    if isinstance(error, NativeError):
        place = f"{error.path}: " if error.path else ""
        reason = _one_line("; ".join(filter(None, (error.text, error.detail))))
        hint = f". Hint: {error.hint}" if error.hint else ""
        return f"{place}{reason} [{error.symbol} {error.code}]{hint}"
    if isinstance(error, OSError) and error.filename is not None:
        way_out = " (--force replaces it)" if error.strerror == EXISTS else ""
        return f"{_one_line(str(error.filename))}: {error.strerror}{way_out}"
    text = _one_line(str(error)) or type(error).__name__
    return "; ".join([text, *map(_one_line, getattr(error, "__notes__", ()))])


def _one_line(text: str) -> str:
    """Return ``text`` on one line, whatever is in a file's name."""
    return printable(" ".join(text.split()).rstrip("."))


def printable(text: str) -> str:
    """Return a text that somebody else chose so that it changes nothing on a terminal."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
