"""Stores for tests: one in a dictionary, and wrappers that stop, fail, lie or take turns."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from asyncvddk.repository import ObjectMissingError, StoredObject, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Buffer


class Killed(BaseException):
    """The process is dead: no handler of the code under test may go on."""


def calm(operation: str, name: str) -> None:
    """Let an operation pass."""
    del operation, name


class DictStore:
    """A store in memory. ``before`` is called with the operation and the name before each operation."""

    place = "dict://"

    def __init__(self, *, local: bool = False, objects: dict[str, bytes] | None = None) -> None:
        """Start with a copy of ``objects``."""
        self.local = local
        self.objects = dict(objects or {})
        self.before: Callable[[str, str], None] = calm
        self.after: Callable[[str, str], None] = calm

    def create(self, name: str, data: Buffer, *, stable: bool = False) -> bool:
        """As ``Store.create``."""
        del stable
        self.before("create", name)
        if name in self.objects:
            return False
        self.objects[name] = bytes(data)
        self.after("create", name)
        return True

    def replace(self, name: str, data: Buffer) -> None:
        """As ``Store.replace``."""
        self.before("replace", name)
        self.objects[name] = bytes(data)

    def get(self, name: str) -> bytes:
        """As ``Store.get``."""
        self.before("get", name)
        if name not in self.objects:
            raise ObjectMissingError(name, self.place)
        return self.objects[name]

    def exists(self, name: str) -> bool:
        """As ``Store.exists``."""
        self.before("exists", name)
        return name in self.objects

    def list(self, folder: str) -> Iterator[StoredObject]:
        """As ``Store.list``."""
        self.before("list", folder)
        for name, data in list(self.objects.items()):
            if not folder or name.startswith(f"{folder}/"):
                yield StoredObject(name, len(data))

    def delete(self, names: Sequence[str]) -> None:
        """As ``Store.delete``, one after the other: it may stop between."""
        for name in names:
            self.before("delete", name)
            self.objects.pop(name, None)

    def sync(self) -> None:
        """As ``Store.sync``."""
        self.before("sync", "")

    def tidy(self) -> None:
        """As ``Store.tidy``."""

    def close(self) -> None:
        """As ``Store.close``: the objects stay, a test looks at them."""


class Countdown:
    """A hook that raises ``error`` at the n-th operation, and at all that follow unless ``once``."""

    def __init__(self, operations: int, error: BaseException | None = None, *, once: bool = False) -> None:
        """Let ``operations`` of them pass."""
        self.left = operations
        self.error = error or Killed()
        self.once = once
        self.names: list[tuple[str, str]] = []

    @property
    def reached(self) -> bool:
        """True if it has raised."""
        return self.left < 0

    def __call__(self, operation: str, name: str) -> None:
        """Count one operation."""
        self.names.append((operation, name))
        self.left -= 1
        if self.left == -1 or (self.left < 0 and not self.once):
            raise self.error


def unavailable(name: str) -> StoreError:
    """Return what a store raises that does not answer."""
    return StoreError(f"dict://: {name}: no answer")


class Turns:
    """Threads that take turns at the operations of their stores, in an order that a seed decides.

    One goes on for a while, short or long: so there are writers that sleep through several collections.
    """

    def __init__(self, seed: int) -> None:
        """Start with nobody."""
        self.random = random.Random(seed)
        self._mine = threading.local()
        self._go: list[threading.Semaphore] = []
        self._back = threading.Semaphore(0)
        self._alive: set[int] = set()
        self._burst = 0
        self.errors: list[BaseException] = []

    def __call__(self, operation: str = "", name: str = "") -> None:
        """Let somebody else go on, now or later; returns when it is this thread's turn."""
        del operation, name
        number = getattr(self._mine, "number", None)
        self._burst -= 1
        if number is not None and self._burst < 0:
            self._back.release()
            self._go[number].acquire()

    def end(self) -> None:
        """Let somebody else go on now."""
        self._burst = 0
        self()

    def run(self, *actors: Callable[[], None]) -> None:
        """Run the actors to their ends. Raises the first error of one, but not ``Killed``."""
        threads = []
        for number, actor in enumerate(actors):
            self._go.append(threading.Semaphore(0))
            self._alive.add(number)
            threads.append(threading.Thread(target=self._play, args=(number, actor), daemon=True))
        for thread in threads:
            thread.start()
        while self._alive:
            self._burst = self.random.choice((0, 0, 2, 10, 50, 200))
            self._go[self.random.choice(sorted(self._alive))].release()
            self._back.acquire()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _play(self, number: int, actor: Callable[[], None]) -> None:
        self._mine.number = number
        self._go[number].acquire()
        try:
            actor()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  (told by the thread that waits)
            self.errors.append(error)
        finally:
            self._alive.discard(number)
            self._back.release()
