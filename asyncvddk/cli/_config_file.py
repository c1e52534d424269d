"""The configuration file: repositories, servers and jobs by name. TOML; what is unknown in it is refused."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_REPOSITORY: Final[dict[str, type]] = {"url": str, "password_file": str, "options": dict}
_SERVER: Final[dict[str, type]] = {
    "host": str,
    "user": str,
    "password_file": str,
    "thumbprint": str,
    "ca_file": str,
    "port": int,
}
_JOB: Final[dict[str, type]] = {"repository": str, "disks": list, "source": str, "tags": list, "keep": dict}
KEEP_COUNTS: Final = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
"""Rules of ``keep`` that count snapshots."""


@dataclass(frozen=True)
class NamedRepository:
    """Where a repository is, and how it opens."""

    url: str
    password_file: Path | None = None
    options: dict[str, str] | None = None


@dataclass(frozen=True)
class NamedServer:
    """A vCenter or an ESXi host, and who asks it."""

    host: str
    user: str | None = None
    password_file: Path | None = None
    thumbprint: str | None = None
    ca_file: Path | None = None
    port: int | None = None


@dataclass(frozen=True)
class Job:
    """What is backed up where, and how long it is kept."""

    repository: str
    disks: list[str] = field(default_factory=list)
    source: str | None = None
    tags: list[str] = field(default_factory=list)
    keep: dict[str, Any] = field(default_factory=dict)


def config_path() -> Path:
    """Return the file: ``ASYNCVDDK_CONFIG``, else ``asyncvddk/config.toml`` in the user's folder for such files."""
    if given := os.environ.get("ASYNCVDDK_CONFIG"):
        return Path(given)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "asyncvddk" / "config.toml"


def find_repository(text: str) -> NamedRepository:
    """Return the repository of that name in the file, or ``text`` as a folder or URL. Raises ValueError, OSError."""
    entry = _section("repositories", text, _REPOSITORY)
    if entry is None:
        return NamedRepository(text)
    if "url" not in entry:
        raise ValueError(f"{config_path()}: repositories.{text} has no url")
    file = entry.get("password_file")
    return NamedRepository(entry["url"], Path(file).expanduser() if file else None, entry.get("options"))


def find_server(text: str) -> NamedServer:
    """Return the server of that name in the file, or ``text`` as its address. Raises ValueError, OSError."""
    entry = _section("servers", text, _SERVER)
    if entry is None:
        return NamedServer(text)
    if "host" not in entry:
        raise ValueError(f"{config_path()}: servers.{text} has no host")
    for name in ("password_file", "ca_file"):
        if name in entry:
            entry[name] = Path(entry[name]).expanduser()
    return NamedServer(**entry)


def find_job(name: str) -> Job:
    """Return the job of that name. Raises ValueError if there is none, OSError."""
    entry = _section("jobs", name, _JOB)
    if entry is None:
        raise ValueError(f"{config_path()}: there is no job {name!r}")
    if "repository" not in entry:
        raise ValueError(f"{config_path()}: jobs.{name} has no repository")
    job = Job(**entry)
    _check_texts(f"jobs.{name}.disks", job.disks)
    _check_texts(f"jobs.{name}.tags", job.tags)
    for key, value in job.keep.items():
        _check_rule(f"jobs.{name}.keep.{key}", key, value)
    return job


def _check_texts(name: str, value: object) -> None:
    """Raise ValueError unless a value of the file is a list of text."""
    stray = [one for one in value if not isinstance(one, str)] if isinstance(value, list) else [value]
    if stray:
        raise ValueError(f"{config_path()}: {name} has to be a list of text, and {stray[0]!r} is none")


def _check_rule(name: str, key: str, value: object) -> None:
    """Raise ValueError unless a value of the file is a rule which snapshots to keep."""
    if key == "tags":
        _check_texts(name, value)
    elif key not in KEEP_COUNTS:
        raise ValueError(f"{config_path()}: {name} is unknown; expected one of {', '.join(KEEP_COUNTS)}, tags")
    elif type(value) is not int or value < 0:
        raise ValueError(f"{config_path()}: {name} has to be a number from 0 on, not {value!r}")


def _section(kind: str, name: str, known: dict[str, type]) -> dict[str, Any] | None:
    """Return a checked entry of the file, None if there is none, or no file."""
    path = config_path()
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError:
        return None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
    if unknown := sorted(content.keys() - {"repositories", "servers", "jobs"}):
        raise ValueError(f"{path}: {unknown[0]!r} is unknown; expected repositories, servers and jobs")
    entry: dict[str, Any] | None = content.get(kind, {}).get(name)
    for key, value in (entry or {}).items():
        if key not in known:
            raise ValueError(f"{path}: {kind}.{name}.{key} is unknown; expected one of {', '.join(known)}")
        if not isinstance(value, known[key]):
            raise ValueError(f"{path}: {kind}.{name}.{key} has to be a {known[key].__name__}")  # noqa: TRY004
    return entry
