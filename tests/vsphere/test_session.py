"""A session: whom it talks to, who it is, that it lasts, and what a task's end is."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk import Secret
from asyncvddk.vsphere import CertificateError, FaultError, LoginError, ObjectGoneError, ServerConnectionError, VSphere
from asyncvddk.vsphere._vim import best_version, moref, vim
from tests.fix_vsphere import PASSWORD, USER
from tests.vsphere.conftest import session_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fix_vsphere import Bench


def with_colons(digits: str) -> str:
    """Return a thumbprint as people write it."""
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()


@pytest.mark.parametrize("form", [str, str.upper, with_colons])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_a_pinned_thumbprint_is_enough(bench: Bench, algorithm: str, form: Callable[[str], str]) -> None:
    """SHA-1 or SHA-256, in any form; VDDK gets the SHA-1 of the certificate that was checked."""
    async with session_at(bench, thumbprint=form(getattr(bench, algorithm))) as session:
        assert session.about.vcenter
        assert session.thumbprint == with_colons(bench.sha1)
        assert session.connect_params("vm-7").thumbprint == with_colons(bench.sha1)


async def test_another_certificate_is_refused_before_the_password_is_sent(bench: Bench) -> None:
    """On each of a session's connections; neither is one trusted that no authority signed."""
    for wrong in ({"thumbprint": "00" * 20}, {"thumbprint": "ab" * 32}, {"thumbprint": None}):
        with pytest.raises(CertificateError):
            async with session_at(bench, **wrong):
                pass
    assert bench.calls() == []


async def test_every_connection_is_checked(bench: Bench, vsphere: VSphere) -> None:
    """Not only the first one: a certificate that changes later is noticed."""
    stub = vsphere._stub
    held = [stub.GetConnection() for _ in list(stub.pool)]  # those that are open, and were checked
    vsphere._certificate._thumbprint = with_colons("00" * 20)
    with pytest.raises(CertificateError):
        await vsphere.call(vsphere.service.CurrentTime, what="ask")
    for connection in held:
        stub.ReturnConnection(connection)
    await vsphere.call(vsphere.service.CurrentTime, what="ask")
    assert bench.calls("Login")


async def test_an_authority_vouches_for_the_server(bench: Bench, tmp_path: Path) -> None:
    """With its file, for the name that was asked for; a thumbprint besides must hold, too."""
    file = tmp_path / "ca.pem"
    file.write_text(bench.certificate)
    async with session_at(bench, thumbprint=None, ca_file=file) as session:
        assert session.thumbprint == with_colons(bench.sha1)
    with pytest.raises(CertificateError):
        async with session_at(bench, thumbprint="00" * 20, ca_file=file):
            pass
    with pytest.raises(OSError, match="no certificates of authorities"):
        session_at(bench, ca_file=__file__)


async def test_who_is_refused_is_told_so(bench: Bench) -> None:
    """Without the password, which is in no text of the error."""
    with pytest.raises(LoginError, match="does not accept this user and password") as caught:
        async with session_at(bench, password=Secret("wrong-Secret")):
            pass
    assert "wrong-Secret" not in repr(caught.value) + str(caught.value.__context__)


async def test_a_server_that_is_not_there_is_named() -> None:
    """Nobody listens: an error that says where."""
    with pytest.raises(ServerConnectionError, match=r"127\.0\.0\.1"):
        async with VSphere("127.0.0.1", port=1, user="u", cookie="c", thumbprint="00" * 20):
            pass


@pytest.mark.parametrize(
    ("wrong", "about"),
    [
        ({"user": None}, "credentials"),
        ({"password": None}, "credentials"),
        ({"thumbprint": "abc"}, "thumbprint"),
        ({"port": 70_000}, "port"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(wrong: dict[str, Any], about: str) -> None:
    """Before anything is sent."""
    options: dict[str, Any] = {"user": USER, "password": PASSWORD, **wrong}
    with pytest.raises(ValueError, match=about):
        VSphere("vcenter.test", **options)


async def test_it_logs_out_and_leaves_a_session_of_somebody_else(bench: Bench, vsphere: VSphere) -> None:
    """A cookie's session is not ours to end; ours is ended."""
    cookie = Secret(str(vsphere._stub.sessionId))
    async with session_at(bench, user=None, password=None, cookie=cookie) as other:
        assert await other.call(other.service.CurrentTime, what="ask")
        assert other.connect_params("vm-7").cookie is cookie
    assert bench.calls("Logout") == []
    async with session_at(bench):
        pass
    assert len(bench.calls("Logout")) == 1
    assert await vsphere.call(vsphere.service.CurrentTime, what="ask")


async def test_an_expired_session_is_made_again_once(bench: Bench, vsphere: VSphere) -> None:
    """However many calls notice it; each of them is repeated and none fails."""
    await vsphere.call(vsphere.service.CurrentTime, what="ask")
    bench.forget_calls()
    bench.expire_sessions()
    times = await asyncio.gather(*(vsphere.call(vsphere.service.CurrentTime, what="ask") for _ in range(6)))
    assert len(times) == 6
    assert len(bench.calls("Login")) == 1


async def test_a_password_that_is_refused_is_not_tried_again_and_again(bench: Bench, vsphere: VSphere) -> None:
    """Servers lock accounts: of many calls that notice an expired session, one asks, and all get its answer."""
    await vsphere.call(vsphere.service.CurrentTime, what="ask")
    vsphere._password = Secret("changed since")
    bench.forget_calls()
    bench.expire_sessions()
    calls = (vsphere.call(vsphere.service.CurrentTime, what="ask") for _ in range(6))
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in found} == {LoginError}
    assert len(bench.calls("Login")) == 1


async def test_an_expired_cookie_is_told(bench: Bench, vsphere: VSphere) -> None:
    """Nobody can log in with it again."""
    cookie = Secret(str(vsphere._stub.sessionId))
    async with session_at(bench, user=None, password=None, cookie=cookie) as other:
        bench.expire_sessions()
        with pytest.raises(LoginError):
            await other.call(other.service.CurrentTime, what="ask")
    with pytest.raises(LoginError, match="cookie"):
        async with session_at(bench, user=None, password=None, cookie=Secret("no-such-session")):
            pass


async def test_it_is_kept_alive(bench: Bench) -> None:
    """By a request now and then."""
    async with session_at(bench, keep_alive_s=0.001) as session:
        while not bench.calls("CurrentTime"):
            await session.call(lambda: None, what="let others run")


async def test_a_call_that_is_cancelled_is_waited_for(vsphere: VSphere) -> None:
    """The thread is at it until it has ended; the session can be used on."""
    begun, go = threading.Event(), threading.Event()
    ended = []

    def slow() -> None:
        begun.set()
        go.wait(30)
        ended.append(vsphere.service.CurrentTime())

    call = asyncio.ensure_future(vsphere.call(slow, what="be slow"))
    await asyncio.to_thread(begun.wait)
    call.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(ended) == 1
    assert await vsphere.call(vsphere.service.CurrentTime, what="ask")


def snapshot_of(vsphere: VSphere, machine: str) -> Callable[[], object]:
    """Return what starts a snapshot."""
    vm = vsphere.managed(vim.VirtualMachine, machine)
    return lambda: vm.CreateSnapshot_Task(name="one", description="", memory=False, quiesce=False)


async def test_a_task_gives_its_result(bench: Bench, vsphere: VSphere) -> None:
    """Both hooks are told; many at once are watched together."""
    began: list[str] = []
    told: list[str] = []

    async def note(task: str) -> None:
        began.append(task)

    async def tell(result: object) -> None:
        told.append(moref(result))

    starts = [snapshot_of(vsphere, machine) for machine in bench.machines.values()] * 3
    results = await asyncio.gather(*(vsphere.task(start, what="snapshot", began=note, ended=tell) for start in starts))
    assert sorted(moref(result) for result in results) == sorted(told) == sorted(bench.snapshots())
    assert len(set(began)) == 6


async def test_a_task_that_fails_tells_why(bench: Bench, vsphere: VSphere) -> None:
    """With the fault's type; while another task is in progress it is asked for again, but not for ever."""
    machine = bench.machines["web"]
    bench.faults(fail_snapshot=1)
    with pytest.raises(FaultError) as caught:
        await vsphere.task(snapshot_of(vsphere, machine), what="snapshot of web")
    assert (caught.value.fault, caught.value.what) == ("SnapshotFault", "snapshot of web")
    bench.faults(task_in_progress=3)
    await vsphere.task(snapshot_of(vsphere, machine), what="snapshot of web")
    bench.faults(task_in_progress=4)
    with pytest.raises(FaultError, match="TaskInProgress"):
        await vsphere.task(snapshot_of(vsphere, machine), what="snapshot of web")
    assert len(bench.snapshots(machine)) == 1


async def test_a_task_that_is_cancelled_is_waited_for(bench: Bench, vsphere: VSphere) -> None:
    """It runs to its end, and what it made is told to whoever has to remove it."""
    told: list[str] = []
    running = asyncio.Event()

    async def note(_: str) -> None:
        running.set()
        await asyncio.sleep(0)

    async def tell(result: object) -> None:
        told.append(moref(result))

    task = asyncio.ensure_future(
        vsphere.task(snapshot_of(vsphere, bench.machines["web"]), what="snapshot", began=note, ended=tell)
    )
    await running.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == bench.snapshots() != []


async def test_a_task_that_nobody_knows_keeps_no_other_waiting(bench: Bench, vsphere: VSphere) -> None:
    """The server forgets old tasks: then it answers for none of a list."""
    known: list[str] = []

    async def note(task: str) -> None:
        known.append(task)

    await vsphere.task(snapshot_of(vsphere, bench.machines["web"]), what="snapshot", began=note)
    asked = [vsphere.outcome(task, what="an old task") for task in ("task-999999", *known)]
    gone, made = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(gone, ObjectGoneError)
    assert "task-999999" in str(gone)
    assert moref(made) in bench.snapshots()


async def test_files_of_a_datastore_are_read(bench: Bench, vsphere: VSphere) -> None:
    """Those that are there, up to a limit."""
    (bench.folders["ds1"] / "web" / "a b.vmx").write_bytes(b"x" * 100)
    assert await vsphere.read_file("[ds1] web/a b.vmx", "DC0", limit=100) == b"x" * 100
    for path, limit, fault in (("[ds1] web/none.vmx", 100, "HTTP404"), ("[ds1] web/a b.vmx", 99, "TooLarge")):
        with pytest.raises(FaultError, match=fault):
            await vsphere.read_file(path, "DC0", limit=limit)


@pytest.mark.parametrize(
    ("server", "best"),
    [("6.5", "6.5"), ("6.6", "6.5"), ("8.0.1.0", "8.0.1.0"), ("7.0.3.9", "7.0.3.2"), ("5.1", "5.5"), ("", "5.5")],
)
def test_the_newest_interface_that_both_know_is_spoken(server: str, best: str) -> None:
    """By numbers, not by letters; very old servers get the oldest that we speak."""
    assert best_version(server) == best_version(best)
