"""Tasks on the server, all of a session watched together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from asyncvddk.vsphere._calls import fault_error
from asyncvddk.vsphere.errors import FaultError, ObjectGoneError, ServerConnectionError, VSphereError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncvddk.vsphere._vim import Managed

FIRST_LOOK_S: Final = 0.02
LAST_LOOK_S: Final = 1.0
OUTAGE_S: Final = 900.0
"""For so long a server may be away while tasks run there."""
_OUTAGE_LOOK_S: Final = 5.0

_logger = structlog.get_logger()


class TaskWatch:
    """Looks at all tasks under way with one question to the PropertyCollector, often at first, then once a second.

    So a session needs one request at a time for them, however many run, and keeps nothing on the server: what a new
    login would have to make again (as the filters that WaitForUpdatesEx needs).
    """

    def __init__(self, ask: Callable[[list[str]], Awaitable[dict[str, Managed]]]) -> None:
        """Take what asks the server for the states of tasks (TaskInfo); nothing runs before there is one."""
        self._ask = ask
        self._pending: dict[str, tuple[asyncio.Future[Managed], str]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._new = asyncio.Event()

    async def outcome(self, task: str, what: str) -> Managed:
        """Return the result of a task, by its identifier; ``what`` names it. Raises FaultError and others."""
        future, _ = self._pending.setdefault(task, (asyncio.get_running_loop().create_future(), what))
        self._new.set()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        return await asyncio.shield(future)

    async def aclose(self) -> None:
        """Stop watching. Nobody waits any more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        delay, away_s = FIRST_LOOK_S, 0.0
        while self._pending:
            if self._new.is_set():
                self._new.clear()
                delay = FIRST_LOOK_S
            try:
                await self._look()
                away_s = 0.0
            except ServerConnectionError as error:
                away_s += _OUTAGE_LOOK_S
                if away_s >= OUTAGE_S:
                    self._fail(error)
                    return
                _logger.warning("server_away", reason=str(error), effect="tasks run on; looked for again")
                await asyncio.sleep(_OUTAGE_LOOK_S)
                continue
            except Exception as error:  # noqa: BLE001  (whoever waits gets it)
                self._fail(error)
                return
            await self._pause(delay)
            delay = min(2 * delay, LAST_LOOK_S)

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._new.wait()
        except TimeoutError:
            pass

    async def _look(self) -> None:
        """Ask for the state of all, and tell those that ended."""
        tasks = list(self._pending)
        try:
            await self._look_at(tasks)
        except ObjectGoneError:  # one of them, so the server answers for none
            for task in tasks:
                try:
                    await self._look_at([task])
                except FaultError as error:
                    self._end(task, error)

    async def _look_at(self, tasks: list[str]) -> None:
        for task, info in (await self._ask(tasks)).items():
            self._tell(task, info)

    def _tell(self, task: str, info: Managed) -> None:
        future, what = self._pending[task]
        if info.state == "success":
            self._pending.pop(task)
            future.set_result(info.result)
        elif info.state == "error":
            self._end(task, fault_error(info.error, what))

    def _end(self, task: str, error: VSphereError) -> None:
        future, _ = self._pending.pop(task)
        future.set_exception(error)

    def _fail(self, error: Exception) -> None:
        pending, self._pending = self._pending, {}
        for future, _ in pending.values():
            future.set_exception(error)
