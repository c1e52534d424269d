"""The bundled engine, started with a configuration for a test."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from asyncvddk.disks._library import Vddk
from asyncvddk.native._loader import ENGINE_ROOT
from asyncvddk.testing._config import EngineConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager


class EngineFactory(Protocol):
    """Type of ``engine``, for the fixture ``vddk_engine``."""

    def __call__(self, config: EngineConfig | None = None) -> AbstractAsyncContextManager[Vddk]:
        """Start the bundled engine; see ``engine``."""
        ...


@asynccontextmanager
async def engine(config: EngineConfig | None = None) -> AsyncIterator[Vddk]:
    """Start the bundled engine with ``config`` for the ``async with`` block; whatever ``ASYNCVDDK_LIBDIR`` says.

    The end of the block closes what was left open, ends the engine, and removes the configuration file. Calls that
    hang are released first, except ``Exit`` when the block ends well.

    Raises ValueError (``config``), LibraryLoadError (this process uses another library), VddkError (the engine runs
    with another configuration).
    """
    config = config or EngineConfig()
    with config.file() as path:
        async with Vddk(ENGINE_ROOT, config=path) as vddk:
            try:
                yield vddk
            except BaseException:
                config.release_all()
                raise
            config.release_all(but_exit=True)
