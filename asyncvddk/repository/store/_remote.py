"""Object stores through obstore: S3 and its like, and memory. The blocking half of its interface, for threads.

The asynchronous half aborts the interpreter at exit now and then, and its hop for each object costs more than a
thread's.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import obstore
from obstore import exceptions
from obstore import store as stores

from asyncvddk.repository.errors import ObjectMissingError, StoreAccessError, StoreError, StoreUnsuitableError
from asyncvddk.repository.store._store import StoredObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from typing_extensions import Buffer

T = TypeVar("T")

SCHEMES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss", "memory")
_DENIED: Final = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
_TAKEN: Final = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
_ANSWERS: Final = (*_DENIED, exceptions.NotSupportedError, FileNotFoundError)
"""What another attempt would say again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long failing requests are tried again: obstore's own attempts of one request, then ours of the whole call.

    Trying again is always right: no object ever changes, so a second answer is as good as the first.
    """

    attempts: int = 3
    pause_s: float = 1.0
    """Before the second attempt; doubled before each further one."""
    request_timeout_s: float = 120.0
    request_retries: int = 8


_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Variables that name a server of S3."""


def remote_store(url: str, options: Mapping[str, str], patience: Patience | None = None) -> RemoteStore:
    """Return the store of a URL of ``SCHEMES``. Raises ValueError, StoreError."""
    patience = patience or Patience()
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"{url}: expected a path, file://, or one of {', '.join(f'{name}://' for name in SCHEMES)}")
    if scheme == "memory":
        return RemoteStore(url, stores.MemoryStore(), patience)
    config: dict[str, Any] = dict(options)
    endpoint = config.get("endpoint") or next(filter(None, map(os.environ.get, _ENDPOINTS)), "")
    plain = endpoint.startswith("http:")
    if scheme in {"s3", "s3a"} and not plain:
        config.setdefault("unsigned_payload", "true")  # TLS protects the body; signing it costs half of the speed
    try:
        inner = stores.from_url(
            url,
            config=config,  # type: ignore[call-overload]  # each scheme has a type of its own for it
            client_options={"timeout": timedelta(seconds=patience.request_timeout_s), "allow_http": plain},
            retry_config={"max_retries": patience.request_retries, "retry_timeout": timedelta(minutes=3)},
        )
    except (exceptions.BaseError, ValueError) as error:
        raise ValueError(f"{url}: {_first_line(error)}") from None
    return RemoteStore(url, inner, patience)


class RemoteStore:
    """An object store. See ``Store`` for the methods."""

    local = False

    def __init__(self, place: str, inner: stores.ObjectStore, patience: Patience) -> None:
        """Wrap obstore's store."""
        self.place = place
        self._inner = inner
        self._patience = patience

    def create(self, name: str, data: Buffer, *, stable: bool = False) -> bool:
        """As ``Store.create``; what is stored is stable."""
        del stable
        try:
            self._call(
                name, lambda: obstore.put(self._inner, name, memoryview(data), mode="create", use_multipart=False)
            )
        except _TAKEN:
            return False
        return True

    def replace(self, name: str, data: Buffer) -> None:
        """As ``Store.replace``."""
        self._call(name, lambda: obstore.put(self._inner, name, memoryview(data), use_multipart=False))

    def get(self, name: str) -> Buffer:
        """As ``Store.get``."""
        return self._call(name, lambda: obstore.get(self._inner, name).bytes())

    def exists(self, name: str) -> bool:
        """As ``Store.exists``."""
        try:
            self._call(name, lambda: obstore.head(self._inner, name))
        except ObjectMissingError:
            return False
        return True

    def list(self, folder: str) -> Iterator[StoredObject]:
        """As ``Store.list``."""
        stream = obstore.list(self._inner, folder or None, chunk_size=1000)
        while (batch := self._call(folder, lambda: next(stream, None), attempts=1)) is not None:
            for meta in batch:
                yield StoredObject(meta["path"], meta["size"])

    def delete(self, names: Sequence[str]) -> None:
        """As ``Store.delete``."""
        if not names:
            return
        try:
            self._call(names[0], lambda: obstore.delete(self._inner, list(names)))
        except ObjectMissingError:  # some stores mind, and stop there
            for name in names:
                with contextlib.suppress(ObjectMissingError):
                    self._call(name, lambda name=name: obstore.delete(self._inner, name))  # type: ignore[misc]

    def sync(self) -> None:
        """As ``Store.sync``: it is already."""

    def tidy(self) -> None:
        """As ``Store.tidy``: nothing is left."""

    def close(self) -> None:
        """As ``Store.close``."""

    def _call(self, name: str, request: Callable[[], T], *, attempts: int = 0) -> T:
        """Make a request, again if it fails, and translate what it raises."""
        attempts = attempts or self._patience.attempts
        for attempt in range(attempts):
            try:
                return request()
            except _TAKEN:
                raise
            except _ANSWERS as error:
                raise self._translated(name, error) from error
            except (exceptions.BaseError, OSError) as error:
                if attempt + 1 == attempts:
                    raise self._translated(name, error) from error
                time.sleep(self._patience.pause_s * 2**attempt)
        raise AssertionError  # pragma: no cover  (attempts is positive)

    def _translated(self, name: str, error: Exception) -> StoreError:
        """Return what to raise for an error of obstore."""
        if isinstance(error, FileNotFoundError):
            return ObjectMissingError(name, self.place)
        text = f"{self.place}: {name or 'listing'}: {_first_line(error)}"
        if isinstance(error, _DENIED):
            return StoreAccessError(text)
        if isinstance(error, exceptions.NotSupportedError):
            return StoreUnsuitableError(text)
        return StoreError(text)


def _first_line(error: Exception) -> str:
    """Return what obstore says without the dump of its structures that follows."""
    return str(error).partition("\n")[0].strip()
