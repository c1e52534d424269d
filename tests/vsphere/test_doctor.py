"""What the examination of a vCenter says of things that the bench cannot have."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk._health import Health
from asyncvddk.vsphere import MachineSnapshot, Obstacle, _doctor, machines

if TYPE_CHECKING:
    from asyncvddk.vsphere import VirtualMachine, VSphere


@pytest.mark.parametrize(
    ("library", "server", "health"),
    [
        ("8.0.1", "8.0.3", Health.OK),
        ("8.0.1", "6.7.0", Health.OK),
        ("8.0.1", "6.5.0", Health.WARN),
        ("8.0.1", "9.0.0", Health.OK),
        ("7.0.3", "9.0.0", Health.WARN),
        ("6.5.0", "6.7.0", Health.OK),
        (None, "8.0.0", Health.WARN),
    ],
)
def test_releases_fit_two_back_and_one_ahead(library: str | None, server: str, health: Health) -> None:
    """Of 6.5, 6.7, 7.0, 8.0, 9.0."""
    assert _doctor._versions(server, library or "").health is health


async def test_a_host_is_looked_for_by_its_name_and_port() -> None:
    """Unknown, closed, open."""
    assert "not known" in (await _doctor._host("no-such-host.invalid", 902)).text
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert (await _doctor._host("127.0.0.1", port)).health is Health.OK
    closed = await _doctor._host("127.0.0.1", port)
    assert (closed.health, f"port {port} cannot be reached" in closed.text) == (Health.FAIL, True)


async def test_machines_with_too_many_snapshots_or_out_of_reach_are_named(vsphere: VSphere) -> None:
    """The first five of them."""
    one, *_ = await machines(vsphere)

    def said(**changes: object) -> dict[str, str]:
        changed: VirtualMachine = dataclasses.replace(one, **{"tracking": True} | changes)  # type: ignore[arg-type]
        return {finding.subject: finding.text for finding in _doctor._machines([changed] * 7)}

    assert "7: all tracked" in said()["machines"]
    assert said(connection="disconnected")["machines"].endswith("and 2 more")
    theirs = MachineSnapshot(moref="s", name="x", description="", created=0, quiesced=False, manifest=False)
    some = said(snapshots=(theirs,) * 3)["snapshots"]
    assert some.startswith("some exist on")
    assert "(3)" in some
    assert said(snapshots=(theirs,) * 28)["snapshots"].startswith("too many")
    assert "cannot be tracked" in said(tracking=False, tracking_possible=False)["changed blocks"]


async def test_what_backups_left_and_what_stops_them_is_told_apart(vsphere: VSphere) -> None:
    """A snapshot of ours is for cleanup; a disk that keeps its machine from having snapshots is a failure."""
    one, *_ = await machines(vsphere)
    ours = MachineSnapshot(moref="s", name="asyncvddk-1", description="", created=0, quiesced=False, manifest=False)
    shared = dataclasses.replace(one.disks[0], obstacle=Obstacle.MULTI_WRITER)
    alone = dataclasses.replace(one.disks[0], obstacle=Obstacle.INDEPENDENT)
    left = dataclasses.replace(one, tracking=True, snapshots=(ours,), disks=(shared, alone))
    found = {(finding.subject, finding.health): finding for finding in _doctor._machines([left])}
    assert "cleanup" in next(finding.advice for finding in _doctor._machines([left]) if "of backups" in finding.text)
    assert found["disks", Health.FAIL].advice == Obstacle.MULTI_WRITER.value
    assert found["disks", Health.WARN].advice == Obstacle.INDEPENDENT.value


class Denying:
    """The server's managers, of which one denies the removal of snapshots."""

    def __init__(self, content: Any) -> None:  # noqa: ANN401  (pyVmomi's)
        """Stand in for ``content``."""
        self._content = content
        self.authorizationManager = self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Return the others."""
        return getattr(self._content, name)

    @staticmethod
    def HasPrivilegeOnEntity(thing: object, session: str, names: list[str]) -> list[bool]:  # noqa: N802
        """Answer."""
        del thing, session
        return [name != "VirtualMachine.State.RemoveSnapshot" for name in names]


async def test_privileges_that_are_missing_are_named(vsphere: VSphere, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with the objects that lack it."""
    found = await machines(vsphere)
    monkeypatch.setattr(vsphere, "_content", Denying(vsphere.content))
    (finding,) = [finding async for finding in _doctor._privileges(vsphere, found)]
    assert finding.subject == "privilege VirtualMachine.State.RemoveSnapshot"
    assert finding.text == "missing on /DC0/vm/db, /DC0/vm/web"
