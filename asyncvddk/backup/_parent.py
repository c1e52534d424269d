"""The snapshot that a backup begins from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from asyncvddk.repository import DamagedError, SnapshotNotFoundError

if TYPE_CHECKING:
    from asyncvddk.repository import Repository, Snapshot

_logger = structlog.get_logger()


async def find_parent(repository: Repository, source: str) -> Snapshot | None:
    """Return the newest snapshot of a source, for ``backup`` to compare with; None if there is none.

    None, and a line in the log, also if its manifest is damaged: a backup without a parent costs time, none at all
    costs more. Raises StoreError.
    """
    try:
        return await repository.find(source=source)
    except SnapshotNotFoundError:
        return None
    except DamagedError as error:
        _logger.warning("parent_damaged", source=source, reason=str(error), effect="all that is allocated is read")
        return None
