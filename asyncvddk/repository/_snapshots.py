"""Listing, finding, forgetting and undeleting snapshots. Blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncvddk.repository.collection._marks import read_snapshot
from asyncvddk.repository.errors import DamagedError, RepositoryError, SnapshotNotFoundError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.writing._writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncvddk.repository.format._manifests import Snapshot
    from asyncvddk.repository.store._vault import Vault
    from asyncvddk.repository.writing._known import Known

LATEST: Final = "latest"


def names(vault: Vault, folder: str = _layout.SNAPSHOTS) -> list[str]:
    """Return the names of the snapshots, or of those in the trash; the oldest of each source first."""
    return sorted(item.name for item in vault.store.list(folder) if _layout.snapshot_id(item.name))


def load(vault: Vault, wanted: Iterable[str], damaged: dict[str, DamagedError] | None = None) -> list[Snapshot]:
    """Read snapshots; those that are gone meanwhile are left out, and so are damaged ones if they can be noted.

    Raises DamagedError.
    """

    def read(name: str) -> Snapshot | None:
        try:
            return read_snapshot(vault, name)
        except DamagedError as error:
            if damaged is None:
                raise
            damaged[_layout.snapshot_id(name) or name] = error
            return None

    found = vault.map(read, wanted)
    return sorted((snapshot for snapshot in found if snapshot), key=lambda snapshot: snapshot.time)


def of_source(vault: Vault, source: str | None) -> list[str]:
    """Return the names of the snapshots of a source, or of all."""
    hidden = vault.keys.hidden(source) if source is not None else None
    return [name for name in names(vault) if hidden in {None, _layout.source_of(name)}]


def find(vault: Vault, text: str, source: str | None) -> Snapshot:
    """Return the snapshot whose id begins with ``text``, or the newest for ``latest``.

    Raises SnapshotNotFoundError: none, or several.
    """
    where = f" of {source}" if source is not None else ""
    wanted = of_source(vault, source)
    if text == LATEST:
        found = load(vault, _newest(wanted))
        if not found:
            raise SnapshotNotFoundError(f"there is no snapshot{where} yet")
        return found[-1]
    if not (found := load(vault, [_only(text, wanted, where)])):
        raise SnapshotNotFoundError(f"{text}: forgotten meanwhile")
    return found[0]


def _newest(wanted: list[str]) -> list[str]:
    """Return the names that have the newest stamp, several when it is the same second."""
    stamps = [name.rpartition("/")[2].partition("-")[0] for name in wanted]
    newest = max(stamps, default="")
    return [name for name, stamp in zip(wanted, stamps, strict=True) if stamp == newest]


def _only(text: str, wanted: list[str], where: str) -> str:
    """Return the one name whose id begins with ``text``."""
    matching = [name for name in wanted if text and (_layout.snapshot_id(name) or "").startswith(text.lower())]
    if len(matching) != 1:
        ids = ", ".join(str(_layout.snapshot_id(name)) for name in matching[:5])
        several = f"{len(matching)} snapshots{where} have ids that begin so: {ids}"
        raise SnapshotNotFoundError(
            f"{text!r}: {several if matching else f'no snapshot{where} has an id that begins so'}"
        )
    return matching[0]


def forget(vault: Vault, snapshots: Iterable[Snapshot]) -> None:
    """Move snapshots to the trash: first there, then away, so that one of the two is there at any moment."""
    for snapshot in snapshots:
        name = vault.snapshot_name(snapshot)
        if vault.store.exists(name):
            vault.create_manifest(Kind.TRASH, _layout.trashed(name, vault.clock()), snapshot, stable=True)
            vault.store.delete([name])


def forget_damaged(vault: Vault, identifier: str) -> None:
    """Remove a snapshot whose manifest cannot be read; nothing of it can be undeleted."""
    name = _only(identifier, names(vault), "")
    try:
        read_snapshot(vault, name)
    except RepositoryError:
        vault.store.delete([name])
        return
    raise ValueError(f"snapshot {identifier} can be read: forget it the usual way")


def undelete(vault: Vault, known: Known, text: str) -> Snapshot:
    """Bring a snapshot back from the trash. Raises SnapshotNotFoundError, ChunksLostError, ObjectMissingError.

    It is a backup of its own, with a session: a collection beside it must not delete what the snapshot uses.
    """
    trashed = _only(text, names(vault, _layout.TRASH), " in the trash")
    found = load(vault, [trashed])
    if not found:
        raise SnapshotNotFoundError(f"{text!r}: purged meanwhile")
    snapshot = found[0]
    writer = Writer(vault, known, source="", host="")
    try:
        roots = [disk.root for disk in snapshot.disks]
        writer.begin([trashed], roots, [snapshot.config] if snapshot.config else [])
        for disk in snapshot.disks:
            writer.adopt(disk.key, vault.get_root(disk.root))
        writer.commit(snapshot)
    except BaseException:
        writer.end()
        raise
    vault.store.delete([trashed])
    return snapshot
