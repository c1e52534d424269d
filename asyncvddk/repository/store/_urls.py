"""From a path or URL to a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from asyncvddk.repository.store._local import LocalStore
from asyncvddk.repository.store._remote import remote_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncvddk.repository.store._store import Store


_OTHERS: Final = frozenset({"s3", "s3a", "gs", "az", "azure", "b2", "swift", "sftp", "ssh", "rest", "rclone", "file"})
"""How other programs begin the place of a repository; without slashes it would be a folder here."""


def open_store(url: str | os.PathLike[str], *, create: bool = False, options: Mapping[str, str] | None = None) -> Store:
    """Return the store at a path or URL; with ``create`` a local folder is made if it is missing.

    ``/srv/backups`` and ``file:///srv/backups`` are folders, ``s3://bucket/prefix`` is S3 (``gs://`` and ``az://``
    likewise), ``memory://`` lives as long as the returned object. ``options`` go to the store of that kind:
    ``endpoint``, ``region``, ``access_key_id``, ``secret_access_key`` and more for S3; what is not given is taken from
    the environment (``AWS_ACCESS_KEY_ID`` ...).

    Raises ValueError (a URL nobody knows), StoreError.
    """
    text = os.fspath(url)
    parts = urlsplit(text)
    if "://" not in text and parts.scheme in _OTHERS:
        raise ValueError(f"{text}: expected s3://bucket/prefix or the like; write ./{text} for a folder of this name")
    if "://" not in text or parts.scheme == "file":
        if options:
            raise ValueError(f"{text}: a local folder takes no options")
        return LocalStore(Path(parts.path if "://" in text else text), create=create)
    if parts.username or parts.password:
        raise ValueError(f"{parts.scheme}://{parts.hostname}: credentials belong to options or environment, not here")
    return remote_store(text, options or {})
