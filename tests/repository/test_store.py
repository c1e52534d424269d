"""One contract, every store: create once and whole, get, list, delete; and what each kind promises besides."""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING

import obstore
import pytest
from obstore import exceptions

from asyncvddk.repository import (
    ObjectMissingError,
    Repository,
    RepositoryNotFoundError,
    Store,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnsuitableError,
    open_store,
)
from asyncvddk.repository.store import _local as local_module
from asyncvddk.repository.store._remote import Patience, remote_store
from asyncvddk.repository.store._store import probe
from tests.fix_repository import s3_place
from tests.repository.faults import DictStore
from tests.repository.helpers import back_up, new_repository, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Buffer


@pytest.fixture(params=["local", "local without nameless files", "memory", "s3", "dict"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """Return an empty store of each kind."""
    made: Store
    if request.param == "dict":
        made = DictStore()
    elif request.param.startswith("local"):
        made = open_store(tmp_path / "store", create=True)
        monkeypatch.setattr(made, "_nameless", request.param == "local")
    elif request.param == "memory":
        made = open_store("memory://")
    else:
        place = s3_place(s3_endpoint)
        made = open_store(place.url, options=place.options)
    yield made
    made.close()


def test_an_object_is_created_once_and_read_back(store: Store) -> None:
    """The second creator is told so, and changes nothing; any contiguous buffer will do, and none is kept."""
    data = bytearray(os.urandom(100_000))
    assert not store.exists("a/b/c")
    assert store.create("a/b/c", memoryview(data))
    data[0] ^= 1
    assert not store.create("a/b/c", b"other", stable=True)
    data[0] ^= 1
    assert store.exists("a/b/c")
    assert bytes(store.get("a/b/c")) == data
    store.replace("a/b/c", b"new")
    assert bytes(store.get("a/b/c")) == b"new"
    assert store.create("empty", b"", stable=True)
    assert bytes(store.get("empty")) == b""
    store.sync()
    store.tidy()


def test_listings_tell_names_and_sizes_of_a_folder(store: Store) -> None:
    """All below it, nothing beside it; a folder that is not there is empty."""
    for number in range(12):
        store.create(f"one/{number % 3}/{number}", bytes(number))
    store.create("one-and-a-half/x", b"x")
    store.create("two", b"xx")
    assert {(item.name, item.size) for item in store.list("one")} == {(f"one/{n % 3}/{n}", n) for n in range(12)}
    assert {item.name for item in store.list("one/2")} == {f"one/2/{n}" for n in (2, 5, 8, 11)}
    assert len(list(store.list(""))) == 14
    assert list(store.list("nowhere")) == []


def test_deleting_takes_what_is_there_and_minds_nothing_that_is_not(store: Store) -> None:
    """Deleting is idempotent; reading what is gone is an error that names it."""
    for name in ("a/1", "a/2", "a/3"):
        store.create(name, b"x")
    store.delete(["a/1", "a/none", "b/none", "a/3"])
    store.delete([])
    assert [item.name for item in store.list("")] == ["a/2"]
    with pytest.raises(ObjectMissingError, match="a/1"):
        store.get("a/1")
    assert store.create("a/1", b"again")


def test_of_many_creators_one_wins(store: Store) -> None:
    """Threads that create the same name at once: one is told that it did, and its bytes are there."""
    start, won = threading.Barrier(8), []

    def create(number: int) -> None:
        start.wait()
        if store.create("a/b/contested", bytes([number]) * 1000):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = won
    assert bytes(store.get("a/b/contested")) == bytes([winner]) * 1000


def test_the_probe_takes_every_real_store_and_leaves_nothing(store: Store) -> None:
    """Opening a repository for writing tries what everything rests on."""
    probe(store)
    assert list(store.list("")) == []


class Overwriting(DictStore):
    """A store that ignores the condition, as some S3 servers do."""

    def create(self, name: str, data: Buffer, *, stable: bool = False) -> bool:
        """Store it in any case, and say so."""
        self.objects.pop(name, None)
        return super().create(name, data, stable=stable)


class Denying(DictStore):
    """A store that says no in any case."""

    def create(self, name: str, data: Buffer, *, stable: bool = False) -> bool:
        """Say that it was there, after storing it."""
        super().create(name, data, stable=stable)
        return False


@pytest.mark.parametrize("kind", [Overwriting, Denying])
async def test_a_store_without_exclusive_create_is_refused(kind: type[DictStore]) -> None:
    """Two writers could destroy each other's backups there; reading is allowed."""
    with pytest.raises(StoreUnsuitableError, match="conditional writes"):
        await Repository.init(kind(), password=None)
    good = DictStore()
    new_repository(good)
    bad = kind(objects=good.objects)
    with pytest.raises(StoreUnsuitableError, match="dict://"):
        async with Repository.open(bad, password=None, cache=""):
            pytest.fail("must not open")
    async with Repository.open(bad, password=None, cache="", read_only=True) as repository:
        assert await repository.snapshots() == []
    assert not [name for name in bad.objects if name.startswith("probe")]


async def test_a_local_repository_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Folders have mode 0700 and files 0600, whatever the umask, and temporary files are gone."""
    old = os.umask(0)
    try:
        await Repository.init(tmp_path / "r", password=None)
        async with Repository.open(tmp_path / "r", password=None, cache=tmp_path / "cache") as repository:
            snapshot = await back_up(repository, b"data" * 1000)
            await repository.forget([snapshot])
            await repository.gc()
    finally:
        os.umask(old)
    for top in ("r", "cache"):
        for path in [tmp_path / top, *(tmp_path / top).rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
            assert not path.name.startswith(".pending")


def test_errors_of_a_folder_say_what_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room, no rights, no hard links, no folder: each its class, with the object and the reason."""
    with pytest.raises(RepositoryNotFoundError, match="nowhere"):
        open_store(tmp_path / "nowhere")
    store = open_store(tmp_path)
    for number, kind, target in (
        (28, StoreFullError, "write"),
        (13, StoreAccessError, "open"),
        (5, StoreError, "write"),
        (1, StoreUnsuitableError, "link"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(os, target, _raising(number))
            with pytest.raises(kind) as caught:
                store.create("a/b", b"x")
            assert type(caught.value) is kind
            assert str(tmp_path) in str(caught.value)
    assert list(store.list("")) == []
    store.close()
    store.close()
    with pytest.raises(ValueError, match="closed"):
        store.get("a/b")


def _raising(number: int) -> object:
    def fail(*args: object, **kwargs: object) -> None:
        del args, kwargs
        raise OSError(number, os.strerror(number))

    return fail


def test_a_failed_sync_stays_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells once of what it could not write: no later commit may take that for success."""
    store = open_store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(local_module, "syncfs", _raising(5))
        with pytest.raises(StoreError, match="Input/output"):
            store.sync()
    with pytest.raises(StoreError, match="open it again"):
        store.sync()
    store.close()


def test_what_killed_writers_left_is_tidied_up_after_a_day(tmp_path: Path) -> None:
    """Unfinished files are no objects; old ones are removed, those of a running writer are not."""
    store = open_store(tmp_path)
    (tmp_path / "chunks").mkdir()
    old, new = tmp_path / "chunks" / ".pending-1", tmp_path / "chunks" / ".pending-2"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    assert list(store.list("")) == []
    store.tidy()
    assert not old.exists()
    assert new.exists()
    store.close()


@pytest.mark.parametrize(
    ("url", "options", "match"),
    [
        ("ftp://host/x", None, "expected a path"),
        ("s3://key:secret@bucket/x", None, "credentials"),
        ("s3://bucket/x", {"nonsense": "1"}, "nonsense"),
        ("/somewhere", {"region": "x"}, "no options"),
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str, options: dict[str, str] | None, match: str) -> None:
    """The error says what is expected, and repeats no secret."""
    with pytest.raises(ValueError, match=match) as caught:
        open_store(url, options=options)
    assert "secret" not in str(caught.value)


def test_a_server_that_does_not_answer_is_an_error_after_some_attempts(s3_endpoint: str) -> None:
    """Nobody listens: a StoreError that names place and object, not a hang; and so is a bucket that is not there."""
    patience = Patience(attempts=2, pause_s=0.0, request_retries=0)
    options = {"endpoint": "http://127.0.0.1:9", "access_key_id": "a", "secret_access_key": "secret", "region": "x"}
    store = remote_store("s3://bucket/x", options, patience)
    with pytest.raises(StoreError, match=r"s3://bucket/x: config") as caught:
        store.get("config")
    assert "secret" not in str(caught.value)
    with pytest.raises(StoreError, match="listing"):
        list(store.list(""))
    lost = remote_store("s3://nowhere/x", {**options, "endpoint": s3_endpoint}, patience)
    with pytest.raises(StoreError):
        lost.create("config", b"x")


async def test_a_store_that_fails_now_and_then_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, s3_endpoint: str
) -> None:
    """A request that fails is made again; what was stored by the first attempt counts."""
    del s3_endpoint  # starts obstore's threads
    store = remote_store("memory://", {}, Patience(attempts=3, pause_s=0.0))
    calls = []
    right = obstore.put

    def flaky(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) % 3:
            raise exceptions.GenericError("connection reset")
        return right(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(obstore, "put", flaky)
    assert store.create("a", b"x")
    assert len(calls) == 3
    assert not store.create("a", b"y")


async def test_requests_that_take_long_hold_up_nobody_else() -> None:
    """While one chunk waits for the store, others are put, and the event loop runs."""
    store = DictStore()
    new_repository(store)
    gate, waiting = threading.Event(), threading.Event()

    def slow(operation: str, name: str) -> None:
        if operation == "create" and name.startswith("chunks/") and not waiting.is_set():
            waiting.set()
            gate.wait()

    async with opened(store) as repository, repository.session("vm") as session:
        disk = await session.add_disk(key="1", name="disk", capacity=2 << 18)
        store.before = slow
        first = threading.Thread(target=disk.put, args=(0, b"a" * (1 << 18)))
        first.start()
        waiting.wait()
        disk.put(1, b"b" * (1 << 18))
        await session.heartbeat()
        gate.set()
        first.join()
        snapshot = await session.commit()
        assert snapshot.disks[0].stats.new == 2 << 18


def test_what_is_replaced_need_not_be_there(store: Store) -> None:
    """Nor its folder: what a check puts aside goes where nothing was before."""
    store.replace("a/new/folder/object", b"data")
    assert bytes(store.get("a/new/folder/object")) == b"data"


def test_a_replacement_that_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the object stays as it was, and no unfinished file takes more of the room."""
    store = open_store(tmp_path, create=True)
    store.create("folder/object", b"old")

    def full(fd: int, data: Buffer) -> None:
        os.write(fd, memoryview(data)[:1])
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(local_module, "_write", full)
    with pytest.raises(StoreFullError):
        store.replace("folder/object", b"new")
    store.close()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["object"]
    assert (tmp_path / "folder" / "object").read_bytes() == b"old"


def test_a_probe_whose_answer_was_lost_passes() -> None:
    """The store made the object, and the second attempt finds it there: of that name, it can only be ours."""
    probe(Forgetful("probe/"))


class Forgetful(DictStore):
    """Makes an object, loses its answer, and says that it was there when it is asked again."""

    def __init__(self, start: str) -> None:
        """Do so with the first object whose name begins with ``start``."""
        super().__init__()
        self.start = start

    def create(self, name: str, data: Buffer, *, stable: bool = False) -> bool:
        """As ``Store.create``."""
        made = super().create(name, data, stable=stable)
        if name.startswith(self.start):
            self.start = "-"
            return False
        return made


async def test_a_repository_whose_making_was_answered_late_can_be_opened() -> None:
    """The configuration is ours though the store says that it was there: its key stays."""
    store = Forgetful("config")
    new_repository(store, "password")
    async with opened(store, "password") as repository:
        assert len(await repository.keys()) == 1


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_a_server_of_s3_may_be_named_by_the_environment(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """As Amazon's own programs read it; one without TLS, too."""
    for name, value in (
        (variable, s3_endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    store = open_store(s3_place(s3_endpoint).url)
    assert store.create("chunks/a", b"data")
    assert bytes(store.get("chunks/a")) == b"data"
    store.close()
