"""What the library says: fetched from the core's queue, freed of secrets and noise, handed to structlog."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncvddk._events import Events
from asyncvddk.native import _core

if TYPE_CHECKING:
    from asyncvddk._secret import Secret

_logger = Events("asyncvddk.library")

names: Final[dict[int, str]] = {}
"""Number of a worker -> its name, for the log."""

_lock: Final = threading.RLock()
"""Held while messages are handed on, so that the warnings of a call are noted before its answer is."""

_RING: Final = 1024
"""Messages that wait in the core at most (``LOG_SLOTS``)."""

_AT_ONCE: Final = 256
_MOST_SAID: Final = 256

said: Final[dict[int, list[str]]] = {}
"""Tag of a command under way -> the warnings that its call gave: they become part of its error."""

_NOISE: Final = ("PhoneHome", "CEIP", "Optional preferences file not found")
"""Harmless messages that VDDK gives as warnings (nbdkit: RHBZ#1834267, #2083617, #2104720)."""

_VERSION: Final = re.compile(r"VixDiskLib \((\d+(?:\.\d+)+)\)")

library_version: str | None = None
"""What the library said of its version when it was initialised."""

_MASK: Final = b"***"


@dataclass(slots=True, eq=False)
class Hidden:
    """A secret that no message shows; a copy, as its owner may wipe his own while the library still has one."""

    data: bytearray
    uses: int = 1


_hidden: Final[list[Hidden]] = []
"""The longest first: one may be the beginning of another."""


def hide(secret: Secret) -> Hidden:
    """Mask ``secret``, which is not empty, in every message from now on, until ``show`` gets what this returns."""
    content = secret.view()
    with _lock:
        for hidden in _hidden:
            if hidden.data == content:
                hidden.uses += 1
                return hidden
        hidden = Hidden(bytearray(content))
        _hidden.append(hidden)
        _hidden.sort(key=lambda each: -len(each.data))
        return hidden


def show(hidden: Hidden) -> None:
    """Take back one ``hide``; the last one overwrites the copy."""
    with _lock:
        hidden.uses -= 1
        if not hidden.uses:
            _hidden.remove(hidden)
            hidden.data[:] = bytes(len(hidden.data))


def masked(data: bytearray) -> str:
    """Overwrite the secrets in use in ``data`` with ``***``, and return it as text."""
    for hidden in _hidden:
        at = data.find(hidden.data)
        while at >= 0:
            end = at + len(hidden.data)
            data[at:end] = bytes(end - at)  # what follows is moved: nothing of the secret may stay behind its end
            data[at:end] = _MASK
            at = data.find(hidden.data, at + len(_MASK))
    return data.decode("utf-8", "replace").rstrip()


def drain() -> bool:
    """Hand waiting messages on: log as debug, warnings as warnings, noise as debug. Return True when more wait.

    A library can talk faster than Python formats, so one call handles a limited number.
    """
    with _lock:
        for _ in range(_AT_ONCE):
            message = _core.pop_log()
            if message is None:
                break
            _emit(message)
        else:
            return True
        if dropped := _core.log_dropped():
            _logger.warning("library_messages_dropped", count=dropped)
        return False


def taken(tag: int) -> list[str]:
    """Return the warnings that the library gave during command ``tag``; they are the caller's now."""
    for _ in range(_RING // _AT_ONCE):  # another loop's thread may be just about to note them
        if not drain():
            break
    return said.pop(tag, [])


def warn(texts: list[str]) -> None:
    """Log warnings of a call that succeeded all the same."""
    for text in texts:
        _logger.warning("library_message", text=text)


def _emit(message: _core.LogMessage) -> None:
    global library_version  # noqa: PLW0603  (one library for each process)
    text = masked(message.data)
    if match := _VERSION.search(text):
        library_version = match[1]
    warning = message.level == 1 and not any(noise in text for noise in _NOISE)
    if warning and message.tag:
        said.setdefault(message.tag, []).append(text)
        while len(said) > _MOST_SAID:
            said.pop(next(iter(said)))  # of a call that was given up: nobody takes them
    if warning and not message.tag:
        _logger.warning("library_message", text=text, connection=names.get(message.worker))
    else:
        _logger.debug("library_message", text=text, connection=names.get(message.worker))
