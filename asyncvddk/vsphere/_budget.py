"""How many disks are read at once from a host, a datastore, a vCenter: as many as they bear, and fairly."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from asyncvddk.errors import NativeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB: Final = 1 << 20

SHORT: Final = frozenset({2, 3011, 14009, 14015, 18000})
"""Codes by which a host says that it bears no more: memory, refused connections, sessions lost, no answer."""

_PATIENCE: Final = 64
"""So often others may pass one that waits; then what it needs is kept for it."""

_logger = structlog.get_logger()

Place: TypeAlias = tuple[str, str]
"""Kind and name of what is limited, as ``("host", "esx1.test")``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """What is borne. A host's figures are those of all clients together: leave some for others."""

    per_host: int = 4
    """Disks of one ESXi host at once, to begin with."""
    per_host_most: int = 8
    """The same after all went well for a while."""
    host_memory: int = 48 * MIB
    """Bytes that a host has for transfers (NFC): 48 MiB of ESXi 6 and 7, 96 MiB of ESXi 8, less what others use."""
    disk_memory: int = 4 * MIB
    """Bytes of it that a disk takes: size times number of its buffers."""
    per_datastore: int = 8
    per_vcenter: int = 32
    total: int = 32
    machines_per_host: int = 4
    """Machines of one host that have a snapshot of ours at once."""
    recover_after: int = 8
    """Disks that must go well before a host that was short gets one more."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name in self.__dataclass_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")

    @property
    def host_most(self) -> int:
        """Disks of a host at once, whatever happens."""
        return max(1, min(max(self.per_host, self.per_host_most), self.host_memory // self.disk_memory))


@dataclass(slots=True, eq=False)
class _Waiting:
    places: tuple[Place, ...]
    granted: asyncio.Future[None]
    passed: int = 0


@dataclass(slots=True)
class _Host:
    limit: int
    well: int = 0
    """Disks that went well since the limit was changed."""


@dataclass(slots=True)
class Lease:
    """A disk's part of the budget."""

    host: str
    short: bool = field(default=False, init=False)

    def failed(self, error: BaseException) -> None:
        """Tell what went wrong: if the host bears no more, fewer of its disks are read at once from now on."""
        self.short = self.short or is_short(error)


def is_short(error: BaseException) -> bool:
    """Tell whether an error says that a host bears no more."""
    return isinstance(error, NativeError) and error.code in SHORT


class Budget:
    """Gives out parts of the budget, first come, first served, but nobody waits for what others wait for.

    Give one object to all that runs at once in a process. Belongs to one event loop.
    """

    def __init__(self, limits: BudgetLimits | None = None) -> None:
        """Begin with nothing given out."""
        self.limits = limits or BudgetLimits()
        self._used: Counter[Place] = Counter()
        self._peak: Counter[Place] = Counter()
        self._hosts: dict[str, _Host] = {}
        self._waiting: list[_Waiting] = []

    def limit(self, place: Place) -> int:
        """Return how many are given out for a place at most, now."""
        kind, name = place
        limits = self.limits
        if kind == "host":
            return self._host(name).limit
        fixed = {
            "datastore": limits.per_datastore,
            "vcenter": limits.per_vcenter,
            "machines": limits.machines_per_host,
        }
        return fixed.get(kind, limits.total)

    @property
    def used(self) -> dict[Place, int]:
        """How many are given out, by place."""
        return {place: count for place, count in self._used.items() if count}

    @property
    def peak(self) -> dict[Place, int]:
        """How many were given out at once at most, by place."""
        return dict(self._peak)

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            self._hosts[name] = _Host(min(self.limits.per_host, self.limits.host_most))
        return self._hosts[name]

    @asynccontextmanager
    async def machine(self, host: str | None) -> AsyncIterator[None]:
        """Wait until a machine of a host may have a snapshot, and let it have one in the block."""
        async with self._given((("machines", host or ""),)):
            yield

    @asynccontextmanager
    async def disk(self, *, vcenter: str, host: str | None, datastore: str) -> AsyncIterator[Lease]:
        """Wait until a disk may be read, and let it be in the block. Errors of the block are taken note of."""
        lease = Lease(host or "")
        places = (("host", lease.host), ("datastore", datastore), ("vcenter", vcenter), ("total", ""))
        async with self._given(places):
            try:
                yield lease
            except BaseException as error:
                lease.failed(error)
                raise
            finally:
                self._learn(lease)

    def _learn(self, lease: Lease) -> None:
        host = self._host(lease.host)
        if lease.short:
            lower = max(1, min(host.limit, self._used["host", lease.host]) // 2)
            if lower < host.limit:
                _logger.warning("host_short", host=lease.host, disks_at_once=lower, before=host.limit)
            host.limit, host.well = min(host.limit, lower), 0
            return
        host.well += 1
        if host.well >= self.limits.recover_after and host.limit < self.limits.host_most:
            host.limit, host.well = host.limit + 1, 0

    @asynccontextmanager
    async def _given(self, places: tuple[Place, ...]) -> AsyncIterator[None]:
        waiting = _Waiting(places, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._give()
        try:
            await waiting.granted
        except BaseException:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._give()  # what was kept for this one
            else:
                self._return(places)
            raise
        try:
            yield
        finally:
            self._return(places)

    def _return(self, places: tuple[Place, ...]) -> None:
        self._used.subtract(places)
        self._give()

    def _give(self) -> None:
        """Give to all that can be given to, in the order in which they came."""
        kept: set[Place] = set()
        passed: list[_Waiting] = []
        for waiting in list(self._waiting):
            if any(place in kept or self._used[place] >= self.limit(place) for place in waiting.places):
                passed.append(waiting)
                if waiting.passed >= _PATIENCE:
                    kept.update(waiting.places)
                continue
            self._waiting.remove(waiting)
            self._used.update(waiting.places)
            for place in waiting.places:
                self._peak[place] = max(self._peak[place], self._used[place])
            for one in passed:
                one.passed += 1
            if not waiting.granted.done():
                waiting.granted.set_result(None)
