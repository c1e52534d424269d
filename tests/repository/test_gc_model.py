"""Collection beside writers, in every order: threads take turns at each operation of the store, as a seed decides.

Writers back up with and without parents, from a small pool of contents so that what was dropped is used again; some
give up, some are killed, and the next ones go on from where they were. Others forget, undelete and collect, and
collectors are killed, too. Time passes by itself, so that locks and sessions expire. Whatever happens: every snapshot
can be read in the end.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asyncvddk.repository import (
    ChunksLostError,
    ObjectMissingError,
    RepositoryBusyError,
    SessionLostError,
    SnapshotNotFoundError,
    _snapshots,
)
from asyncvddk.repository.checking import _verify
from asyncvddk.repository.collection import _gc, _sessions
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Keys
from asyncvddk.repository.format._ids import nonzero
from asyncvddk.repository.format._manifests import Config, DiskEntry, Snapshot
from asyncvddk.repository.store._vault import Vault
from asyncvddk.repository.writing._known import Known
from asyncvddk.repository.writing._session import Session
from tests.repository.faults import DictStore, Killed, Turns, calm

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncvddk.repository import Store

CHUNK = 16
CONTENTS = 20
LONG = 1e9
"""Seconds that no test lasts."""
CONFIG = Config(id="00" * 16, created=0.0, chunk_size=CHUNK, page_entries=3, level=0, encryption="none")


class World:
    """One run: a store, its time, and those who use it."""

    def __init__(self, seed: int, *, local: bool, killed: float, interrupted: float) -> None:
        """Begin with an empty repository; a share of the writers is killed, and of their chunks checkpointed."""
        self.killed = killed
        self.interrupted = interrupted
        self.turns = Turns(seed)
        self.random = random.Random(seed)
        self.store = DictStore(local=local)
        self.store.before = self.before
        self.time = 1e9
        self.ids = itertools.count()
        self.commits = 0
        self.swept = 0
        self.resumed = 0

    def before(self, operation: str, name: str) -> None:
        """Let others go on, and time."""
        self.time += self.random.choice((0, 0, 0, 5))
        self.turns(operation, name)

    def pause(self, seconds: float) -> None:
        """Wait."""
        del seconds
        self.time += 300
        self.turns.end()

    def vault(self) -> Vault:
        """Return the repository as one program sees it."""
        keys = Keys.open_to_all(CONFIG.id)
        return Vault(self.store, keys, CONFIG, threads=1, clock=lambda: self.time, pause=self.pause)

    def writer(self, rounds: int) -> Callable[[], None]:
        """Return an actor that backs up again and again."""

        def act() -> None:
            vault, known = self.vault(), Known(None)
            with contextlib.closing(known):
                for _ in range(rounds):
                    with contextlib.suppress(SnapshotNotFoundError, SessionLostError):
                        self.back_up(vault, known)

        return act

    def back_up(self, vault: Vault, known: Known) -> None:
        """Make one backup, from a parent or not, or give up in the middle."""
        choose = self.random
        parents = _snapshots.load(vault, _snapshots.names(vault))
        parent = choose.choice([*parents, None])
        session = Session(vault, known, source="vm", parent=parent, host="")
        writer = session._writer
        roots = [disk.root for disk in parent.disks] if parent else []
        try:
            writer.begin([vault.snapshot_name(parent)] if parent else [], roots)
            entry = DiskEntry(key="1", name="", capacity=8 * CHUNK, root=b"", mode="")
            inherit = parent is not None and choose.random() < 0.5
            disk = session._add_disk(entry, parent.disks[0] if parent else None, inherit=inherit, state="1")
            self.resumed += int(disk.take(np.full(8, choose.random() < 0.7)).sum())
            for number in choose.sample(range(8), choose.randrange(1, 9)):
                disk.put(number, bytes([choose.randrange(CONTENTS)]) * CHUNK)
                if choose.random() < 0.7:
                    writer.heartbeat()
                if choose.random() < self.interrupted:
                    session._checkpoint()
            if choose.random() < self.killed:
                return  # as if killed: the session stays
            if choose.random() < 0.2:
                writer.end(interrupted=True)  # it gives up
                return
            draft = Snapshot(
                id=f"{next(self.ids):016x}", source="vm", time=self.time, finished=0.0, disks=(), tags=("tag",)
            )
            self.commit(session, draft, disk.put)
        except BaseException:
            writer.end()
            raise

    def commit(self, session: Session, draft: Snapshot, put: Callable[[int, bytes], object]) -> None:
        """Commit; chunks that were lost are put again, as a backup does that can read its source."""
        for _ in range(5):
            try:
                session._commit(draft, None)
            except ChunksLostError as error:
                for number in error.chunks["1"]:
                    put(number, bytes([self.random.randrange(CONTENTS)]) * CHUNK)
            else:
                self.commits += 1
                return

    def forgetter(self, rounds: int) -> Callable[[], None]:
        """Return an actor that forgets snapshots, and takes some back."""

        def act() -> None:
            vault, known = self.vault(), Known(None)
            with contextlib.closing(known):
                for _ in range(rounds):
                    found = _snapshots.load(vault, _snapshots.names(vault))
                    self.check_whole(found)
                    _snapshots.forget(vault, [one for one in found if self.random.random() < 0.5])
                    if (trash := _snapshots.names(vault, "trash")) and self.random.random() < 0.5:
                        name = self.random.choice(trash).rpartition("-")[2].partition(".")[0]
                        with contextlib.suppress(SnapshotNotFoundError, ChunksLostError, SessionLostError):
                            _snapshots.undelete(vault, known, name)

        return act

    def collector(self, rounds: int, *, lives: int | None = None, expiry_s: float = LONG) -> Callable[[], None]:
        """Return an actor that collects; ``lives`` operations, then it is killed."""

        def act() -> None:
            vault = self.vault()
            left = itertools.count()

            def mortal(operation: str, name: str) -> None:
                del operation, name
                if lives is not None and next(left) == lives:
                    raise Killed

            vault.store = _Mortal(self.store, mortal)
            for _ in range(rounds):
                try:
                    report = _gc.collect(vault, grace_s=0, trash_s=self.random.choice((0, 1e5)), expiry_s=expiry_s)
                    self.swept += report.swept
                except RepositoryBusyError:
                    self.pause(1)

        return act

    def check_whole(self, snapshots: list[Snapshot]) -> None:
        """Check that all chunks are there, while nobody else has a turn."""
        still = DictStore()
        still.objects = self.store.objects
        vault = Vault(still, Keys.open_to_all(CONFIG.id), CONFIG, threads=1)
        for snapshot in snapshots:
            ids = vault.get_ids(vault.get_root(snapshot.disks[0].root))
            names = [_layout.chunk(row.tobytes()) for row in nonzero(ids)]
            assert not [name for name in names if name not in still.objects], "chunks/ are lost"

    def check(self) -> None:
        """Read every snapshot."""
        self.store.before = calm
        report = _verify.verify(self.vault(), level=2, subset=(1, 1), quarantine=False, wanted=None)
        assert not report.findings, [finding.name for finding in report.findings]


class _Mortal(DictStore):
    """The store as one program sees it that is killed one day."""

    def __init__(self, store: DictStore, before: Callable[[str, str], None]) -> None:
        """Share the objects."""
        super().__init__(local=store.local)
        self.objects = store.objects

        def both(operation: str, name: str) -> None:
            before(operation, name)
            store.before(operation, name)

        self.before = both


def play(seed: int, *, local: bool, expiry_s: float) -> World:
    """Run one world to its end, and check it."""
    world = World(seed, local=local, killed=0.1 if expiry_s < LONG else 0, interrupted=0.3 * (seed % 2))
    lives = world.random.choice((None, world.random.randrange(5, 600)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_layout, "new_id", lambda: f"{next(world.ids):016x}")  # a seed gives the same run each time
        world.turns.run(
            *(world.writer(10) for _ in range(2)),
            world.forgetter(15),
            world.collector(40, lives=lives, expiry_s=expiry_s),
            world.collector(60, expiry_s=expiry_s),
        )
    world.check()
    return world


def play_many(count: int) -> None:
    """Run some worlds."""
    for seed in range(count):
        play(seed, local=False, expiry_s=LONG)


RUNS = int(os.environ.get("ASYNCVDDK_GC_MODEL_RUNS", "3"))
"""Worlds of each kind; set it higher after a change of the protocol."""


@pytest.mark.parametrize("local", [True, False], ids=["folder", "s3"])
@pytest.mark.parametrize("expiry_s", [LONG, 5e3], ids=["sessions live", "sessions expire"])
def test_no_order_of_events_costs_a_snapshot_a_chunk(*, local: bool, expiry_s: float) -> None:
    """Backups, forgetting, undeleting and collections side by side, a collector killed somewhere: all is readable."""
    worlds = [play(seed, local=local, expiry_s=expiry_s) for seed in range(RUNS)]
    assert sum(world.commits for world in worlds) > 5 * RUNS
    assert expiry_s < LONG or sum(world.swept for world in worlds) > 0
    assert sum(world.resumed for world in worlds) > 0


class Everything(set[int]):
    """A set that has all numbers."""

    def __contains__(self, number: object) -> bool:
        """Say yes."""
        return True


def break_acknowledgements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take for granted that all sessions have kept what they use."""
    right = _sessions.list_sessions

    def wrong(store: Store) -> list[_sessions.LiveSession]:
        found = right(store)
        for session in found:
            session.acknowledged = Everything()
        return found

    monkeypatch.setattr(_sessions, "list_sessions", wrong)


def test_the_model_finds_what_a_broken_protocol_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for sessions to say what they keep, snapshots lose chunks within a few runs."""
    break_acknowledgements(monkeypatch)
    with pytest.raises((AssertionError, ObjectMissingError), match=r"chunks/|meta/"):
        play_many(20)
