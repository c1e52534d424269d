"""What the library says: fetched from the core's queue, freed of secrets and noise, handed to structlog."""

from __future__ import annotations

import re
import threading
from typing import Final

from asyncvddk._events import Events
from asyncvddk.native import _core

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

_secrets: Final[dict[str, int]] = {}


def add_secret(text: str) -> None:
    """Mask ``text`` in every message from now on; counted, so that each ``add_secret`` needs its ``drop_secret``."""
    if text:
        _secrets[text] = _secrets.get(text, 0) + 1


def drop_secret(text: str) -> None:
    """Take back one ``add_secret``."""
    left = _secrets.pop(text, 0) - 1
    if left > 0:
        _secrets[text] = left


def masked(text: str) -> str:
    """Return ``text`` without the secrets in use, the longest first: one may be the beginning of another."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


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
    text = masked(message.text)
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
