"""``asyncvddk key``."""

from __future__ import annotations

import os
import sys
from pathlib import Path  # noqa: TC003  (cyclopts reads the annotations)
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import CycloptsError, Parameter

from asyncvddk._secret import Secret
from asyncvddk.cli import _exit
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import PLACE, Place, ask, errors_as_json, first_line, table, when
from asyncvddk.cli._run import run_command

if TYPE_CHECKING:
    from asyncvddk.repository import KeySlot, Repository

Action = Literal["list", "add", "change-password", "remove"]


def key(
    action: Annotated[Action, Parameter(name="ACTION", help="list, add, change-password or remove.")],
    id: Annotated[str | None, Parameter(name="ID", show_default=False, help="For remove: beginning of an id.")] = None,  # noqa: A002
    /,
    *,
    new_password_file: Annotated[Path | None, Parameter(show_default=False)] = None,
    place: Place = PLACE,
) -> int:
    """Manage the passwords of a repository: each one has a key of its own, and opens all of it.

    add: one more password. change-password: a new one in the place of the one in use. remove: a key by its id; the last
    one stays. The new password is the first line of --new-password-file, else ASYNCVDDK_NEW_PASSWORD, else asked for
    twice.

    Whoever has a copy of an old key and its password can still open the repository.

    Parameters
    ----------
    new_password_file
        File whose first line is the new password.
    """
    if (action == "remove") != (id is not None):
        raise CycloptsError(msg="which key? give its ID" if id is None else f"key {action} takes no ID")
    if new_password_file is not None and action not in {"add", "change-password"}:
        raise CycloptsError(msg=f"key {action} takes no new password")

    async def command() -> int:
        with errors_as_json(place):
            secret = place.password()
            async with place.opened(read_only=action == "list", password=secret) as repository:
                if repository.config.encryption == "none":
                    raise ValueError(f"{place.repo}: the repository is not encrypted, so it has no keys")
                if action == "list":
                    _list(await repository.keys(), json=place.json)
                elif id is not None:
                    await _remove(repository, id, json=place.json)
                elif secret is not None:
                    await _set(repository, action, secret, new_password_file, json=place.json)
        return _exit.DONE

    return run_command(command, place, logs=True)


def _list(keys: list[KeySlot], *, json: bool) -> None:
    if json:
        for one in keys:
            emit("key", id=one.id, created=when(one.created))
    else:
        table(("KEY", "CREATED"), [(one.id, when(one.created)) for one in keys])


async def _remove(repository: Repository, text: str, *, json: bool) -> None:
    """Remove the key whose id begins with ``text``. Raises ValueError, KeySlotError."""
    ids = [one.id for one in await repository.keys()]
    matching = [identifier for identifier in ids if text and identifier.startswith(text.lower())]
    if len(matching) > 1:
        raise ValueError(f"{text!r}: {len(matching)} keys have ids that begin so: {', '.join(matching)}")
    (identifier,) = matching or [text]
    await repository.remove_key(identifier)
    if json:
        emit("removed", id=identifier)
    else:
        tell(f"key {identifier} removed: its password does not open the repository any more")


async def _set(repository: Repository, action: Action, secret: Secret, file: Path | None, *, json: bool) -> None:
    """Add a password, or put it in the place of the one in use."""
    new = _new_password(file)
    if action == "add":
        made = await repository.add_key(secret, new)
    else:
        made = await repository.change_password(secret, new)
    if json:
        emit("added" if action == "add" else "changed", id=made.id, created=when(made.created))
    elif action == "add":
        tell(f"key {made.id} added: both passwords open the repository")
    else:
        tell(f"password changed: it is key {made.id} now, and the old one does not open the repository any more")


def _new_password(file: Path | None) -> Secret:
    """Return the new password from where it is."""
    if file is not None:
        return Secret(first_line(file))
    if given := os.environ.get("ASYNCVDDK_NEW_PASSWORD"):
        return Secret(given)
    if sys.stdin.isatty():
        return ask("new password", twice=True)
    raise CycloptsError(msg="no new password: give --new-password-file or ASYNCVDDK_NEW_PASSWORD")
