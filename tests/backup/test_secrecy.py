"""What an encrypted repository gives away to whoever reads the store: sizes and times, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import stat
import traceback
from functools import partial
from typing import TYPE_CHECKING

import pytest
import structlog.testing

from asyncvddk._secret import Secret
from asyncvddk.backup import backup, find_disks
from asyncvddk.repository import (
    KeepRules,
    Repository,
    RepositoryError,
    StoreError,
    WrongPasswordError,
    plan_forget,
)
from asyncvddk.repository.format import _keyslots
from tests.backup.fakes import MemoryDisk
from tests.repository.faults import Countdown, DictStore, calm
from tests.repository.helpers import CHEAP

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk import Vddk
    from asyncvddk.repository import Snapshot

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
    await Repository.init(place, password=PASSWORD, chunk_size=1 << 18, cost=CHEAP)
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
        await repository.add_key(PASSWORD, PASSWORD + "2", cost=CHEAP)
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


async def test_a_bucket_is_told_nothing_either(vddk: Vddk, tmp_path: Path) -> None:
    """Of disks found in a folder, whose keys are paths: names of objects, what they hold, and what stays of a crash."""
    store = DictStore()
    await Repository.init(store, password=PASSWORD, chunk_size=1 << 18, cost=CHEAP)
    folder = tmp_path / "path-mark"
    folder.mkdir()
    for number in range(2):
        (folder / f"PLAINTEXT-MARK{number}.img").write_bytes(b"PLAINTEXT-MARK" * 60_000 + NOISE + bytes([number]))
    killed = Countdown(1, StoreError("gone"))

    def gone(operation: str, name: str) -> None:
        if name.startswith("chunks/") or killed.reached:
            killed(operation, name)

    async with Repository.open(store, password=PASSWORD, cache="") as repository:
        disks = find_disks(vddk, [folder])
        await backup(repository, disks, source="source-mark", tags=["tag-mark"], host="host-mark")
        store.before = gone
        for path in folder.iterdir():
            path.write_bytes(path.read_bytes()[::-1])
        with pytest.raises(StoreError):
            await backup(repository, find_disks(vddk, [folder]), source="source-mark", tags=["tag-mark"])
        store.before = calm
    assert killed.reached
    assert any(name.startswith("sessions/") for name in store.objects)
    assert len({len(data) for name, data in store.objects.items() if name.startswith("chunks/")}) > 1
    told = [text.encode() for text in store.objects] + list(store.objects.values())
    marks = [mark.encode() for mark in (*MARKS, "path-mark", "KRAM-TXETNIALP", str(tmp_path))] + [NOISE[:32]]
    assert not [mark for mark in marks for text in told if mark in text or mark.hex().encode() in text]


class Shown(list[str]):
    """All that a program shows of objects and errors."""

    def thing(self, thing: object) -> None:
        """Show an object, and what it is made of."""
        self.append(repr(thing) + repr(getattr(thing, "__dict__", "")))

    def error(self, error: BaseException | None) -> None:
        """Show an error as some reporters do: with the variables of each frame, of causes, too."""
        if error is not None:
            self.append("".join(traceback.format_exception(error)))
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            self.extend(repr(frame.f_locals) for frame in frames if frame.f_code.co_filename != __file__)
            self.error(error.__cause__)
            self.error(error.__context__)


@pytest.fixture
def masters(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return copies of the master keys that were in memory."""
    found: list[bytes] = []
    right = _keyslots.open_slot

    def watched(*arguments: object, **more: object) -> bytearray | None:
        master = right(*arguments, **more)  # type: ignore[arg-type]
        found.extend([bytes(master)] if master else [])
        return master

    monkeypatch.setattr("asyncvddk.repository._opening.open_slot", watched)
    return found


async def use_damaged(store: DictStore, repository: Repository, snapshot: Snapshot, shown: Shown) -> None:
    """Do this and that while one kind of objects after the other is damaged, and while the store fails."""
    disk = MemoryDisk(bytearray(NOISE * 3))
    for kind in ("snapshots/", "chunks/", "meta/", "keys/"):
        kept = dict(store.objects)
        store.objects |= {name: data[:-20] + bytes(20) for name, data in kept.items() if name.startswith(kind)}
        for use in (
            repository.snapshots,
            partial(repository.verify, 2),
            partial(backup, repository, [disk.disk("a")], source="vm"),
            partial(repository.diff, snapshot.disk("a").root, NOISE[:32]),
            partial(repository.change_password, Secret(PASSWORD), Secret(PASSWORD + "2"), cost=CHEAP),
        ):
            try:
                await use()
            except RepositoryError as error:
                shown.error(error)
        store.objects = kept
    store.before = Countdown(20, StoreError("gone"))
    with pytest.raises(StoreError) as failed:
        await backup(repository, [disk.disk("a")], source="vm")
    shown.error(failed.value)
    store.before = calm


async def test_neither_logs_nor_reprs_nor_tracebacks_hold_a_key(masters: list[bytes]) -> None:
    """Whatever goes wrong: neither passwords, right or wrong, nor the master key, nor what is derived from it."""
    store, shown, wrong = DictStore(local=True), Shown(), "no-such-password"
    disk = MemoryDisk(bytearray(NOISE * 3))
    with structlog.testing.capture_logs() as logs:
        await Repository.init(store, password=Secret(PASSWORD), chunk_size=1 << 18, cost=CHEAP)
        for password in (None, Secret(wrong)):
            with pytest.raises(WrongPasswordError) as caught:
                async with Repository.open(store, password=password):
                    pytest.fail("must not open")
            shown.error(caught.value)
        async with Repository.open(store, password=Secret(PASSWORD), cache="") as repository:
            keys = repository._vault.keys
            derived = [bytes(getattr(keys, name)) for name in keys.__slots__ if name != "encrypted"]
            snapshot = await backup(repository, [disk.disk("a")], source="vm")
            async with await repository.open_disk(snapshot, "a") as opened, repository.session("vm") as session:
                writer = await session.add_disk(key="a", name="a", capacity=5)
                for thing in (repository, repository._vault, keys, opened, session, session._writer, writer):
                    shown.thing(thing)
                shown.thing(await repository.keys())
            await use_damaged(store, repository, snapshot, shown)
    assert len(logs) > 2
    assert len(shown) > 50
    assert len(masters) > 1
    text = "".join([*shown, repr(logs)])
    for secret in {*masters, *derived, PASSWORD.encode(), wrong.encode()}:
        forms = (repr(secret)[2:-1], repr(bytearray(secret)), secret.hex(), base64.b64encode(secret).decode())
        assert not [form for form in forms if form in text]
