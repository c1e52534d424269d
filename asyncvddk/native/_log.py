"""What the library says: fetched from the core's queue, freed of secrets and noise, handed to structlog."""

from __future__ import annotations

import re
from typing import Final

from asyncvddk._events import Events
from asyncvddk.native import _core

_logger = Events("asyncvddk.library")

names: Final[dict[int, str]] = {}
"""Number of a worker -> its name, for the log."""

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
    """Return ``text`` without the secrets in use."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text


def drain() -> None:
    """Hand every waiting message on: log as debug, warnings as warnings, noise as debug."""
    while message := _core.pop_log():
        _emit(message)
    if dropped := _core.log_dropped():
        _logger.warning("library_messages_dropped", count=dropped)


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
    if warning and not message.tag:
        _logger.warning("library_message", text=text, connection=names.get(message.worker))
    else:
        _logger.debug("library_message", text=text, connection=names.get(message.worker))
