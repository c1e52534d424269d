"""For tests of programs that use asyncvddk: scratch disks, and an engine that is slow, fails, hangs or plays a server.

Everything runs on the bundled engine, without VMware, and without pytest::

    async with engine(EngineConfig(fail=[Fail("Read", 14009, call=3)])) as vddk:
        with pytest.raises(ConnectionFailedError):
            await my_backup(vddk, "disk.vmdk")

Disks: ``make_disk`` and ``make_chain`` where there is a connection, ``make_disk_sync`` and ``make_chain_sync`` anywhere
else; ``random_bytes`` and ``random_blocks`` for what they hold; ``assert_content`` and ``assert_same_content`` compare.

The engine: ``engine(EngineConfig(...))``; its failures are ``Fail``, its hanging calls ``Hang``, its server
``EngineServer``. ``EngineConfig.file`` is for programs in another process, as the command line.

Leaks: ``no_leaks``.

With pytest these are fixtures, which an installed asyncvddk brings along, for pytest-asyncio in both its modes, for
anyio's plugin, and for tests that are not async:

- ``vddk_disk``: makes scratch disks in ``tmp_path``: ``path = vddk_disk(b"content")``; see ``DiskFactory``.
- ``vddk_engine``: ``engine``: ``async with vddk_engine(EngineConfig(...)) as vddk``.
- ``vddk_server``: an ``EngineServer`` whose datastore ``ds1`` is the folder ``ds1`` in ``tmp_path``.
- ``vddk_no_leaks``: fails a test that leaves something behind; see ``no_leaks``. For all tests of a module:
  ``pytestmark = pytest.mark.usefixtures("vddk_no_leaks")``.

Make disks first, then start the engine: disks that are made inside count as calls of it.
"""

from asyncvddk.testing._config import EngineConfig, EngineServer
from asyncvddk.testing._content import (
    Content,
    Image,
    Readable,
    assert_content,
    assert_same_content,
    random_blocks,
    random_bytes,
)
from asyncvddk.testing._disks import DiskFactory, make_chain, make_chain_sync, make_disk, make_disk_sync, run_local
from asyncvddk.testing._engine import EngineFactory, engine
from asyncvddk.testing._faults import Fail, Hang
from asyncvddk.testing._leaks import no_leaks

__all__ = [
    "Content",
    "DiskFactory",
    "EngineConfig",
    "EngineFactory",
    "EngineServer",
    "Fail",
    "Hang",
    "Image",
    "Readable",
    "assert_content",
    "assert_same_content",
    "engine",
    "make_chain",
    "make_chain_sync",
    "make_disk",
    "make_disk_sync",
    "no_leaks",
    "random_blocks",
    "random_bytes",
    "run_local",
]
