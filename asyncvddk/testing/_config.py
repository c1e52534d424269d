"""The configuration file of the bundled engine, as values."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Literal

from asyncvddk._params import ConnectParams, StorageObject
from asyncvddk._secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asyncvddk.testing._faults import Fail, Hang

_MOST_RULES: Final = 64
_SHORTEST_LATENCY_S: Final = 0.001
_LONGEST_LATENCY_S: Final = 600
_MOST_THREADS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineServer:
    """The server that the engine plays: its disks are files below local folders, and it lets in who knows the rest.

    Wrong parameters fail at ``Connection.open``, as with VMware's library: make them with
    ``dataclasses.replace(server.connect_params(), password=Secret("wrong"))``.
    """

    datastores: Mapping[str, str | os.PathLike[str]]
    """Folder of each datastore: with ``{"ds1": "/tmp/x"}`` the disk ``[ds1] vm/vm.vmdk`` is ``/tmp/x/vm/vm.vmdk``."""
    storage_objects: Mapping[StorageObject, str] = field(default_factory=dict)
    """First-class disks and their snapshots: where each is, as ``[ds1] fcd/x.vmdk`` or an absolute path."""
    names: Sequence[str] = ("vcenter.test",)
    """Names that lead to the server, its addresses too; another fails with 18000."""
    vms: Sequence[str] = ("vm-1",)
    """Managed objects of its virtual machines, or paths of their ``.vmx`` files; another fails with 4000."""
    snapshots: Sequence[str] | None = None
    """Managed objects of their snapshots, another fails with 13; ``None``: any will do."""
    user: str = "backup"
    password: Secret = field(default_factory=lambda: Secret("correct horse"))
    cookie: Secret | None = None
    """Value of a session cookie that lets in as well; ``None``: any does."""
    thumbprint: str | None = None
    """SHA-1 of the certificate, 20 hexadecimal pairs; another or none fails with 1. ``None``: nothing is asked."""

    def __post_init__(self) -> None:
        """Refuse a server that nobody can ask for anything."""
        if not self.names or not self.vms:
            raise ValueError("names, vms: give at least one of each")

    def connect_params(self, vm: str | None = None, *, storage_object: StorageObject | None = None) -> ConnectParams:
        """Return what a client must say to be let in: to ``vm`` (default: the first), or to a first-class disk."""
        spec = None if storage_object else f"moref={vm or self.vms[0]}"
        return ConnectParams(
            self.names[0],
            vmx_spec=spec,
            storage_object=storage_object,
            user=self.user,
            password=self.password,
            thumbprint=self.thumbprint,
        )

    def _settings(self) -> Iterator[tuple[str, str]]:
        for name, folder in self.datastores.items():
            yield f"datastore.{name}", str(Path(folder).absolute())
        for disk, place in self.storage_objects.items():
            yield f"fcd.{disk.disk_id}{f'.{disk.snapshot_id}' if disk.snapshot_id else ''}", place
        yield "server", _list("names", self.names)
        yield "vm", _list("vms", self.vms)
        if self.snapshots is not None:
            yield "snapshot", _list("snapshots", self.snapshots)
        yield "user", self.user
        yield "password", self.password.reveal()
        if self.cookie is not None:
            yield "cookie", self.cookie.reveal()
        if self.thumbprint is not None:
            yield "thumbPrint", self.thumbprint


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How the bundled engine shall behave. As it is without arguments: fast, sound, for local disks.

    ``write`` and ``file`` raise ValueError for what the engine would leave out.
    """

    latency_s: float = 0
    """Seconds that every read and write of a disk waits first: 0 to 600, in steps of 0.001."""
    bandwidth: int | None = None
    """Bytes per second of each open disk, reads and writes together; ``None``: no limit."""
    fail: Sequence[Fail] = ()
    hang: Sequence[Hang] = ()
    asynchronous: bool = True
    """False: the library's asynchronous reads and writes are done when the call returns, one after the other, as
    with HotAdd."""
    threads: int | None = None
    """Most threads for asynchronous calls, 1 to 256; ``None``: 16."""
    check_threads: Literal["off", "warn", "abort"] = "off"
    """What happens when VDDK's rules for threads are broken: a line in the log, or the end of the process."""
    parent_roots: Sequence[str | os.PathLike[str]] = ()
    """Folders that hold the parents of local disks, ``.`` that of the child; parents elsewhere are not opened."""
    server: EngineServer | None = None
    """The server that it plays besides; without one there are only local disks."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """More keys of the configuration file, VMware's among them, and their values; these win."""

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the configuration file, readable by its owner only, and return its absolute path.

        What ``hang`` needs is made beside it; ``Hang.release`` frees it. Raises FileExistsError, ValueError (a value
        that the engine would leave out), OSError.
        """
        file = Path(path).absolute()
        fifos = [file.with_name(f"{file.name}.hang-{number}") for number, _ in enumerate(self.hang, 1)]
        text = "".join(_line(key, value) for key, value in self._settings(fifos))
        fd = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
        for hang, fifo in zip(self.hang, fifos, strict=True):
            hang.place(fifo)
        return file

    @contextmanager
    def file(self) -> Iterator[Path]:
        """Have the configuration file for the ``with`` block, in a private folder; its end releases every ``Hang``.

        For a program that is run in a process of its own, or ``Vddk(config=...)``. Raises as ``write``.
        """
        with TemporaryDirectory(prefix="asyncvddk-engine-") as folder:
            try:
                yield self.write(Path(folder, "engine.conf"))
            finally:
                self.release_all()

    def release_all(self, *, but_exit: bool = False) -> None:
        """Release every ``Hang``; with ``but_exit`` not those of the library's end."""
        for hang in self.hang:
            if not (but_exit and hang.at_exit):
                hang.release()

    def _settings(self, fifos: list[Path]) -> Iterator[tuple[str, str]]:
        """Yield keys and values of all lines."""
        server = self.server._settings() if self.server is not None else ()  # noqa: SLF001  (of the same module)
        for key, value in (*self._rules(fifos), *self._behaviour(), *server):
            yield f"openEngine.{key}", value
        yield from self.extra.items()

    def _rules(self, fifos: list[Path]) -> Iterator[tuple[str, str]]:
        if len(self.fail) + len(self.hang) > _MOST_RULES:
            raise ValueError(f"fail and hang: at most {_MOST_RULES} together")
        if self.fail:
            yield "fail", ",".join(fail.rule for fail in self.fail)
        if self.hang:
            yield "hang", ",".join(hang.rule(fifo) for hang, fifo in zip(self.hang, fifos, strict=True))

    def _behaviour(self) -> Iterator[tuple[str, str]]:
        if self.latency_s:
            yield "latencyMs", str(_milliseconds(self.latency_s))
        if self.bandwidth is not None:
            yield "bandwidth", str(_within("bandwidth", self.bandwidth, 1, 1 << 50))
        if not self.asynchronous:
            yield "async", "off"
        if self.threads is not None:
            yield "threads", str(_within("threads", self.threads, 1, _MOST_THREADS))
        if self.check_threads != "off":
            yield "checkThreads", self.check_threads
        if self.parent_roots:
            yield "parentRoots", ":".join(os.fspath(root) for root in self.parent_roots)


def _within(name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise ValueError(f"{name}={value}: the engine takes {least} to {most}")
    return value


def _milliseconds(latency_s: float) -> int:
    if not _SHORTEST_LATENCY_S <= latency_s <= _LONGEST_LATENCY_S:
        least, most = _SHORTEST_LATENCY_S, _LONGEST_LATENCY_S
        raise ValueError(f"latency_s={latency_s}: the engine takes 0, or {least} to {most}")
    return round(latency_s * 1000)


def _list(name: str, words: Sequence[str]) -> str:
    if wrong := [word for word in words if "," in word]:
        raise ValueError(f"{name}: {wrong[0]!r} has a comma, which parts the words of a list")
    return ", ".join(words)


def _line(key: str, value: str) -> str:
    """Return one line of the file; a value that it cannot hold is not told, as it may be a secret."""
    if key != key.strip() or not key or key.startswith("#") or any(char in key for char in "=\n\r\0"):
        raise ValueError(f"key {key!r}: it cannot stand in a configuration file")
    if any(char in value for char in '"\n\r\0'):
        raise ValueError(f"value of {key}: a configuration file holds neither quotes nor line breaks")
    return f'{key} = "{value}"\n'
