"""What snapshots, forgotten snapshots and running sessions use. Blocking."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncvddk.repository.collection import _sessions
from asyncvddk.repository.errors import ObjectMissingError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._ids import IdSet, nonzero
from asyncvddk.repository.format._index import stored_pages
from asyncvddk.repository.format._manifests import Checkpoint, Pin, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from asyncvddk.repository.format._ids import Rows
    from asyncvddk.repository.format._index import Root
    from asyncvddk.repository.store._vault import Vault


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids in use."""

    chunks: IdSet
    meta: IdSet


def mark(vault: Vault, alive: Callable[[], None], *, without: Container[str] = ()) -> Marks:
    """Find all that is in use; ``alive`` is called now and then.

    ``without``: names of forgotten snapshots, and sessions, that are taken for gone. Raises DamagedError and
    ObjectMissingError: then nothing may be deleted.
    """
    pinned, blobs = _pinned(vault, without)
    roots: set[bytes] = set()
    for snapshot in vault.map(lambda name: read_snapshot(vault, name), _snapshot_names(vault, without)):
        alive()
        if snapshot is None:
            continue
        roots.update(disk.root for disk in snapshot.disks)
        if snapshot.config:
            blobs.add(snapshot.config)
    pages: dict[bytes, tuple[Root, int]] = {}
    for root in vault.map(vault.get_root, sorted(roots)):
        _add_pages(pages, root)
    for identifier in pinned - roots:
        with contextlib.suppress(ObjectMissingError):  # its snapshot was gone before the session looked, and gave up
            _add_pages(pages, vault.get_root(identifier))
    chunks = IdSet.union(_page_contents(vault, pages, alive))
    return Marks(chunks, IdSet.of([*roots, *pinned, *pages, *blobs]))


def _add_pages(pages: dict[bytes, tuple[Root, int]], root: Root) -> None:
    for number in stored_pages(root):
        pages.setdefault(root.page(number), (root, number))


def _page_contents(vault: Vault, pages: dict[bytes, tuple[Root, int]], alive: Callable[[], None]) -> Iterator[Rows]:
    for ids in vault.map(lambda place: vault.get_page(*place), list(pages.values())):
        alive()
        yield nonzero(ids)


def _pinned(vault: Vault, without: Container[str]) -> tuple[set[bytes], set[bytes]]:
    """Return the roots and blobs that sessions pin, and that those interrupted may be gone on with from."""
    roots: set[bytes] = set()
    blobs: set[bytes] = set()
    for session in _sessions.list_sessions(vault.store):
        if session.session in without:
            continue
        if session.pinned:
            with contextlib.suppress(ObjectMissingError):  # it ended meanwhile
                pin = vault.get_manifest(Kind.SESSION, _layout.pin(session.session), Pin)
                roots.update(pin.roots)
                blobs.update(pin.blobs)
        if session.checkpoint:
            with contextlib.suppress(ObjectMissingError):  # it is further: then it lives, and keeps what it uses
                name = _layout.part(session.session, session.checkpoint)
                checkpoint = vault.get_manifest(Kind.SESSION, name, Checkpoint)
                roots.update(disk.root for disk in checkpoint.disks)
    return roots, blobs


def _snapshot_names(vault: Vault, without: Container[str]) -> Iterator[str]:
    """Iterate over snapshots, then forgotten ones: a snapshot on its way from there to here is seen once at least."""
    for folder in (_layout.SNAPSHOTS, _layout.TRASH):
        for item in vault.store.list(folder):
            if _layout.snapshot_id(item.name) and item.name not in without:
                yield item.name


def read_snapshot(vault: Vault, name: str) -> Snapshot | None:
    """Return a snapshot, forgotten or not; None if it is gone meanwhile. Raises DamagedError."""
    kind = Kind.TRASH if name.startswith(_layout.TRASH) else Kind.SNAPSHOT
    try:
        return vault.get_manifest(kind, name, Snapshot)
    except ObjectMissingError:
        return None
