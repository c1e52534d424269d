"""A secret is shown nowhere, gives its content on request only, and can be overwritten."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import secrets
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from asyncvddk import ClosedError, Connection, ConnectParams, LibraryConfig, Secret, Vddk
from asyncvddk.native import _log
from tests.fix_memory import copies_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fix_stub import Stub


def test_a_secret_gives_its_text_back() -> None:
    """Any text that UTF-8 holds, made from a str or from bytes."""
    for text in ("", "hunter2", "pässwörd €𝄞\0"):
        assert Secret(text).reveal() == Secret(text.encode()).reveal() == text
        assert bytes(Secret(text).view()) == text.encode()
        assert bool(Secret(text)) == bool(text)


def test_a_secret_is_a_copy_of_the_buffer_it_is_made_from() -> None:
    """Its owner may overwrite the buffer at once."""
    data = bytearray(b"hunter2")
    secret = Secret(data)
    data[:] = bytes(7)
    assert secret.reveal() == "hunter2"


@pytest.mark.parametrize(
    "show",
    [str, repr, "{}".format, "{:>30}".format, "{!s:>30}".format, "%s".__mod__],
    ids=["str", "repr", "format", "format with width", "format as str", "percent"],
)
def test_a_secret_is_never_shown(show: Callable[[object], str]) -> None:
    """Neither printed nor formatted, alone or inside of parameters."""
    params = ConnectParams("vc", vmx_spec="moref=2", user="u", password=Secret("hunter2"), cookie=Secret("hunter2"))
    for thing in (Secret("hunter2"), [Secret("hunter2")], {"a": Secret("hunter2")}, params):
        try:
            assert "hunter2" not in show(thing)
        except (TypeError, ValueError) as exc:  # lists take no format specification, secrets take any
            assert not isinstance(thing, Secret), exc  # noqa: PT017


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy, Secret.__getstate__])
def test_a_secret_is_neither_pickled_nor_copied(how: Callable[[Secret], object]) -> None:
    """The copy would be where nobody overwrites it."""
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        how(Secret("hunter2"))


def test_secrets_are_not_compared_by_their_content() -> None:
    """Equal is the same object only: a comparison would tell the content bit by bit."""
    one, other = Secret("hunter2"), Secret("hunter2")
    assert one == one  # noqa: PLR0124  (its subject)
    assert one != other
    assert len({one, other}) == 2


def test_a_wiped_secret_has_no_content_any_more() -> None:
    """The memory is zeros, and every use says what happened; wiping twice is harmless."""
    secret = Secret("hunter2")
    view = secret.view()
    secret.wipe()
    secret.wipe()
    assert bytes(view) == bytes(7)
    assert (secret.wiped, bool(secret)) == (True, False)
    for use in (secret.reveal, secret.view):
        with pytest.raises(ValueError, match="was wiped"):
            use()


def test_a_secret_is_wiped_at_the_end_of_its_block_and_of_its_life() -> None:
    """Also when the block fails; and nobody can need it when no reference is left."""
    secret = Secret("hunter2")
    view = secret.view()
    with pytest.raises(ZeroDivisionError), secret:
        raise ZeroDivisionError
    assert bytes(view) == bytes(7)
    forgotten = Secret("hunter2").view()
    gc.collect()
    assert bytes(forgotten) == bytes(7)


def test_wiping_parameters_wipes_all_their_secrets() -> None:
    """The owner's way to end it."""
    params = ConnectParams(
        "vc", vmx_spec="moref=2", user="u", password=Secret("a"), cookie=Secret("b"), key=Secret("c")
    )
    params.wipe()
    given = (params.password, params.cookie, params.key)
    assert all(secret is not None and secret.wiped for secret in given)
    ConnectParams("vc", vmx_spec="moref=2", cookie=Secret("b")).wipe()


@pytest.mark.parametrize(
    "make", [lambda: Secret("hunter2\ud800"), lambda: Secret(b"hunter2\xff").reveal()], ids=["encoding", "decoding"]
)
def test_an_encoding_error_does_not_show_the_text(make: Callable[[], object]) -> None:
    """Python's own error would carry it."""
    with pytest.raises(ValueError, match="UTF-8") as caught:
        make()
    assert not isinstance(caught.value, UnicodeError)
    assert caught.value.__suppress_context__
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("wrong", [7, None, ["a"]])
def test_only_text_and_bytes_are_secrets(wrong: object) -> None:
    """A number would make so many zeros."""
    with pytest.raises(TypeError):
        Secret(wrong)  # type: ignore[arg-type]


async def use_everything(folder: Path, secret: Secret, config_secret: Secret) -> None:
    """Log in with the secret by all ways, on a server that asks for it."""
    config = LibraryConfig(
        tmp_directory=folder,
        extra={
            f"openEngine.datastore.{folder.name}": folder,
            "openEngine.password": config_secret,
            "openEngine.user": "u",
        },
    )
    params = ConnectParams("vc", vmx_spec="moref=vm-1", user="u", password=secret)
    session = ConnectParams("vc", vmx_spec="moref=vm-1", user="u", cookie=secret, key=secret)
    async with Vddk(config=config) as vddk:
        await vddk.cleanup(params)
        async with vddk.access(params), vddk.connect(params) as one, vddk.connect(session) as two:
            for connection in (one, two):
                found = await connection.connect_params()
                assert found is not None
                found.wipe()


async def test_a_call_that_was_given_up_keeps_what_it_may_still_read(stub: Stub) -> None:
    """A library that hangs in ConnectEx has pointers to the password: it is neither freed nor overwritten."""
    params = ConnectParams("vc", vmx_spec="moref=2", user="u", password=Secret("hunter2"))
    async with Vddk(stub.root) as vddk:
        with stub.gate("ConnectEx") as gate:
            connecting = asyncio.ensure_future(vddk.connect(params)._open())
            await gate.arrival()
            (connection,) = vddk._live
            assert isinstance(connection, Connection)
            connection._calls.worker.abandon("it hangs")
            with pytest.raises(ClosedError, match="it hangs"):
                await connecting
            native = connection._params._native
            assert native is not None
            kept = native.struct.serverName, [secret.value for secret in native._secrets]
            gate.release()
    assert kept == (b"vc", [b"hunter2"])
    _log.show(native._hidden[0])


async def test_a_lock_that_is_given_up_while_it_is_idle_overwrites_its_copies(stub: Stub) -> None:
    """No call has pointers to them."""
    params = ConnectParams("vc", vmx_spec="moref=2", user="u", password=Secret("hunter2"))
    async with Vddk(stub.root) as vddk:
        access = await vddk.access(params)
        native = access._params._native
        assert native is not None
        (copy_,) = native._secrets
        access._calls.worker.abandon("given up")
        await access.aclose()
    assert copy_.raw == bytes(8)


async def test_a_closed_connection_has_overwritten_its_copies(stub: Stub) -> None:
    """The owner's own secret stays, so that he can connect again."""
    params = ConnectParams("vc", vmx_spec="moref=2", user="u", password=Secret("hunter2"))
    async with Vddk(stub.root) as vddk:
        async with vddk.connect(params) as connection:
            native = connection._params._native
            assert native is not None
            (copy_,) = native._secrets
            assert copy_.value == b"hunter2"
        assert copy_.raw == bytes(8)
        async with vddk.connect(params):
            pass


@pytest.mark.skipif("ASYNCVDDK_TEST_ENGINE" in os.environ, reason="sanitizers keep what Python itself has freed")
async def test_no_copy_of_a_secret_is_left_in_memory(tmp_path: Path) -> None:
    """After the connections are closed and its owner has wiped it: not here, not in the library, not in the log."""
    wanted = secrets.token_hex(100).encode()
    tail = wanted[-64:]  # the allocator itself overwrites the beginning of what is freed
    before = copies_in_memory(tail)
    with capture_logs() as logs, Secret(wanted) as secret, Secret(wanted) as config_secret:
        assert copies_in_memory(tail) - before  # the search finds what there is
        await use_everything(tmp_path, secret, config_secret)
        assert secret.reveal().encode() == wanted
    gc.collect()
    assert wanted.decode() not in repr(logs)
    left = copies_in_memory(tail) - before
    assert left == set()
