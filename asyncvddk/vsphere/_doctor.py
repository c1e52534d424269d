"""What stands in the way of backups at a vCenter: names, ports, privileges, versions, machines."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Final

from asyncvddk._health import Finding, fail, ok, warn
from asyncvddk.vsphere._machines import STOPS_SNAPSHOTS, Obstacle
from asyncvddk.vsphere._snapshots import PREFIX
from asyncvddk.vsphere._vim import Managed, numbers, vim
from asyncvddk.vsphere.errors import VSphereError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from asyncvddk.vsphere._machines import VirtualMachine
    from asyncvddk.vsphere._session import VSphere

NFC_PORT: Final = 902
_PATIENCE_S: Final = 5.0
_SKEW_S: Final = 300.0
_MANY_SNAPSHOTS: Final = 28
"""A chain has at most 32; backups need one, and consolidation some."""
_NAMED: Final = 5

_RELEASES: Final = ((6, 5), (6, 7), (7, 0), (8, 0), (9, 0))
_OLDER, _NEWER = 2, 1
"""How many releases older and newer a server may be than the library (Broadcom's compatibility statement for VDDK)."""

PRIVILEGES: Final = {
    "VirtualMachine": (
        "VirtualMachine.Provisioning.DiskRandomRead",
        "VirtualMachine.Provisioning.DiskRandomAccess",
        "VirtualMachine.Provisioning.GetVmFiles",
        "VirtualMachine.State.CreateSnapshot",
        "VirtualMachine.State.RemoveSnapshot",
        "VirtualMachine.Config.ChangeTracking",
        "VirtualMachine.Config.DiskLease",
    ),
    "Datastore": ("Datastore.Browse", "Datastore.FileManagement"),
    "Folder": ("Global.EnableMethods", "Global.DisableMethods"),
}
"""What the user needs on each machine, on each datastore, and on the root folder (VDDK programming guide)."""
ENCRYPTED: Final = "Cryptographer.Access"
"""And this for encrypted machines."""


async def examine(
    vsphere: VSphere, machines: Sequence[VirtualMachine], *, library: str | None, nfc_port: int = NFC_PORT
) -> AsyncIterator[Finding]:
    """Look at server, hosts, privileges and machines, and yield what is found, one after the other.

    ``library``: version of the loaded VDDK (``Vddk.version``). Changes nothing. Raises ServerConnectionError.
    """
    yield ok("server", f"{vsphere.about.name} {vsphere.about.version} answers, its certificate was checked")
    yield _versions(vsphere.about.version, library)
    yield await _clock(vsphere)
    for finding in await asyncio.gather(*(_host(host, nfc_port) for host in _hosts(machines))):
        yield finding
    async for finding in _privileges(vsphere, machines):
        yield finding
    for finding in _machines(machines):
        yield finding


def _versions(server: str, library: str | None) -> Finding:
    """Compare the releases of server and library."""
    mine, theirs = _release(library or ""), _release(server)
    if mine is None or theirs is None:
        return warn(
            "versions", f"library {library}, server {server}", "compare them in Broadcom's interoperability matrix"
        )
    if -_NEWER <= mine - theirs <= _OLDER:
        return ok("versions", f"library {library} and server {server} fit")
    newer = "a newer" if mine < theirs else "an older"
    return warn("versions", f"library {library} is not meant for server {server}", f"take {newer} release of VDDK")


def _release(version: str) -> int | None:
    """Return the number of a release, counted from 6.5; None for one that is not known."""
    found = numbers(version)
    fitting = [place for place, release in enumerate(_RELEASES) if found[:1] == release[:1] and found >= release]
    return fitting[-1] if fitting else None


async def _clock(vsphere: VSphere) -> Finding:
    """Compare the clocks of server and this machine: sessions and tokens expire by them."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    now = await vsphere.call(vsphere.service.CurrentTime, what="ask for the time")
    skew = abs(now.timestamp() - time.time()) - (loop.time() - before)
    if skew <= _SKEW_S:
        return ok("clock", "those of the server and of this machine agree")
    return warn("clock", f"it differs by {skew:.0f} s from the server's", "let both follow NTP")


def _hosts(machines: Sequence[VirtualMachine]) -> list[str]:
    return sorted({machine.host for machine in machines if machine.host})


async def _host(name: str, port: int) -> Finding:
    """Look whether a host's name leads somewhere, and whether disks are served there."""
    subject = f"host {name}"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            _, writer = await asyncio.open_connection(name, port)
            writer.close()
    except socket.gaierror as error:
        advice = "add it to DNS, or to /etc/hosts: VDDK connects to each host by the name that vCenter has for it"
        return fail(subject, f"the name is not known here: {error.strerror}", advice)
    except (OSError, TimeoutError) as error:
        reason = str(error) or f"no answer within {_PATIENCE_S:.0f} s"
        return fail(subject, f"port {port} cannot be reached: {reason}", f"let TCP {port} through to the host")
    return ok(subject, f"its name is known, port {port} is open")


async def _privileges(vsphere: VSphere, machines: Sequence[VirtualMachine]) -> AsyncIterator[Finding]:
    """Ask for what the user may do."""
    wanted = {machine.moref: ("VirtualMachine", machine.path) for machine in machines}
    encrypted = {machine.moref for machine in machines if machine.encrypted}

    def ask() -> dict[str, list[str]]:
        content = vsphere.content
        session = content.sessionManager.currentSession.key
        missing: dict[str, list[str]] = {}
        things: list[tuple[Managed, str, tuple[str, ...]]] = [
            (content.rootFolder, "all (root folder)", PRIVILEGES["Folder"])
        ]
        stores: dict[str, Managed] = {}
        for moref, (_, path) in wanted.items():
            thing = vsphere.managed(vim.VirtualMachine, moref)
            names = PRIVILEGES["VirtualMachine"] + ((ENCRYPTED,) if moref in encrypted else ())
            things.append((thing, path, names))
            stores |= {store._moId: store for store in thing.datastore}  # noqa: SLF001
        things += [(store, f"datastore {store.name}", PRIVILEGES["Datastore"]) for store in stores.values()]
        for thing, name, names in things:
            has = content.authorizationManager.HasPrivilegeOnEntity(thing, session, list(names))
            for privilege, given in zip(names, has, strict=True):
                if not given:
                    missing.setdefault(privilege, []).append(name)
        return missing

    try:
        missing = await vsphere.call(ask, what="look at privileges")
    except VSphereError as error:
        yield warn("privileges", f"the server does not tell: {error}", "see the privileges that VDDK's guide names")
        return
    for privilege, names in missing.items():
        yield fail(f"privilege {privilege}", f"missing on {_some(names)}", "add it to a role of the user")
    if not missing:
        yield ok("privileges", f"all that backups need, on {len(machines)} machines and their datastores")


def _machines(machines: Sequence[VirtualMachine]) -> Iterator[Finding]:
    """Look at what snapshots and changed-block tracking need."""
    found = [*_states(machines), *_obstacles(machines)]
    yield from found or [ok("machines", f"{len(machines)}: all tracked, none with snapshots, no disk left out")]


def _states(machines: Sequence[VirtualMachine]) -> Iterator[Finding]:
    """Say what is not as it should be with whole machines."""
    if away := [one.path for one in machines if one.connection != "connected"]:
        yield fail("machines", f"not reachable now: {_some(away)}", "look at their hosts and datastores")
    if untracked := [one.path for one in machines if not one.tracking and one.tracking_possible]:
        advice = "the next backup switches it on; until then all that is allocated is read"
        yield warn("changed blocks", f"not tracked on {_some(untracked)}", advice)
    if old := [one.path for one in machines if not one.tracking_possible]:
        advice = "upgrade their virtual hardware, at least to version 7, while they are off"
        yield warn("changed blocks", f"cannot be tracked on {_some(old)}", advice)
    if ours := [one.path for one in machines if any(snap.name.startswith(PREFIX) for snap in one.snapshots)]:
        advice = "if no backup runs: asyncvddk cleanup, where those backups ran"
        yield warn("snapshots", f"of backups on {_some(ours)}", advice)
    counted = [(f"{one.path} ({len(one.snapshots)})", len(one.snapshots)) for one in machines if one.snapshots]
    if deep := [text for text, count in counted if count >= _MANY_SNAPSHOTS]:
        yield fail("snapshots", f"too many on {_some(deep)}", "remove some: a machine has 32 at most")
    if some := [text for text, count in counted if count < _MANY_SNAPSHOTS]:
        yield warn("snapshots", f"some exist on {_some(some)}", "fine if they are wanted; they grow with every write")


def _obstacles(machines: Sequence[VirtualMachine]) -> Iterator[Finding]:
    """Name the disks that are left out, by reason."""
    found: dict[Obstacle, list[str]] = {}
    for machine in machines:
        for disk in machine.disks:
            if disk.obstacle is not None:
                found.setdefault(disk.obstacle, []).append(f"{machine.path} {disk.label}")
    for obstacle, disks in found.items():
        if obstacle in STOPS_SNAPSHOTS:
            yield fail("disks", f"their machines cannot be backed up: {_some(disks)}", obstacle.value)
        else:
            yield warn("disks", f"left out: {_some(disks)}", obstacle.value)


def _some(names: Sequence[str]) -> str:
    """Return the first few names."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
