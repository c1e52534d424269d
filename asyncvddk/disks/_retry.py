"""RetryPolicy: what is tried again, how often and when. Off unless asked for."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from asyncvddk._events import Events
from asyncvddk.errors import CallTimeoutError, ConnectionFailedError, NativeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

TRANSIENT: Final = frozenset(
    {
        2,  # NFC memory of the ESXi host is short: other disks give some back
        26,  # not connected to the host, or no more
        34,  # the VM's host is disconnected
        36,  # connection to the host lost
        14009,  # refused: too many NFC sessions, or those of a crashed client that have not timed out
        14010,  # TCP error
        14011,  # TCP connection lost
        14014,  # the host shuts down or enters maintenance mode: another one will serve the disk
        14015,  # the host does not answer
        18000,  # session or host lost
    }
)
"""Codes that a later try may not meet, as clients of VDDK report them."""

_logger: Final = Events("asyncvddk")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How ``Vddk.connect``, ``Vddk.access`` and ``Vddk.open_disk`` try again what failed with a transient code.

    Each new try is logged, as a warning; the last error is raised as itself, the earlier ones are its notes. A
    cancellation ends the wait at once. Raises ValueError for what makes no sense.
    """

    attempts: int = 5
    """Tries of one call in all, the first one counted; at least 1."""
    delay_s: float = 1.0
    """Seconds before the second try; 0: at once."""
    factor: float = 2.0
    """What each further delay is longer; at least 1."""
    max_delay_s: float = 30.0
    """Longest delay in seconds."""
    jitter: float = 0.5
    """Share of each delay, 0 to 1, that chance takes away, so that many clients do not come back together."""
    codes: frozenset[int] = TRANSIENT
    """Numbers of errors (``NativeError.code``) that are tried again. Add 20005 to wait for a migration to end."""
    writes: bool = False
    """Writes and ``flush`` of a disk opened by ``open_disk``, too. A write that ran into ``call_timeout_s`` is never
    made again: the library may still be at it, and would put old data over newer."""
    reconnect: bool = False
    """Connect and open again, and go on, when the connection of such a disk is lost or a call ran too long."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.attempts < 1:
            raise ValueError(f"attempts={self.attempts}: the first try counts, so at least 1")
        for name, value, low, high in (
            ("delay_s", self.delay_s, 0, math.inf),
            ("factor", self.factor, 1, math.inf),
            ("max_delay_s", self.max_delay_s, 0, math.inf),
            ("jitter", self.jitter, 0, 1),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name}={value}: it lies in {low}..{high}")
        object.__setattr__(self, "codes", frozenset(self.codes))

    def delays(self, chance: Callable[[], float] = random.random) -> Iterator[float]:
        """Yield the seconds to wait before each further try; ``chance`` returns numbers from 0 to 1."""
        delay = float(self.delay_s)
        for _ in itertools.repeat(None, self.attempts - 1):
            yield min(delay, self.max_delay_s) * (1 - self.jitter * chance())
            delay *= self.factor

    def heals(self, error: BaseException) -> bool:
        """Tell whether a later try may go well."""
        return isinstance(error, NativeError) and error.code in self.codes

    def reconnects(self, error: BaseException) -> bool:
        """Tell whether a new connection may help."""
        if not self.reconnect:
            return False
        lost = isinstance(error, ConnectionFailedError) and error.code in self.codes
        return lost or isinstance(error, CallTimeoutError)


class Tries:
    """The tries of one call: counts them, waits between them, tells the log and the last error of them."""

    def __init__(
        self,
        policy: RetryPolicy,
        what: str,
        disk: str | None = None,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Begin; ``what`` is the call as the log names it."""
        self._policy, self._what, self._disk = policy, what, disk
        self._sleep = sleep
        self._delays = policy.delays(chance)
        self._earlier: list[str] = []

    async def again(self, error: Exception) -> None:
        """Return when it is time for another try after ``error``. Raises ``error`` when there is none left."""
        delay = next(self._delays, None)
        if delay is None:
            self.give_up(error)
        self._earlier.append(f"try {len(self._earlier) + 1} failed with: {error}")
        _logger.warning(
            "retried",
            call=self._what,
            disk=self._disk,
            attempt=len(self._earlier) + 1,
            attempts=self._policy.attempts,
            code=getattr(error, "code", None),
            delay_s=round(delay, 3),
            reason=str(error),
        )
        await self._sleep(delay)

    def give_up(self, error: Exception) -> NoReturn:
        """Raise ``error`` with notes of what failed before it."""
        for note in self._earlier:
            error.add_note(note)
        raise error


async def retried(
    policy: RetryPolicy | None, call: Callable[[], Awaitable[T]], what: str, disk: str | None = None, *, anew: bool
) -> T:
    """Make ``call`` until it goes well, as ``policy`` says; without a policy once.

    ``anew``: each try has a connection of its own, so it is made again after a call that ran too long as well.
    """
    if policy is None:
        return await call()
    tries = Tries(policy, what, disk)
    while True:
        try:
            return await call()
        except (NativeError, CallTimeoutError) as error:
            if not policy.heals(error) and not (anew and policy.reconnects(error)):
                tries.give_up(error)
            await tries.again(error)
