"""What an encrypted repository gives away to whoever reads the store: sizes and times, and nothing else."""

from __future__ import annotations

import asyncio
import os
import random
import stat
from typing import TYPE_CHECKING

import structlog.testing

from asyncvddk.backup import backup
from asyncvddk.repository import Argon2Cost, KeepRules, Repository, plan_forget
from tests.backup.fakes import MemoryDisk

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "Tr0ub4dor-and-3"  # noqa: S105
MARKS = (
    "PLAINTEXT-MARK",
    "disk-name-mark",
    "source-mark",
    "tag-mark",
    "host-mark",
    "config-mark",
    "reason-mark",
    PASSWORD,
)


NOISE = random.Random(1).randbytes(1 << 18)
"""What no compression hides."""


async def fill(place: Path) -> None:
    """Back up disks full of marks, twice, one of them failing; forget, collect, change the password."""
    await Repository.init(place, password=PASSWORD, chunk_size=1 << 18, cost=Argon2Cost(64, 1, 1))
    data = bytearray(b"PLAINTEXT-MARK" * 60_000 + NOISE * 2)
    disk = MemoryDisk(data)

    async def refuse(_: object) -> None:
        raise OSError("reason-mark")

    gone = MemoryDisk(bytearray(b"x" * 1000), before_read=refuse)
    async with Repository.open(place, password=PASSWORD, cache="") as repository:
        for number in range(2):
            snapshot = await backup(
                repository,
                [disk.disk("disk-name-mark"), gone.disk("gone")],
                source="source-mark",
                tags=["tag-mark"],
                host="host-mark",
                config=b"config-mark",
            )
            assert snapshot.partial
            data[number] ^= 1
        decisions = plan_forget(await repository.snapshots(), KeepRules(last=1))
        await repository.forget([one.snapshot for one in decisions if not one.keep])
        await repository.gc(grace_s=0)
        await repository.gc(grace_s=0)
        await repository.add_key(PASSWORD, PASSWORD + "2", cost=Argon2Cost(64, 1, 1))
        assert PASSWORD not in repr(repository.__dict__)


def test_no_object_and_no_name_holds_plaintext(tmp_path: Path) -> None:
    """Neither as it is, nor in hexadecimal digits, nor in UTF-16; and files are for their owner alone."""
    place = tmp_path / "repository"
    with structlog.testing.capture_logs() as logs:
        asyncio.run(fill(place))
    assert PASSWORD not in repr(logs)
    files = [path for path in place.rglob("*") if path.is_file()]
    assert len(files) > 10
    for mark in MARKS:
        assert not [path for path in files if mark in str(path.relative_to(place))]
    forms = [form for mark in MARKS for form in (mark.encode(), mark.encode().hex().encode(), mark.encode("utf-16-le"))]
    for path in files:
        content = path.read_bytes()
        assert not [form for form in [*forms, NOISE[:32]] if form in content], path
    for path in [place, *place.rglob("*")]:
        mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116
        assert mode == (0o700 if path.is_dir() else 0o600), path
