"""What an examination finds: a line for each thing, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Health(Enum):
    """How it is."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as well as it could, or not for everything."""
    FAIL = "fail"
    """Backups fail because of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    health: Health
    text: str
    """What was found."""
    advice: str = ""
    """What to do; empty if nothing is to be done."""


def ok(subject: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(subject, Health.OK, text)


def warn(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that something could be better."""
    return Finding(subject, Health.WARN, text, advice)


def fail(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that something is wrong."""
    return Finding(subject, Health.FAIL, text, advice)
