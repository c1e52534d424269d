"""Passwords, key slots and what an encrypted store shows."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from asyncvddk._secret import Secret
from asyncvddk.errors import ClosedError
from asyncvddk.repository import (
    Argon2Cost,
    DamagedError,
    KeySlotError,
    Repository,
    WrongPasswordError,
)
from asyncvddk.repository.format._crypto import Keys, Kind
from asyncvddk.repository.format._keyslots import KeySlot
from asyncvddk.repository.format._manifests import Config, read_text, write_text
from tests.repository.faults import DictStore
from tests.repository.helpers import CHEAP, CHUNK, PASSWORD, back_up, new_repository, opened, restored

if TYPE_CHECKING:
    from pathlib import Path


async def opens(store: DictStore, password: str | None) -> bool:
    """Tell whether a password opens the repository."""
    try:
        async with opened(store, password):
            return True
    except WrongPasswordError:
        return False


async def test_only_the_right_password_opens() -> None:
    """Wrong, missing and superfluous passwords are refused, each with what to do."""
    store = DictStore()
    new_repository(store, PASSWORD)
    assert await opens(store, PASSWORD)
    assert not await opens(store, PASSWORD + " ")
    with pytest.raises(WrongPasswordError, match="give a password"):
        async with opened(store, None):
            pass
    plain = DictStore()
    new_repository(plain)
    with pytest.raises(WrongPasswordError, match="not encrypted"):
        async with opened(plain, PASSWORD):
            pass


async def test_passwords_are_added_changed_and_removed() -> None:
    """Every password that has a slot opens all data; the last slot stays."""
    store = DictStore()
    new_repository(store, PASSWORD)
    async with opened(store, PASSWORD) as repository:
        snapshot = await back_up(repository, b"data")
        (first,) = await repository.keys()
        second = await repository.add_key(PASSWORD, Secret("second"), cost=CHEAP)
        assert await repository.keys() == [first, second]
        third = await repository.change_password("second", "third", cost=CHEAP)
        assert [await opens(store, word) for word in (PASSWORD, "second", "third")] == [True, False, True]
        with pytest.raises(WrongPasswordError):
            await repository.add_key("second", "fourth", cost=CHEAP)
        with pytest.raises(ValueError, match="empty"):
            await repository.add_key(PASSWORD, "", cost=CHEAP)
        await repository.remove_key(first.id)
        assert [await opens(store, word) for word in (PASSWORD, "third")] == [False, True]
        with pytest.raises(KeySlotError, match="last"):
            await repository.remove_key(third.id)
        with pytest.raises(KeySlotError, match="no such"):
            await repository.remove_key(first.id)
    async with opened(store, "third") as repository:
        assert await restored(repository, snapshot) == b"data"


async def test_a_slot_of_another_repository_or_of_another_configuration_does_not_open() -> None:
    """Slots are bound to the configuration: nobody changes it, or plants a key of their own."""
    store, other = DictStore(), DictStore()
    new_repository(store, PASSWORD)
    new_repository(other, PASSWORD)
    (slot,) = [name for name in other.objects if name.startswith("keys/")]
    stolen = DictStore(objects={"config": store.objects["config"], slot: other.objects[slot]})
    assert not await opens(stolen, PASSWORD)
    config = read_text("config", store.objects["config"], Config)
    changed = Config(**{**{name: getattr(config, name) for name in config.__struct_fields__}, "chunk_size": 1 << 22})
    assert not await opens(DictStore(objects={**store.objects, "config": write_text(changed)}), PASSWORD)


async def test_encryption_cannot_be_switched_off_behind_the_users_back() -> None:
    """A store that says it is plain now does not get plain data from somebody who gives a password."""
    store = DictStore()
    new_repository(store, PASSWORD)
    config = read_text("config", store.objects["config"], Config)
    plain = Config(**{**{name: getattr(config, name) for name in config.__struct_fields__}, "encryption": "none"})
    store.objects["config"] = write_text(plain)
    assert not await opens(store, PASSWORD)


async def test_a_slot_that_would_eat_the_machine_is_refused() -> None:
    """Costs come from the store: one that asks for terabytes is damage, not a reason to fall over."""
    store = DictStore()
    new_repository(store, PASSWORD)
    (name,) = [name for name in store.objects if name.startswith("keys/")]
    slot = read_text(name, store.objects[name], KeySlot)
    hostile = KeySlot(slot.id, slot.created, Argon2Cost(memory_kib=1 << 30), slot.salt, slot.wrapped)
    store.objects[name] = write_text(hostile)
    with pytest.raises(DamagedError, match="4 GiB"):
        async with opened(store, PASSWORD):
            pass
    with pytest.raises(ValueError, match="iterations"):
        await Repository.init(DictStore(), password="x", cost=Argon2Cost(iterations=0))  # noqa: S106
    with pytest.raises(ValueError, match="empty"):
        await Repository.init(DictStore(), password="")


async def test_lost_key_slots_are_told_from_a_wrong_password() -> None:
    """Without any slot nothing opens, and the error says why."""
    store = DictStore()
    new_repository(store, PASSWORD)
    store.objects = {name: data for name, data in store.objects.items() if not name.startswith("keys/")}
    with pytest.raises(DamagedError, match="gone"):
        async with opened(store, PASSWORD):
            pass


async def test_an_encrypted_store_shows_nothing_of_what_it_holds(tmp_path: Path) -> None:
    """Neither contents nor names, tags, hosts or configurations are in any object, or in the name of one."""
    secrets = [
        b"contents of a file",
        b"database-server",
        b"nightly-tag",
        b"some-host",
        b"configuration of",
        b"disk-name",
    ]
    await Repository.init(tmp_path / "r", password=PASSWORD, level=0, cost=CHEAP, chunk_size=CHUNK)
    async with Repository.open(tmp_path / "r", password=PASSWORD, cache=tmp_path / "cache") as repository:
        async with repository.session("database-server", host="some-host") as session:
            disk = await session.add_disk(key="disk-key", name="disk-name", capacity=CHUNK, uuid="uuid-of-disk")
            disk.put(0, b"contents of a file".ljust(CHUNK, b"."))
            await session.heartbeat()
            seen = [path for path in tmp_path.rglob("*") if path.is_file()]
            assert len(seen) > 5
            leaks = [
                (path, word) for path in seen for word in secrets if word in path.read_bytes() + str(path).encode()
            ]
            config = await session.put_blob(b"configuration of the machine")
            snapshot = await session.commit(config=config, tags=["nightly-tag"])
        await repository.forget([snapshot])
        await repository.gc(trash_s=0)
        seen = [path for path in tmp_path.rglob("*") if path.is_file()]
        leaks += [(path, word) for path in seen for word in secrets if word in path.read_bytes() + str(path).encode()]
    assert leaks == []


async def test_equal_data_is_stored_differently_each_time() -> None:
    """Ids and contents depend on the key, and each object has a key of its own: nothing can be compared."""
    stores = [DictStore(), DictStore()]
    for store in stores:
        new_repository(store, PASSWORD)
        async with opened(store, PASSWORD) as repository:
            await back_up(repository, b"x" * CHUNK)
    names = [{name for name in store.objects if name.startswith(("chunks/", "meta/"))} for store in stores]
    assert not names[0] & names[1]
    keys = Keys(bytes(32), encrypted=True)
    assert keys.seal(1, "name", b"x", level=0) != keys.seal(1, "name", b"x", level=0)  # type: ignore[arg-type]


async def test_keys_and_passwords_are_in_no_log_and_no_representation() -> None:
    """Neither printing, pickling nor logging gives a key away, and errors repeat no password."""
    store = DictStore()
    with capture_logs() as logs:
        new_repository(store, PASSWORD)
        async with opened(store, PASSWORD) as repository:
            await repository.forget([await back_up(repository, b"data")])
            await repository.gc(trash_s=0)
            keys = repository._vault.keys
            shown = [repr(keys), str(keys), repr(await repository.keys()), repr(repository.config), repr(logs)]
            with pytest.raises(WrongPasswordError) as caught:
                await repository.add_key("wrong password", "new password")
            shown += [str(caught.value), repr(caught.value)]
    (slot,) = [read_text(name, data, KeySlot) for name, data in store.objects.items() if name.startswith("keys/")]
    for secret in (PASSWORD, "wrong password", "new password", repr(slot.wrapped), slot.wrapped.hex()):
        assert not [text for text in shown if secret in text]
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(keys)


def test_wiped_keys_are_gone() -> None:
    """Closing a repository overwrites the keys in memory; nothing goes on with zeros for a key."""
    keys = Keys(b"m" * 32, encrypted=True)
    sealed = keys.seal(Kind.CHUNK, "name", b"data", level=1)
    keys.wipe()
    for use in (
        lambda: keys.chunk_id(b"x"),
        lambda: keys.meta_id(b"x"),
        lambda: keys.hidden("x"),
        lambda: keys.seal(Kind.CHUNK, "name", b"data", level=1),
        lambda: keys.unseal(Kind.CHUNK, "name", sealed, limit=10),
    ):
        with pytest.raises(ClosedError):
            use()
    assert not keys._seal
