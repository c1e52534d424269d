"""Access locks that the journal knows: noted before they are taken, and until they are surely ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import pytest

from asyncvddk.errors import AbortedError, native_error
from asyncvddk.vsphere._access import locked, unlock
from asyncvddk.vsphere._journal import Journal
from tests.vsphere.fakes import a_machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOCKED = native_error("VixDiskLib_PrepareForAccess", 20005, "locked")
GONE = native_error("VixDiskLib_PrepareForAccess", 4000, "gone")
LOST = native_error("VixDiskLib_EndAccess", 18000, "lost")


class Library:
    """Locks, or fails to."""

    def __init__(self, *, prepare: Exception | None = None, end: Exception | None = None) -> None:
        """Take what each of the two calls fails of."""
        self._prepare, self._end = prepare, end
        self.held: list[str] = []
        self.asked: list[tuple[str, bool]] = []

    def access(self, params: object, identity: str, *, end_stale_lock: bool = False) -> Any:  # noqa: ANN401
        """Lock."""
        del params
        self.asked.append((identity, end_stale_lock))
        library = self

        class Access:
            def __await__(self) -> Any:  # noqa: ANN401
                return self._made().__await__()

            async def _made(self) -> Access:
                if library._prepare:
                    raise library._prepare
                library.held.append(identity)
                return self

            async def aclose(self) -> None:
                if library._end:
                    raise library._end
                library.held.remove(identity)

            async def __aenter__(self) -> Self:
                await self
                return self

            async def __aexit__(self, *_: object) -> None:
                await self.aclose()

        return Access()


class Server:
    """Knows how its machines are reached."""

    def connect_params(self, vm: str) -> str:
        """Say so."""
        return vm


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """Return a journal."""
    async with Journal.open(tmp_path / "journal", server="s", instance="i") as opened:
        yield opened


async def hold(library: Library, journal: Journal) -> None:
    """Hold a lock for a moment, in which the journal has it."""
    server: Any = Server()
    vddk: Any = library
    async with locked(server, vddk, journal, a_machine("web"), "me"):
        assert [entry.facts["identity"] for entry in journal.left] == library.held == ["me"]


async def test_a_lock_is_in_the_journal_while_it_is_held(journal: Journal) -> None:
    """And no longer."""
    library = Library()
    await hold(library, journal)
    assert list(journal.left) == []
    assert library.held == []


@pytest.mark.parametrize(
    ("error", "left"), [(LOCKED, 0), (AbortedError("given up"), 1)], ids=["refused", "given up while it was taken"]
)
async def test_a_lock_that_was_not_taken(journal: Journal, error: Exception, left: int) -> None:
    """Refused, it is not ours; given up, nobody knows: it stays in the journal."""
    with pytest.raises(type(error)):
        await hold(Library(prepare=error), journal)
    assert len(list(journal.left)) == left


async def test_a_lock_that_cannot_be_ended_stays_in_the_journal(journal: Journal) -> None:
    """That is no error of what was done under it; a later cleanup ends it."""
    await hold(Library(end=LOST), journal)
    (entry,) = journal.left
    server: Any = Server()
    for error, left in ((LOST, 1), (None, 0)):
        library: Any = Library(prepare=error)
        if error is None:
            await unlock(server, library, journal, entry)
        else:
            with pytest.raises(type(error)):
                await unlock(server, library, journal, entry)
        assert library.asked == [("me", True)]
        assert len(list(journal.left)) == left


@pytest.mark.parametrize("error", [LOCKED, GONE], ids=["locked by somebody else", "machine gone"])
async def test_a_stale_lock_may_be_ended_already(journal: Journal, error: Exception) -> None:
    """Then nothing is left of ours."""
    await journal.begin("access", vm="vm-1", identity="me")
    (entry,) = journal.left
    server: Any = Server()
    library: Any = Library(prepare=error)
    await unlock(server, library, journal, entry)
    assert list(journal.left) == []
