"""Runs a command's coroutine: library, signals, errors, exit status."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from asyncvddk._events import configure_before_first
from asyncvddk.cli import _exit
from asyncvddk.cli._output import say
from asyncvddk.cli._text import describe
from asyncvddk.errors import VddkError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from structlog.typing import EventDict

    from asyncvddk.cli._options import Common
    from asyncvddk.disks._library import Vddk

EXPECTED = (OSError, VddkError, ValueError, MemoryError)
"""Errors that say themselves what is wrong; all others are bugs and keep their traceback."""


_STATUS = {
    "RepositoryNotFoundError": _exit.NO_REPOSITORY,
    "RepositoryBusyError": _exit.LOCKED,
    "WrongPasswordError": _exit.WRONG_PASSWORD,
}
"""By name: a command that has nothing to do with repositories does not load what they need."""


def run_with_library(command: Callable[[Vddk], Awaitable[int]], common: Common) -> int:
    """Load the library, await ``command`` with it, and return its exit status, or that of what ended it."""

    async def inside() -> int:
        from asyncvddk.disks._library import Vddk  # noqa: PLC0415  (so that usage errors and --help need no library)

        async with Vddk(libdir=common.libdir, config=common.config) as vddk:
            return await command(vddk)

    return run_command(inside, common)


def run_command(command: Callable[[], Awaitable[int]], common: Common, *, logs: bool = False) -> int:
    """Await ``command`` and return its exit status, or that of what ended it.

    ``logs``: it loads structlog in any case, as all that has to do with repositories does.
    """
    if logs or common.verbose or "structlog" in sys.modules:
        _configure_logs(verbose=common.verbose)
    else:
        configure_before_first(lambda: _configure_logs(verbose=False))
    return asyncio.run(_main(command, common))


def say_error(error: Exception, *, debug: bool) -> None:
    """Tell what went wrong, in one line."""
    if debug:
        traceback.print_exception(error)
    say(f"asyncvddk: {describe(error)}")


async def _main(command: Callable[[], Awaitable[int]], common: Common) -> int:
    """Await the command under the signals that end it."""
    status = _exit.FAILED
    with _ended_by_signals() as caught:
        try:
            status = await command()
        except BrokenPipeError:
            raise
        except EXPECTED as error:
            say_error(error, debug=common.debug)
            status = _STATUS.get(type(error).__name__, _exit.FAILED)
    return _exit.SIGNALLED + caught[0] if caught else status


@contextmanager
def _ended_by_signals() -> Iterator[list[int]]:
    """Cancel the block at the first SIGINT, SIGTERM or SIGHUP; the second one ends the process as it stands.

    The yielded list holds the signals that came.
    """
    caught: list[int] = []
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:

        def catch(number: int) -> None:
            if caught:
                os._exit(_exit.SIGNALLED + number)
            caught.append(number)
            say(f"asyncvddk: {signal.strsignal(number)}: cleaning up")
            scope.cancel()

        signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        wanted = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
        for number in wanted:
            loop.add_signal_handler(number, catch, number)
        try:
            yield caught
        finally:
            for number in wanted:
                loop.remove_signal_handler(number)


def _configure_logs(*, verbose: bool) -> None:
    """Send log events to stderr: warnings, or all of them."""
    import logging  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    structlog.configure(
        processors=[_render if verbose else _render_warning],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _render_warning(logger: object, level: str, event: EventDict) -> str:
    """Render a warning; drop what is told as an error anyway: by the library's own threads, or of a failed disk."""
    import structlog  # noqa: PLC0415

    if event.get("connection", "") is None or event.get("event") == "disk_failed":
        raise structlog.DropEvent
    return _render(logger, level, event)


def _render(_: object, level: str, event: EventDict) -> str:
    """Render an event as a line that starts as all our lines do."""
    fields = dict(event)
    name = fields.pop("event").replace("_", " ")
    text = fields.pop("text", None) or " ".join(f"{key}={value}" for key, value in fields.items())
    return f"asyncvddk: {level}: {name}: {text}"
