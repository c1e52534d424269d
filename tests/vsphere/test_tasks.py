"""Tasks while their server is away: they run on, and are looked for again; not for ever."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk.vsphere import FaultError, ServerConnectionError
from asyncvddk.vsphere._tasks import TaskWatch
from asyncvddk.vsphere._vim import vim

if TYPE_CHECKING:
    from collections.abc import Iterator

AWAY = ServerConnectionError("away")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no look wait for long."""
    monkeypatch.setattr("asyncvddk.vsphere._tasks._OUTAGE_LOOK_S", 0.001)
    monkeypatch.setattr("asyncvddk.vsphere._tasks.OUTAGE_S", 0.0045)
    monkeypatch.setattr("asyncvddk.vsphere._tasks.FIRST_LOOK_S", 0.0001)


class Server:
    """Answers, or is away, as it is told."""

    def __init__(self, *answers: Any) -> None:  # noqa: ANN401  (an error, or the states of tasks)
        """Take what is answered, in order; the last one for ever."""
        self._answers: Iterator[Any] = iter(answers)
        self._last = answers[-1]
        self.watch = TaskWatch(self.ask)

    async def ask(self, tasks: list[str]) -> dict[str, Any]:
        """Answer for some tasks."""
        answer = next(self._answers, self._last)
        if isinstance(answer, Exception):
            raise answer
        return dict.fromkeys(tasks, answer)


def info(state: str, **more: Any) -> SimpleNamespace:  # noqa: ANN401
    """Return the state of a task."""
    return SimpleNamespace(**{"state": state, "result": None, "error": None} | more)


async def test_an_outage_is_outlasted() -> None:
    """A task that ended meanwhile gives its result."""
    server = Server(info("running"), AWAY, AWAY, AWAY, info("queued"), AWAY, AWAY, AWAY, info("success", result=7))
    assert await server.watch.outcome("task-1", "work") == 7
    await server.watch.aclose()


async def test_a_server_that_stays_away_is_an_error_for_all() -> None:
    """Each of those who wait gets it; a later task is looked for again."""
    server = Server(*[AWAY] * 5, info("success", result=1))
    found = await asyncio.gather(
        *(server.watch.outcome(f"task-{number}", "work") for number in range(3)), return_exceptions=True
    )
    assert found == [AWAY] * 3
    assert await server.watch.outcome("task-9", "work") == 1
    await server.watch.aclose()


async def test_a_task_that_failed_tells_its_fault() -> None:
    """Under the name of what was asked."""
    server = Server(info("error", error=vim.fault.SnapshotFault(msg="no")))
    with pytest.raises(FaultError, match="work: SnapshotFault: no"):
        await server.watch.outcome("task-1", "work")
    await server.watch.aclose()


async def test_a_bug_in_asking_keeps_nobody_waiting() -> None:
    """Whatever it is."""
    server = Server(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await server.watch.outcome("task-1", "work")
    await server.watch.aclose()
