"""What the commands of a repository share: which one, its password, a table of text."""

from __future__ import annotations

import getpass
import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003  (cyclopts reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any, Self

from cyclopts import CycloptsError, Parameter

from asyncvddk._secret import Secret
from asyncvddk.cli._config_file import find_job, find_repository
from asyncvddk.cli._options import Common
from asyncvddk.cli._output import emit
from asyncvddk.cli._run import EXPECTED, run_command
from asyncvddk.cli._text import describe, printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from asyncvddk.cli._config_file import Job
    from asyncvddk.repository import Repository


@Parameter(name="*")
@dataclass(frozen=True)
class Place(Common):
    """Which repository, and what opens it."""

    repo: Annotated[str | None, Parameter(alias="-r", env_var="ASYNCVDDK_REPOSITORY")] = None
    """Folder, URL (s3://bucket/prefix), or name in the configuration file."""
    password_file: Annotated[Path | None, Parameter(env_var="ASYNCVDDK_PASSWORD_FILE")] = None
    """File whose first line is the password (else ASYNCVDDK_PASSWORD, else a question)."""
    no_password: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """The repository is not encrypted."""
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Write JSON, an object a line."""

    def password(self, *, new: bool = False) -> Secret | None:
        """Return the password from where it is; ``new``: asked twice, and there has to be one or --no-password."""
        if self.no_password:
            if self.password_file and str(self.password_file) != os.environ.get("ASYNCVDDK_PASSWORD_FILE"):
                raise CycloptsError(msg="--password-file or --no-password? not both")
            return None
        file = self.password_file or find_repository(self.named()).password_file
        if file is not None:
            return Secret(first_line(file))
        if given := os.environ.get("ASYNCVDDK_PASSWORD"):
            return Secret(given)
        if sys.stdin.isatty():
            return ask("password of the new repository" if new else "password", twice=new)
        if new:
            raise CycloptsError(msg="no password: give --password-file, ASYNCVDDK_PASSWORD, or --no-password")
        return None

    def named(self) -> str:
        """Return what the user calls the repository. Raises a CycloptsError if that is nothing."""
        if not self.repo:  # an empty name, as of a variable that is not set, would be this folder
            raise CycloptsError(msg="which repository? give --repo or ASYNCVDDK_REPOSITORY")
        return self.repo

    def opened(
        self, *, read_only: bool = False, password: Secret | None = None
    ) -> AbstractAsyncContextManager[Repository]:
        """Return the repository, to be entered; ``password``: it was asked for already."""
        from asyncvddk.repository import Repository  # noqa: PLC0415  (numpy and others take their time to load)

        found = find_repository(self.named())
        secret = password or self.password()
        return Repository.open(found.url, password=secret, options=found.options, read_only=read_only)

    def for_job(self, name: str) -> tuple[Job, Self]:
        """Return a job of the configuration file, and its repository. Raises CycloptsError, ValueError, OSError."""
        job = find_job(name)
        if self.repo not in {None, job.repository, os.environ.get("ASYNCVDDK_REPOSITORY")}:
            raise CycloptsError(msg=f"--repo {self.repo}: job {name} has its own repository, {job.repository}")
        return job, replace(self, repo=job.repository)


PLACE = Place()


def run_with_repository(
    command: Callable[[Repository], Awaitable[int]], place: Place, *, read_only: bool = False
) -> int:
    """Open the repository, await ``command`` with it, and return its exit status, or that of what ended it."""

    async def inside() -> int:
        with errors_as_json(place):
            async with place.opened(read_only=read_only) as repository:
                return await command(repository)

    return run_command(inside, place, logs=True)


@contextmanager
def errors_as_json(place: Place) -> Iterator[None]:
    """Tell of what ends the block as JSON, too, if that is wished."""
    try:
        yield
    except EXPECTED as error:
        if place.json:
            emit("error", type=type(error).__name__, message=describe(error))
        raise


def first_line(file: Path) -> str:
    """Return the first line of a file, without its end. Raises OSError, ValueError for an empty one."""
    with file.open() as stream:
        line = stream.readline().rstrip("\r\n")
    if not line:
        raise ValueError(f"{file}: its first line, the password, is empty")
    return line


def ask(what: str, *, twice: bool) -> Secret:
    """Ask for a password on the terminal. Raises ValueError if it is empty, or another one the second time.

    Ctrl-C ends the program at once: KeyboardInterrupt; the event loop, which otherwise hears it, waits for the answer.
    """
    with _heard_at_once():
        given = _answer(f"{what}: ")
        if not given:
            raise ValueError("the password is empty")
        if twice and _answer("once more: ") != given:
            raise ValueError("these were two different passwords")
        return Secret(given)


@contextmanager
def _heard_at_once() -> Iterator[None]:
    """Have Ctrl-C interrupt the block."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _answer(question: str) -> str:
    """Return what is typed, unseen; nothing at the end of input."""
    try:
        return getpass.getpass(question)
    except EOFError:
        return ""


def when(seconds: float) -> str:
    """Return a time as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows under their heads to stdout, in columns; numbers to the right."""
    lines = [list(head), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.flush()
